//! What the server costs and how fast it is: `cargo run --release --example figures [FOLDER]`. The folder should be on the
//! disk that is meant; a folder beside the program's is the default.
#![allow(clippy::print_stdout, reason = "it is there to print")]

use std::error::Error;
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use futures::future::{join_all, try_join_all};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use memlet_apiserver::{ApiServer, ResponseBody, Settings};
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const PODS: &str = "/api/v1/namespaces/default/pods";
const LISTED: usize = 1000;
const LISTS: usize = 50;
const CLIENTS: usize = 8;
const CREATION_TIME: Duration = Duration::from_secs(3);
const WATCHERS: usize = 1000;
const DELIVERIES: usize = 10;
const STORED: usize = 10_000;

/// In the environment of the process that only opens a file.
const ONLY_OPEN: &str = "FIGURES_ONLY_OPEN";

#[tokio::main]
async fn main() -> Outcome<()> {
    let folder = match std::env::args_os().nth(1) {
        Some(folder) => PathBuf::from(folder),
        None => std::env::current_exe()?.with_extension("folder"),
    };
    if std::env::var_os(ONLY_OPEN).is_some() {
        return only_open(&folder);
    }
    fs::create_dir_all(&folder)?;
    println!("write and sync 4 KiB on this disk: median {:.1?}", sync_cost(&folder)?);
    lists(&folder).await?;
    creations(&folder).await?;
    watchers(&folder).await?;
    memory(&folder).await?;
    fs::remove_dir_all(&folder)?;
    Ok(())
}

fn open(folder: &Path) -> Outcome<ApiServer> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    Ok(ApiServer::open(folder, Settings::default())?)
}

/// The time of one small synced write: a lower bound for a durable change that comes alone.
fn sync_cost(folder: &Path) -> Outcome<Duration> {
    let file = File::create(folder.join("sync"))?;
    file.write_all_at(&vec![0; 1 << 20], 0)?;
    let times = (0..200_u64).map(|round| {
        let start = Instant::now();
        file.write_all_at(&round.to_le_bytes().repeat(512), round % 256 * 4096)?;
        file.sync_data()?;
        Ok(start.elapsed())
    });
    Ok(median(times.collect::<Outcome<_>>()?))
}

async fn lists(folder: &Path) -> Outcome<()> {
    let server = open(&folder.join("lists"))?;
    fill(&server, LISTED).await?;
    let mut times = Vec::new();
    let mut bytes = 0;
    for _ in 0..LISTS {
        let start = Instant::now();
        bytes = ask(&server, Method::GET, PODS, String::new()).await?.collect().await?.to_bytes().len();
        times.push(start.elapsed());
    }
    println!("list {LISTED} Pods, {} KiB of JSON: median {:.2?} (<= 20 ms)", bytes >> 10, median(times));
    Ok(())
}

async fn creations(folder: &Path) -> Outcome<()> {
    for (place, server) in
        [("in memory", ApiServer::in_memory()), ("on disk", open(&folder.join("creations"))?)]
    {
        let end = Instant::now() + CREATION_TIME;
        let clients = (0..CLIENTS).map(|client| {
            let server = server.clone();
            let client: JoinHandle<Outcome<usize>> = tokio::spawn(async move {
                let mut count = 0;
                while Instant::now() < end {
                    create(&server, &format!("c{client}-{count}")).await?;
                    count += 1;
                }
                Ok(count)
            });
            client
        });
        let mut all = 0;
        for count in join_all(clients).await {
            all += count??;
        }
        let rate = all * 1000 / usize::try_from(CREATION_TIME.as_millis())?;
        println!("creations of Pods by {CLIENTS} clients {place}: {rate}/s (>= 5000 on disk)");
    }
    Ok(())
}

