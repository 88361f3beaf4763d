//! `memlet explain`: real kills in every packing and from every side, and what is no log at all. Needs no root.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use libtest_mimic::Failed;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::house::{MEMLET, Ran, checkout, finish, patience};
use crate::{Test, test_anywhere};

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_anywhere("explain: one report is told whole", whole),
        test_anywhere("explain: several reports are summed up, --all tells each", several),
        test_anywhere("explain: the same report in two logs is told once", repeated),
        test_anywhere("explain: a log in reverse is warned of", newest_first),
        test_anywhere("explain: JSON and YAML are one document with the promised names", documents),
        test_anywhere("explain: Markdown to paste", markdown),
        test_anywhere("explain: gzip, zstd, xz and UTF-16, by file and by pipe", packings),
        test_anywhere("explain: bad inputs are named, and the others are read", bad_inputs),
        test_anywhere("explain: nothing found says what was read", nothing),
        test_anywhere("explain: hostile names reach no terminal", hostile),
        test_anywhere("explain: a pipe without an end is told as it comes", open_pipe),
        test_anywhere("explain: a file is followed across rotation and truncation", follow),
        test_anywhere("explain: a reader that has enough is no error", broken_pipe),
        test_anywhere("explain: memory does not grow with the log", bounded),
    ]
}

/// Longer than anything here takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

fn fixture(name: &str) -> PathBuf {
    checkout().join("crates/memlet-oomlog/tests/fixtures").join(name)
}

