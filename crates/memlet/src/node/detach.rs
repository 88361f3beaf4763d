//! A node in the background: the same program again, in a session of its own, whose first words are passed on until it is
//! ready.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};

use super::folder::DataFolder;
use crate::embedded::private;
use crate::exit::Exit;
use crate::say;

/// Says to the program inside that it is in the background.
const DETACHED: &str = "MEMLET_DETACHED";

/// By this line the node says that it is ready; nobody else sees it.
const READY: &str = "memlet-node-is-ready";

/// Whether this is the program in the background.
pub(crate) fn is_detached() -> bool {
    std::env::var_os(DETACHED).is_some()
}

/// Leaves the terminal's session, whose end is not the node's.
pub(crate) fn leave_session() {
    if is_detached() {
        let _ = rustix::process::setsid();
    }
}

/// The node is ready: whoever waits for that may go.
pub(crate) fn announce() {
    if is_detached() {
        let mut stdout = std::io::stdout();
        let _ = writeln!(stdout, "{READY}").and_then(|()| stdout.flush());
    }
}

/// The node has failed: whoever waits for it is told by him alone, since others may write into the same log.
pub(crate) fn tell_failure(error: &anyhow::Error) {
    if is_detached() {
        // After the node was ready nobody reads this.
        let _ = write!(std::io::stdout(), "{}", say::error_text(error));
    }
}

/// Starts this program again with the same arguments, and answers when it is ready or has failed.
pub(crate) fn start(data: &DataFolder) -> Result<Exit> {
    private::make(data.path(), "--data")?;
    private::make(&data.node(), "--data")?;
    let log = open_log(&data.log()).with_context(|| format!("cannot write {}", data.log().display()))?;
    let before = log.metadata().map_or(0, |found| found.len());
    let program = std::env::current_exe().context("this program's own file cannot be found")?;
    let mut child = Command::new(program)
        .args(std::env::args_os().skip(1).filter(|argument| argument != "--detach"))
        .env(DETACHED, "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(log)
        .spawn()
        .context("the node cannot be started")?;
    let words = child.stdout.take().context("the node's output cannot be read")?;
    let mut said = String::new();
    for line in BufReader::new(words).lines() {
        let line = line.context("the node's output cannot be read")?;
        if line == READY {
            return Ok(Exit::DONE);
        }
        said.push_str(&line);
        said.push('\n');
    }
    let ended = child.wait().context("the node's end cannot be learnt")?;
    if said.is_empty() {
        // It did not come to say why: what it complained of may be in the log.
        said = said_since(&data.log(), before).unwrap_or_default();
    }
    say::note(&if said.is_empty() { format!("error: the node ended at once ({ended})\n") } else { said });
    Ok(Exit::MISTAKE)
}

fn said_since(log: &Path, before: u64) -> std::io::Result<String> {
    let mut file = File::open(log)?;
    file.seek(SeekFrom::Start(before))?;
    let mut said = String::new();
    file.read_to_string(&mut said)?;
    Ok(said)
}

/// A log of this size is put aside at a start; there is one older one.
const LARGE_LOG: u64 = 10 << 20;

fn open_log(path: &Path) -> std::io::Result<File> {
    if fs::metadata(path).is_ok_and(|found| found.len() > LARGE_LOG) {
        fs::rename(path, path.with_extension("log.1"))?;
    }
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}
