//! A container's last words: from its file, or the end of its log. kubelet's `getTerminationMessage`.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// The most taken from the file, its end (`MaxContainerTerminationMessageLength`).
const FROM_FILE: u64 = 4096;
/// The most taken from the log (`MaxContainerTerminationMessageLogLength`, `…LogLines`).
const FROM_LOG: usize = 2048;
const LOG_LINES: usize = 80;
/// The piece of a log that certainly holds that much text.
const LOG_TAIL: u64 = 64 << 10;

/// The runtime's message and the container's own, joined as kubelet joins them; the log's end where there is
/// no own one and `log` is given.
pub(crate) fn read(runtime: &str, file: &Path, log: Option<&Path>) -> Option<String> {
    let mut own = tail(file, FROM_FILE).unwrap_or_default();
    if own.is_empty()
        && let Some(log) = log
    {
        own = tail(log, LOG_TAIL).map(|text| last_lines(&text)).unwrap_or_default();
    }
    match (runtime.is_empty(), own.is_empty()) {
        (true, true) => None,
        (true, false) => Some(own),
        (false, true) => Some(runtime.to_owned()),
        (false, false) => Some(format!("{runtime}: {own}")),
    }
}

fn tail(path: &Path, most: u64) -> io::Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The text of the last lines of a log in CRI's format: `<time> <stream> <tags> <text>`.
fn last_lines(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    let mut text = String::new();
    for line in &lines[lines.len().saturating_sub(LOG_LINES)..] {
        let mut fields = line.splitn(4, ' ').skip(2);
        let (Some(tags), Some(content)) = (fields.next(), fields.next()) else { continue };
        text.push_str(content);
        if !tags.starts_with('P') {
            text.push('\n');
        }
    }
    let from = text.ceil_char_boundary(text.len().saturating_sub(FROM_LOG));
    text.split_off(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_comes_first_then_the_log() {
        let folder = tempfile::tempdir().unwrap();
        let (file, log) = (folder.path().join("message"), folder.path().join("log"));
        std::fs::write(&log, "2026-11-22T01:00:00Z stdout P be\n2026-11-22T01:00:00Z stdout F fore\n2026-11-22T01:00:01Z stderr F  end\n").unwrap();
        assert_eq!(read("", &file, None), None);
        assert_eq!(read("", &file, Some(&log)).unwrap(), "before\n end\n");
        std::fs::write(&file, "done").unwrap();
        assert_eq!(read("", &file, Some(&log)).unwrap(), "done");
        assert_eq!(read("runtime", &file, None).unwrap(), "runtime: done");
        std::fs::write(&file, "x".repeat(5000)).unwrap();
        assert_eq!(read("", &file, None).unwrap().len(), 4096);
    }

    #[test]
    fn a_long_log_is_cut_at_the_front() {
        let lines: Vec<String> =
            (0..200).map(|line| format!("2026-11-22T01:00:00Z stdout F line {line}")).collect();
        let log = lines.join("\n");
        let text = last_lines(&log);
        assert_eq!(text.lines().count(), LOG_LINES);
        assert!(text.ends_with("line 199\n"));
        assert_eq!(last_lines(&format!("t stdout F {}\n", "é".repeat(3000))).len(), FROM_LOG - 1);
    }
}