/// A real kill at a Pod's limit.
fn pod_limit() -> Result<String, Failed> {
    let mut text = fs::read_to_string(fixture("pod-limit.txt"))?;
    text.push('\n');
    Ok(text)
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(MEMLET);
    command.arg("explain").args(arguments).env("NO_COLOR", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn explain(arguments: &[&str]) -> Result<Ran, Failed> {
    finish(command(arguments).spawn()?)
}

/// With these bytes on standard input.
fn explain_bytes(arguments: &[&str], input: &[u8]) -> Result<Ran, Failed> {
    let mut child = command(arguments).stdin(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().ok_or("stdin is piped")?;
    let input = input.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let ran = finish(child)?;
    // Who stops reading early closes the pipe: that is what some tests want.
    let _ = writer.join();
    Ok(ran)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary paths are text")
}

fn whole() -> Result<(), Failed> {
    let file = fixture("pod-limit.txt");
    let ran = explain(&[text(&file)])?;
    ran.exits(0)
        .says("The kernel killed memhog (pid 861)")
        .says("usage 64Mi, limit 64Mi")
        .says("failcnt 423")
        .says("edd036eb-ce5b-498b-9de5-b31807153cff")
        .says("64Mi → 96Mi")
        .says("† 861");
    assert_eq!(ran.stderr, "");
    explain(&["--top", "1", text(&file)])?.exits(0).says("2 processes more").says_not("pause\n");
    let piped = explain_bytes(&[], pod_limit()?.as_bytes())?;
    piped.exits(0).says("memhog (pid 861)").says("standard input, lines 1 to 89");
    Ok(())
}

fn several() -> Result<(), Failed> {
    let files = ["pod-limit.txt", "node-limit.txt", "container-limit.txt"].map(fixture);
    let names: Vec<&str> = files.iter().map(|file| text(file)).collect();
    let summary = explain(&names)?;
    summary
        .exits(0)
        .says("3 reports of the OOM killer, in 3 places")
        .says("node allocatable")
        .says_not("chosen");
    let all = explain(&[&["--all"], names.as_slice()].concat())?;
    all.exits(0)
        .says("memhog (pid 861)")
        .says("memhog2 (pid 19344)")
        .says("memory_eater (pid 3011)")
        .says("3 reports");
    let again = pod_limit()?.repeat(3);
    explain_bytes(&["-"], again.as_bytes())?
        .exits(0)
        .says("3 reports of the OOM killer, in 1 place")
        .says("memhog ×3");
    Ok(())
}

fn repeated() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let (pod, syslog, kern) =
        (fixture("pod-limit.txt"), folder.path().join("syslog"), folder.path().join("kern.log"));
    for file in [&syslog, &kern] {
        let line = |line: &str| format!("Nov 22 10:01:02 n1 kernel: {line}\n");
        fs::write(file, pod_limit()?.lines().map(line).collect::<String>())?;
    }
    explain(&[text(&syslog), text(&kern)])?
        .exits(0)
        .says("memhog (pid 861) because")
        .complains(&format!("{}: 1 report told above, from another log", text(&kern)));
    let node = fixture("node-limit.txt");
    let document =
        explain(&["-o", "json", text(&syslog), text(&pod), text(&node), text(&kern)])?.exits(0).json()?;
    assert_eq!(document["reports"].as_array().map(Vec::len), Some(2));
    let repeated: Vec<_> = (0..4).map(|input| &document["inputs"][input]["repeated"]).collect();
    assert_eq!(repeated, [0, 1, 0, 1]);
    Ok(())
}

fn newest_first() -> Result<(), Failed> {
    let log: String = pod_limit()?.lines().rev().flat_map(|line| [line, "\n"]).collect();
    explain_bytes(&["-"], log.as_bytes())?.exits(0).complains("newest line first").complains("tac");
    let document = explain_bytes(&["-o", "json"], log.as_bytes())?.json()?;
    assert_eq!(document["inputs"][0]["newestFirst"], true);
    let ran = explain_bytes(&["-o", "json"], pod_limit()?.repeat(3).as_bytes())?;
    assert_eq!(ran.json()?["inputs"][0]["newestFirst"], false);
    assert_eq!(ran.stderr, "");
    Ok(())
}

fn documents() -> Result<(), Failed> {
    let both = pod_limit()? + &fs::read_to_string(fixture("node-limit.txt"))?;
    let document = explain_bytes(&["-o", "json"], both.as_bytes())?.exits(0).json()?;
    assert_eq!(document["schema"], "memlet.dev/explain/v1");
    let report = &document["reports"][0];
    for (key, value) in
        [("invokedBy", "memhog"), ("scope", "memcg"), ("level", "pod"), ("constraint", "CONSTRAINT_MEMCG")]
    {
        assert_eq!(report[key], value, "{key}");
    }
    assert_eq!(report["kubernetes"]["qosClass"], "Burstable");
    assert_eq!((&report["limitBytes"], &report["failcnt"]), (&Value::from(64 << 20), &Value::from(423)));
    assert_eq!(report["victims"][0]["anonRssBytes"], 64896 << 10);
    assert_eq!((&report["choiceAgrees"], &report["complete"]), (&Value::from(true), &Value::from(true)));
    assert_eq!((&report["raw"]["startLine"], &report["raw"]["endLine"]), (&Value::from(1), &Value::from(89)));
    assert_eq!(report["time"], Value::Null, "dmesg has no time of day");
    assert_eq!(document["reports"][1]["level"], "nodeAllocatable");
    assert_eq!(document["inputs"][0]["file"], "-");
    let yaml = explain_bytes(&["-o", "yaml"], both.as_bytes())?;
    let yaml: Value = serde_saphyr::from_str(&yaml.exits(0).stdout)?;
    assert_eq!(yaml, document);
    let none = explain_bytes(&["-o", "json"], b"nothing here\n")?.exits(1).json()?;
    assert_eq!(none["reports"], Value::Array(Vec::new()));
    Ok(())
}

fn markdown() -> Result<(), Failed> {
    let ran = explain(&["-o", "markdown", text(&fixture("pod-limit.txt"))])?;
    ran.exits(0)
        .says("### The kernel killed memhog")
        .says("- **limit**: ")
        .says("```text\n")
        .says("**Change**: ");
    Ok(())
}

fn packings() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let log = pod_limit()?;
    let (first, second) = log.split_at(log.len() / 2);
    let gzip = |text: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).and_then(|()| encoder.finish())
    };
    let xz = |text: &str| {
        let options = lzma_rust2::XzOptions::with_preset(1);
        let mut writer = lzma_rust2::XzWriter::new(Vec::new(), options)?;
        writer.write_all(text.as_bytes()).and_then(|()| writer.finish())
    };
    let utf16: Vec<u8> =
        "\u{feff}".encode_utf16().chain(log.encode_utf16()).flat_map(u16::to_le_bytes).collect();
    for (name, packed) in [
        ("gzip", gzip(&log)?),
        ("two members of gzip", [gzip(first)?, gzip(second)?].concat()),
        ("zstd", zstd::encode_all(log.as_bytes(), 1)?),
        (
            "two frames of zstd",
            [zstd::encode_all(first.as_bytes(), 1)?, zstd::encode_all(second.as_bytes(), 1)?].concat(),
        ),
        ("xz", xz(&log)?),
        ("two streams of xz", [xz(first)?, xz(second)?].concat()),
        ("UTF-16", utf16),
    ] {
        // The name says nothing: the bytes do.
        let file = folder.path().join("log");
        fs::write(&file, &packed)?;
        for ran in [explain(&[text(&file)])?, explain_bytes(&["-"], &packed)?] {
            assert!(ran.stdout.contains("memhog (pid 861)"), "{name}: {ran:?}");
            ran.exits(0);
        }
    }
    Ok(())
}

