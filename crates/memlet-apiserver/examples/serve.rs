//! Serves an empty API server on loopback, without TLS, for a look at it with kubectl:
//! `cargo run -p memlet-apiserver --example serve`, then `kubectl -s http://127.0.0.1:PORT api-resources`.
#![allow(clippy::print_stdout, reason = "an example talks to its user")]

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::service::TowerToHyperService;
use memlet_apiserver::ApiServer;

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let server = ApiServer::in_memory();
    let port = std::env::args().nth(1).and_then(|text| text.parse().ok()).unwrap_or(0_u16);
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    println!("kubectl -s http://{} api-resources", listener.local_addr()?);
    loop {
        let (connection, _) = listener.accept().await?;
        let service = TowerToHyperService::new(server.service());
        tokio::spawn(async move {
            // A client that goes away is no failure of the server.
            let _ =
                Builder::new(TokioExecutor::new()).serve_connection(TokioIo::new(connection), service).await;
        });
    }
}
