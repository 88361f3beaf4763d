//! The API alone, on a socket: `cargo run -p memlet-apiserver --example serve -- FOLDER [ADDRESS]`, then
//! `kubectl --kubeconfig FOLDER/kubeconfig get namespaces`. Nothing schedules or runs Pods here.
#![allow(clippy::print_stdout, reason = "it says where it listens")]

use std::net::SocketAddr;
use std::path::PathBuf;

use memlet_apiserver::keys::{Keys, ServerNames, to_yaml};
use memlet_apiserver::serving::{self, Limits};
use memlet_apiserver::{ApiServer, PodTokens};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().ok_or("name a folder for the keys")?);
    let address: SocketAddr = arguments.next().as_deref().unwrap_or("127.0.0.1:0").parse()?;
    let listener = serving::bind(&[address], Limits::default())?;
    let address = listener.addresses()[0];
    let keys = Keys::load_or_make(&folder, &ServerNames::new([] as [&str; 0], [address.ip()]))?;
    let server = ApiServer::in_memory();
    server.keep_accounts(&keys, PodTokens::Mounted)?;
    std::fs::write(folder.join("kubeconfig"), to_yaml(&keys.kubeconfig(&format!("https://{address}"))))?;
    println!("listening on {address}");
    let stop = async {
        let _ = tokio::signal::ctrl_c().await;
    };
    listener.serve(server, &keys, stop).await?;
    Ok(())
}