fn bad_inputs() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = |name: &str| folder.path().join(name);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(pod_limit()?.as_bytes())?;
    let packed = encoder.finish()?;
    fs::write(path("cut.gz"), &packed[..packed.len() / 2])?;
    fs::write(path("binary"), (0..100_000_u32).flat_map(u32::to_le_bytes).collect::<Vec<_>>())?;
    fs::write(path("system.journal"), b"LPKSHHRH\0\0\0\0\0\0\0\0")?;
    let good = fixture("pod-limit.txt");
    for (name, complaint) in [
        ("missing", "No such file"),
        (".", "is a folder"),
        ("cut.gz", "gzip"),
        ("binary", "binary"),
        ("system.journal", "journalctl"),
    ] {
        let bad = path(name);
        let ran = explain(&[text(&bad), text(&good)])?;
        ran.exits(2).complains(complaint).complains(text(&bad)).says("memhog");
        assert!(ran.stderr.lines().count() <= 3, "{}", ran.stderr);
    }
    let document = explain(&["-o", "json", text(&path("missing")), text(&good)])?.exits(2).json()?;
    assert_eq!(document["reports"].as_array().map(Vec::len), Some(1));
    let input = |index: usize| &document["inputs"][index];
    assert_eq!((&input(0)["file"], &input(1)["error"]), (&text(&path("missing")).into(), &Value::Null));
    assert!(input(0)["error"].as_str().is_some_and(|error| error.contains("No such file")));
    explain(&["--follow", text(&path("cut.gz"))])?.exits(2).complains("cannot be followed");
    explain(&["--kernel", text(&good)])?.exits(2).complains("--kernel");
    explain(&["-o", "xml", text(&good)])?.exits(2).complains("markdown");
    Ok(())
}

fn nothing() -> Result<(), Failed> {
    let ran = explain_bytes(
        &["-"],
        b"[    1.000000] usb 1-1: new device\n[    2.000000] java.lang.OutOfMemoryError: Java heap\n",
    )?;
    ran.exits(1).complains("no report").complains("standard input").complains("2 lines");
    assert_eq!(ran.stdout, "");
    explain_bytes(&["-"], b"")?.exits(1).complains("0 lines");
    let long = [b"[    1.000000] ", &vec![b'x'; 2 << 20][..], b"\n"].concat();
    explain_bytes(&["-"], &long)?.exits(1).complains("1 line is longer than any log's, and was not read");
    explain(&[])?.exits(1).complains("standard input");
    Ok(())
}

fn hostile() -> Result<(), Failed> {
    let log = pod_limit()?
        .replace("memhog", "\u{1b}]0;x\u{7}\u{202e}|`y")
        .replace("podedd036eb", "pod$(id)edd036eb");
    for format in ["text", "markdown", "yaml", "json"] {
        let ran = explain_bytes(&["-o", format, "-"], log.as_bytes())?;
        ran.exits(0);
        assert!(!ran.stdout.contains(|c: char| c.is_control() && c != '\n'), "{format}: {:?}", ran.stdout);
        assert!(format == "json" || format == "yaml" || !ran.stdout.contains('\u{202e}'), "{:?}", ran.stdout);
        assert!(!ran.stdout.contains("grep $("), "{}", ran.stdout);
    }
    Ok(())
}

/// The lines that a program prints, as they come.
struct Lines {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Lines {
    fn of(mut child: Child) -> Result<Self, Failed> {
        let stdout = child.stdout.take().ok_or("stdout is piped")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self { child, lines })
    }

