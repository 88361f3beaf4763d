//! Whole logs, read and followed while somebody writes and rotates them.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::*;

/// A writer of a log, as the supervisor is one.
struct Container {
    path: PathBuf,
    rotated: u32,
    lines: u32,
    runs: Arc<AtomicBool>,
}

#[derive(Clone)]
struct Running(Arc<AtomicBool>);

impl Writer for Running {
    async fn goes_on(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Container {
    fn new(folder: &Path) -> Self {
        let path = folder.join("0.log");
        fs::write(&path, "").unwrap();
        Self { path, rotated: 0, lines: 0, runs: Arc::new(AtomicBool::new(true)) }
    }

    fn write(&mut self, count: u32) {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        let lines: String = (self.lines..self.lines + count)
            .map(|number| format!("2026-11-28T00:00:00.000000000Z stdout F {number}\n"))
            .collect();
        file.write_all(lines.as_bytes()).unwrap();
        self.lines += count;
    }

    /// Keeps `keep` of the files that were moved away, the older ones compressed.
    fn rotate(&mut self, keep: usize) {
        let to = self.path.with_file_name(format!("0.log.20261128-{:06}", self.rotated));
        self.rotated += 1;
        fs::rename(&self.path, to).unwrap();
        fs::write(&self.path, "").unwrap();
        let mut old = memlet_policy::logs::rotated(&self.path).unwrap();
        let excess = old.len().saturating_sub(keep);
        old.drain(..excess).for_each(|path| fs::remove_file(path).unwrap());
        old.pop();
        for path in old.iter().filter(|path| path.extension().is_none_or(|it| it != "gz")) {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(&fs::read(path).unwrap()).unwrap();
            fs::write(format!("{}.gz", path.display()), encoder.finish().unwrap()).unwrap();
            fs::remove_file(path).unwrap();
        }
    }

    fn end(&self) {
        self.runs.store(false, Ordering::Relaxed);
    }

    fn given(&self, options: LogOptions) -> mpsc::Receiver<Bytes> {
        let (sink, text) = mpsc::channel(1);
        tokio::spawn(give(self.path.clone(), options, Running(self.runs.clone()), sink));
        text
    }
}

async fn numbers(text: &mut mpsc::Receiver<Bytes>) -> Vec<u32> {
    let mut whole = Vec::new();
    while let Some(bytes) = text.recv().await {
        whole.extend_from_slice(&bytes);
    }
    let whole = String::from_utf8(whole).unwrap();
    whole.lines().map(|line| line.parse().unwrap()).collect()
}

fn following() -> LogOptions {
    LogOptions { follow: true, ..LogOptions::default() }
}

#[tokio::test]
async fn a_reader_that_stands_still_misses_nothing_of_what_is_removed_meanwhile() {
    let folder = tempfile::tempdir().unwrap();
    let mut container = Container::new(folder.path());
    container.write(20_000);
    let mut text = container.given(following());
    // It takes the first piece, and then nothing for a long time.
    let first = text.recv().await.unwrap();
    for _ in 0..10 {
        container.write(5000);
        container.rotate(2);
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
    container.write(7);
    container.end();
    let first = String::from_utf8(first.to_vec()).unwrap();
    let last = first.lines().last().unwrap().parse::<u32>().unwrap();
    assert!(last < 20_000, "the first piece is all of it");
    let rest = numbers(&mut text).await;
    assert!(rest == (last + 1..70_007).collect::<Vec<_>>(), "{} lines after {last}", rest.len());
}

#[tokio::test]
async fn the_end_is_waited_for_and_the_last_lines_come() {
    let folder = tempfile::tempdir().unwrap();
    let mut container = Container::new(folder.path());
    container.write(3);
    let mut text = container.given(LogOptions { tail_lines: Some(1), ..following() });
    assert_eq!(text.recv().await.unwrap(), "2\n");
    container.write(1);
    assert_eq!(text.recv().await.unwrap(), "3\n");
    assert!(tokio::time::timeout(Duration::from_secs(1), text.recv()).await.is_err(), "it ends too early");
    container.write(1);
    container.end();
    assert_eq!(numbers(&mut text).await, [4]);
}

#[tokio::test]
async fn the_last_lines_are_found_over_files() {
    let folder = tempfile::tempdir().unwrap();
    let mut container = Container::new(folder.path());
    for _ in 0..3 {
        container.write(10);
        container.rotate(10);
    }
    container.write(5);
    container.end();
    for tail in [0, 1, 5, 6, 15, 16, 30, 35, 1000] {
        let options = LogOptions { tail_lines: Some(tail), ..LogOptions::default() };
        let given = numbers(&mut container.given(options)).await;
        let from = 35_u32.saturating_sub(u32::try_from(tail).unwrap());
        assert_eq!(given, (from..35).collect::<Vec<_>>(), "--tail={tail}");
    }
    assert_eq!(numbers(&mut container.given(LogOptions::default())).await.len(), 35);
    let (sink, mut text) = mpsc::channel(1);
    give(folder.path().join("none/0.log"), LogOptions::default(), Running(container.runs), sink).await;
    assert_eq!(text.recv().await, None, "a log that is not there is empty");
}

#[tokio::test]
async fn a_follower_whose_client_is_gone_ends() {
    let folder = tempfile::tempdir().unwrap();
    let mut container = Container::new(folder.path());
    container.write(1);
    let (sink, mut text) = mpsc::channel(1);
    let following = tokio::spawn(give(container.path.clone(), following(), Running(container.runs), sink));
    text.recv().await.unwrap();
    drop(text);
    tokio::time::timeout(Duration::from_secs(5), following).await.unwrap().unwrap();
}
