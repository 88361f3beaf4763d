//! Words that stand before a text: hosts, tags, facilities, relative times, structured data; each known by its shape.

use super::stamp;
use crate::record::Level;

/// What words the kernel's own lines begin with, that look like a syslog tag.
const NO_TAGS: [&str; 11] = [
    "memory",
    "memory+swap",
    "swap",
    "kmem",
    "oom_reaper",
    "oom_kill_process",
    "Mem-Info",
    "CPU",
    "Trace",
    "trace",
    "of",
];

/// Syslog's facilities, as `dmesg -x` names them.
const FACILITIES: [&str; 12] =
    ["kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp"];

pub(super) fn is_facility(text: &str) -> bool {
    if !matches!(
        text.as_bytes().first(),
        Some(b'k' | b'u' | b'm' | b'd' | b'a' | b's' | b'l' | b'n' | b'c' | b'f')
    ) {
        return false;
    }
    let Some(at) = memchr::memchr(b':', &text.as_bytes()[..text.len().min(12)]) else { return false };
    let word = text[..at].trim_end_matches(' ');
    (FACILITIES.contains(&word) || word.starts_with("local"))
        && text[at + 1..].split_once(':').is_some_and(|(level, _)| Level::of_name(level.trim()).is_some())
}

/// The facility of `kern.info`.
pub(super) fn facility_and_level(word: &str) -> Option<&str> {
    let (facility, level) = word.split_once('.')?;
    (FACILITIES.contains(&facility) && Level::of_name(level).is_some()).then_some(facility)
}

/// Whether a word can name a host: letters, digits, points, dashes, underscores and the colons of an IPv6 address.
pub(super) fn is_host(word: &str) -> bool {
    !word.is_empty()
        && word.len() <= 255
        && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b':'))
}

/// The program in a syslog tag: `systemd-oomd[612]:`, `kernel:`.
pub(super) fn tag(word: &str) -> Option<&str> {
    let tag = word.strip_suffix(':')?;
    if tag == "kernel" {
        return Some(tag);
    }
    let tag = tag.split_once('[').filter(|(_, pid)| pid.ends_with(']')).map_or(tag, |(name, _)| name);
    let is_name = !tag.is_empty()
        && tag.len() <= 64
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b':' | b'=' | b',' | b'"' | b'<'));
    (is_name && !NO_TAGS.contains(&tag)).then_some(tag)
}

pub(super) fn split_word(text: &str) -> (&str, &str) {
    match memchr::memchr(b' ', text.as_bytes()) {
        Some(at) => (&text[..at], &text[at + 1..]),
        None => (text, ""),
    }
}

/// `+0.000004`, `<    0.000004>`, `Nov22 10:01`: times of `dmesg -d`, `--reltime` and `-H`.
pub(super) fn is_relative(inside: &str) -> bool {
    let number = inside.trim_start_matches([' ', '<', '+']).trim_end_matches('>');
    if number.len() < inside.len() && stamp::seconds(number).is_some_and(|(_, rest)| rest.is_empty()) {
        return true;
    }
    inside.split_once(' ').is_some_and(|(day, clock)| {
        let (month, number) = day.split_at(letters(day));
        let is_clock = clock.len() == 5 && clock.as_bytes()[2] == b':';
        !month.is_empty()
            && stamp::digits(number.as_bytes()) == number.len()
            && !number.is_empty()
            && is_clock
    })
}

fn letters(text: &str) -> usize {
    text.bytes().take_while(u8::is_ascii_alphabetic).count()
}

/// What follows `[id key="value"…]…`. A value may hold `\]` and `]` in quotes.
pub(super) fn behind_structured_data(data: &str) -> &str {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in data.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b']' if !quoted && data.as_bytes().get(at + 1) != Some(&b'[') => return &data[at + 1..],
            _ => {}
        }
    }
    data
}

/// Where a line may begin whose file and number stand before it: behind each `:` and `-` of the first word, or behind that
/// word if it is a number.
pub(super) fn places(line: &str) -> impl Iterator<Item = usize> {
    /// More parts than the name of a log has, with its folders.
    const MOST: usize = 16;
    let word = line.find([' ', '\t', '[']).unwrap_or(line.len());
    let digits = line[..word].trim_end_matches(['.', '|', ':']);
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let rest = line[word..].trim_start_matches([' ', '\t', '|']);
    let behind_number = is_number.then_some(line.len() - rest.len());
    let marks = line[..word].bytes().enumerate().filter(|(_, byte)| matches!(byte, b':' | b'-'));
    marks.map(|(at, _)| at + 1).take(MOST).chain(behind_number)
}

/// Which of several logs a line is from, by what stands before its stamp: `h1: `, `web-1  | `, `pod container `. What has a
/// time or a number in it is different in each line.
pub(super) fn stream(text: &str) -> Option<&str> {
    let text = text.trim_matches([' ', '\t', '|', ':']);
    let mut words = text.split([' ', '|']).filter(|word| !word.is_empty());
    let is_level = |word: &str| {
        let level = word.rsplit('.').next().unwrap_or_default();
        Level::of_name(&level.to_ascii_lowercase()).is_some()
    };
    let is_name = |word: &str| {
        !is_level(word)
            && word.starts_with(|c: char| c.is_ascii_alphabetic())
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_' | b'/'))
    };
    (!text.is_empty() && text.len() <= 128 && words.clone().count() <= 3 && words.all(is_name))
        .then_some(text)
}