    fn wait_for(&self, text: &str) -> Result<(), Failed> {
        let deadline = Instant::now() + patience(PATIENCE);
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return Ok(()),
                Ok(_) => {}
                Err(error) => return Err(format!("no {text:?}: {error}").into()),
            }
        }
        Err(format!("no {text:?} in time").into())
    }

    fn end(mut self, signal: Option<Signal>) -> Result<Option<i32>, Failed> {
        if let Some(signal) = signal {
            kill_process(Pid::from_child(&self.child), signal)?;
        }
        let deadline = Instant::now() + patience(PATIENCE);
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            thread::sleep(Duration::from_millis(10));
        }
        self.child.kill()?;
        Err("memlet does not end".into())
    }
}

fn open_pipe() -> Result<(), Failed> {
    let mut child = command(&["-"]).stdin(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().ok_or("stdin is piped")?;
    let lines = Lines::of(child)?;
    stdin.write_all(pod_limit()?.as_bytes())?;
    lines.wait_for("memhog (pid 861)")?;
    stdin.write_all(fs::read_to_string(fixture("container-limit.txt"))?.as_bytes())?;
    stdin.write_all(b"\n")?;
    lines.wait_for("memory_eater (pid 3011)")?;
    drop(stdin);
    lines.wait_for("2 reports")?;
    assert_eq!(lines.end(None)?, Some(0));
    Ok(())
}

fn follow() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("kern.log");
    fs::write(&path, "[    1.000000] usb 1-1: new device\n")?;
    let lines = Lines::of(command(&["-f", text(&path)]).spawn()?)?;
    let mut file = fs::OpenOptions::new().append(true).open(&path)?;
    let log = pod_limit()?;
    // In two pieces, cut within a line.
    let (first, second) = log.split_at(log.len() / 2);
    file.write_all(first.as_bytes())?;
    thread::sleep(Duration::from_millis(50));
    file.write_all(second.as_bytes())?;
    lines.wait_for("memhog (pid 861)")?;
    fs::rename(&path, folder.path().join("kern.log.1"))?;
    fs::write(&path, fs::read_to_string(fixture("container-limit.txt"))? + "\n")?;
    lines.wait_for("memory_eater (pid 3011)")?;
    fs::write(&path, "")?;
    thread::sleep(Duration::from_millis(500));
    let mut file = fs::OpenOptions::new().append(true).open(&path)?;
    file.write_all(fs::read_to_string(fixture("node-limit.txt"))?.as_bytes())?;
    file.write_all(b"\n")?;
    lines.wait_for("memhog2 (pid 19344)")?;
    assert_eq!(lines.end(Some(Signal::INT))?, Some(0));
    Ok(())
}

fn broken_pipe() -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("log");
    fs::write(&path, pod_limit()?.repeat(300))?;
    let mut child = command(&["--all", text(&path)]).spawn()?;
    let mut stdout = child.stdout.take().ok_or("stdout is piped")?;
    stdout.read_exact(&mut [0; 100])?;
    drop(stdout);
    let ran = finish(child)?;
    ran.exits(0);
    assert_eq!(ran.stderr, "");
    Ok(())
}

/// Some 45 MiB of reports are read with as much memory as one.
fn bounded() -> Result<(), Failed> {
    let log = pod_limit()?.repeat(256);
    let mut child = command(&["-o", "json", "-"]).stdin(Stdio::piped()).spawn()?;
    let mut stdin = child.stdin.take().ok_or("stdin is piped")?;
    let status = format!("/proc/{}/status", child.id());
    let mut stdout = child.stdout.take().ok_or("stdout is piped")?;
    let reader = thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    for _ in 0..40 {
        stdin.write_all(log.as_bytes())?;
    }
    let peak = fs::read_to_string(status)?;
    let peak =
        peak.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or_default().trim().to_owned();
    let kib: u64 = peak.trim_end_matches(" kB").parse().map_err(|_| format!("VmHWM: {peak}"))?;
    drop(stdin);
    let _ = reader.join();
    assert_eq!(child.wait()?.code(), Some(0));
    assert!(kib < 64 << 10, "{kib} KiB");
    Ok(())
}