async fn watchers(folder: &Path) -> Outcome<()> {
    let server = open(&folder.join("watchers"))?;
    let watch = format!("{PODS}?watch=true&resourceVersion=0");
    let mut bodies =
        try_join_all((0..WATCHERS).map(|_| ask(&server, Method::GET, &watch, String::new()))).await?;
    let mut times = Vec::new();
    for round in 0..DELIVERIES {
        let start = Instant::now();
        let readers = bodies.drain(..).map(|mut body| {
            tokio::spawn(async move {
                let frame = body.frame().await;
                (body, frame.is_some())
            })
        });
        let readers: Vec<_> = readers.collect();
        let waiting = start.elapsed();
        create(&server, &format!("w{round}")).await?;
        for reader in readers {
            let (body, seen) = reader.await?;
            assert!(seen, "a watch ended");
            bodies.push(body);
        }
        times.push(start.elapsed().saturating_sub(waiting));
    }
    println!("a creation seen by {WATCHERS} watchers: median {:.2?} (<= 100 ms)", median(times));
    Ok(())
}

async fn memory(folder: &Path) -> Outcome<()> {
    let folder = folder.join("memory");
    let server = open(&folder)?;
    fill(&server, STORED).await?;
    let listed = ask(&server, Method::GET, &format!("{PODS}?limit=1"), String::new()).await?;
    let one = listed.collect().await?.to_bytes().len();
    server.close();
    drop(server);
    // Processes of their own, so that what creating took does not count.
    let empty = open_alone(&folder.with_extension("empty"))?;
    let full = open_alone(&folder)?;
    println!("open a new file: {} ms, {} KiB private more", empty[0], empty[1]);
    println!("open a file of {STORED} Pods: {} ms", full[0]);
    let held = (full[1].saturating_sub(empty[1]) << 10) / STORED as u64;
    println!("memory of a stored Pod: {held} bytes, for about {one} bytes of JSON");
    Ok(())
}

/// Opens the folder in another process; gives the milliseconds that took and the KiB of memory.
fn open_alone(folder: &Path) -> Outcome<[u64; 2]> {
    let output = Command::new(std::env::current_exe()?).arg(folder).env(ONLY_OPEN, "1").output()?;
    let text = String::from_utf8(output.stdout)?;
    let numbers = text.split_whitespace().map(str::parse).collect::<Result<Vec<_>, _>>()?;
    numbers.try_into().map_err(|_| format!("the other process failed: {text}").into())
}

fn only_open(folder: &Path) -> Outcome<()> {
    let (before, start) = (private_kib()?, Instant::now());
    let server = ApiServer::open(folder, Settings::default())?;
    let opened = start.elapsed();
    println!("{} {}", opened.as_millis(), private_kib()?.saturating_sub(before));
    server.close();
    Ok(())
}

async fn fill(server: &ApiServer, count: usize) -> Outcome<()> {
    let clients = (0..CLIENTS).map(async |client| {
        for index in (client..count).step_by(CLIENTS) {
            create(server, &format!("p{index}")).await?;
        }
        Outcome::Ok(())
    });
    try_join_all(clients).await?;
    Ok(())
}

async fn create(server: &ApiServer, name: &str) -> Outcome<()> {
    let pod = format!(
        r#"{{"apiVersion":"v1","kind":"Pod","metadata":{{"name":"{name}","labels":{{"app":"eater"}}}},"spec":{{
        "containers":[{{"name":"main","image":"memlet.dev/memory-eater","args":["8","0","--hold"],
        "resources":{{"limits":{{"memory":"128Mi"}}}}}}]}}}}"#
    );
    let body = ask(server, Method::POST, PODS, pod).await?;
    body.collect().await?;
    Ok(())
}

async fn ask(server: &ApiServer, method: Method, path: &str, body: String) -> Outcome<ResponseBody> {
    let request = Request::builder().method(method).uri(path).body(Full::<bytes::Bytes>::from(body))?;
    let response = server.service().oneshot(request).await?;
    if !response.status().is_success() {
        return Err(format!("{} to {path}", response.status()).into());
    }
    Ok(response.into_body())
}

fn private_kib() -> Outcome<u64> {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup")?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    Ok(private.filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
