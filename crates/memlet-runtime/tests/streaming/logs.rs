//! Log files of real containers: rotated, moved away by others, and on a full disk.

use std::fs;
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;
use k8s_cri::v1 as cri;
use libtest_mimic::Failed;
use memlet_bytes::Bytes;
use memlet_runtime::service::Rotation;

use crate::Test;
use crate::bench::{Bench, eventually};

pub(crate) const TESTS: &[(&str, Test)] = &[
    ("logs: rotation loses no line and keeps so many files", || Box::pin(rotated())),
    ("logs: a log that was moved away goes on anew", || Box::pin(reopened())),
    ("logs: a container outlives a full disk, and its log says what is lost", || Box::pin(full_disk())),
];

/// All lines of a log and of what it was rotated to.
fn texts(log: &Path) -> Result<Vec<String>, Failed> {
    let mut texts = Vec::new();
    for path in memlet_policy::logs::rotated(log)?.iter().chain([&log.to_owned()]) {
        let mut text = String::new();
        let mut file = fs::File::open(path)?;
        if path.extension().is_some_and(|extension| extension == "gz") {
            GzDecoder::new(file).read_to_string(&mut text)?;
        } else {
            file.read_to_string(&mut text)?;
        }
        texts.extend(text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap_or_default().to_owned()));
    }
    Ok(texts)
}

async fn rotated() -> Result<(), Failed> {
    let rotation = Rotation { max_size: Bytes::from_kib(64), max_files: 4 };
    let mut bench = Bench::with_rotation("rotated", rotation).await?;
    let script = "n=0; while [ $n -lt 5 ]; do n=$((n+1)); seq ${n}00000 ${n}02000; sleep 1.1; done";
    let id = bench.start(&["sh", "-c", script], |_| {}).await?;
    eventually("it ends", async || Ok((!bench.is_running(&id).await?).then_some(()))).await?;
    let log = bench.log();
    eventually("the old ones are compressed", async || {
        let files = memlet_policy::logs::rotated(&log)?;
        let is_compressed = |path: &std::path::PathBuf| path.extension().is_some_and(|it| it == "gz");
        let compressed: Vec<bool> = files.iter().map(is_compressed).collect();
        Ok((compressed == [true, true, false]).then_some(()))
    })
    .await?;
    // Of each second's lines all are in one file, and the oldest files are gone.
    let numbers: Vec<u32> = texts(&log)?.iter().map(|text| text.parse()).collect::<Result<_, _>>()?;
    assert!(numbers.len() > 6000, "{}", numbers.len());
    let last: Vec<u32> = (1..=5).flat_map(|n| n * 100_000..=n * 100_000 + 2000).collect();
    assert_eq!(numbers, last[last.len() - numbers.len()..]);
    bench.finish().await
}

async fn reopened() -> Result<(), Failed> {
    let mut bench = Bench::new("reopened").await?;
    let id = bench
        .start(&["sh", "-c", "while read line; do echo $line; done"], |config| config.stdin = true)
        .await?;
    let request =
        cri::AttachRequest { container_id: id.clone(), stdin: true, stdout: true, stderr: true, tty: false };
    let url = bench.client.attach(request).await?.into_inner().url;
    let mut client = crate::client::Client::connect(&url, "v5.channel.k8s.io").await?;
    client.say(0, b"one\n").await?;
    client.until("one\n").await?;
    let log = bench.log();
    let moved = log.with_file_name("0.log.20261128-000000");
    fs::rename(&log, &moved)?;
    client.say(0, b"two\n").await?;
    client.until("two\n").await?;
    let request = cri::ReopenContainerLogRequest { container_id: id.clone() };
    bench.client.reopen_container_log(request).await?;
    client.say(0, b"three\n").await?;
    client.until("three\n").await?;
    eventually("it is logged", async || Ok((texts(&log)?.len() == 3).then_some(()))).await?;
    assert_eq!(texts(&log)?, ["one", "two", "three"]);
    assert_eq!(fs::read_to_string(&log)?.lines().count(), 1);
    bench.finish().await
}

async fn full_disk() -> Result<(), Failed> {
    use rustix::mount::{MountFlags, mount};

    let mut bench = Bench::new("full").await?;
    let log = bench.log();
    let disk = log.parent().ok_or("no folder")?.to_owned();
    fs::create_dir_all(&disk)?;
    mount("tmpfs", &disk, "tmpfs", MountFlags::empty(), Some(c"size=128k"))?;
    let mounted = Mounted(&disk);
    let script = "seq 1 20000; read go; echo after; sleep 1000";
    let id = bench.start(&["sh", "-c", script], |config| config.stdin = true).await?;
    eventually("the disk is full", async || {
        Ok((fs::metadata(&log)?.len() >= 120 << 10 && rustix::fs::statvfs(&disk)?.f_bfree == 0).then_some(()))
    })
    .await?;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let kept = texts(&log)?.len();
    fs::File::options().write(true).open(&log)?.set_len(0)?;
    let request =
        cri::AttachRequest { container_id: id.clone(), stdin: true, stdout: true, stderr: true, tty: false };
    let url = bench.client.attach(request).await?.into_inner().url;
    let mut client = crate::client::Client::connect(&url, "v5.channel.k8s.io").await?;
    client.say(0, b"go\n").await?;
    client.until("after\n").await?;
    eventually("it is logged again", async || Ok(texts(&log)?.contains(&"after".to_owned()).then_some(())))
        .await?;
    let told = texts(&log)?;
    let notice = told.iter().find(|text| text.starts_with("[memlet: ")).ok_or("no notice")?;
    let lost: usize = notice.split(' ').nth(1).unwrap_or_default().parse()?;
    // A line that was broken off is among the kept ones, and lost all the same.
    assert!((20_000..=20_001).contains(&(kept + lost)), "{kept} kept and {lost} lost");
    assert!(bench.is_running(&id).await?);
    bench.client.stop_container(cri::StopContainerRequest { container_id: id, timeout: 0 }).await?;
    drop(mounted);
    bench.finish().await
}

struct Mounted<'a>(&'a Path);

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(self.0, rustix::mount::UnmountFlags::DETACH);
    }
}
