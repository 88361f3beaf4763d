//! Times as they stand in a line: found by their shape, without being read.

use std::time::Duration;

/// How long the ISO time at the start of `text` is: `2024-11-22T10:01:02`, then perhaps a fraction behind a point or a
/// comma and an offset. A blank or an underscore may stand for the `T`.
pub(super) fn iso(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let shape = b"0000-00-00T00:00:00";
    let fits = bytes.len() >= shape.len()
        && shape.iter().zip(bytes).all(|(shape, byte)| match shape {
            b'0' => byte.is_ascii_digit(),
            b'T' => matches!(byte, b'T' | b't' | b' ' | b'_'),
            other => byte == other,
        });
    if !fits {
        return None;
    }
    let mut end = shape.len();
    if matches!(bytes.get(end), Some(b'.' | b',')) {
        end += 1 + digits(&bytes[end + 1..]);
    }
    let offset = match bytes.get(end) {
        Some(b'Z' | b'z') => 1,
        Some(b'+' | b'-') => {
            let clock = &bytes[end + 1..];
            let length =
                clock.iter().take(5).take_while(|byte| byte.is_ascii_digit() || **byte == b':').count();
            1 + length
        }
        _ if text[end..].starts_with(" UTC ") => 4,
        _ => 0,
    };
    Some(end + offset)
}

/// How long the time at the start of `text` is: `Nov 22 10:01:02`, in any language, perhaps with a fraction.
pub(super) fn syslog(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // Month, then day, each no longer than a word of some script is.
    let month = memchr::memchr(b' ', &bytes[..bytes.len().min(16)]).filter(|length| *length > 0)?;
    let mut at = month + bytes[month..].iter().take_while(|byte| **byte == b' ').count();
    let day = digits(&bytes[at..]);
    if !(1..=2).contains(&day) || bytes.get(at + day) != Some(&b' ') {
        return None;
    }
    at += day + 1;
    Some(at + clock(&bytes[at..])?)
}

/// How long the time of the day at the start of `bytes` is: `10:01:02`, perhaps with a fraction.
pub(super) fn clock(bytes: &[u8]) -> Option<usize> {
    let shape = b"00:00:00";
    let fits = bytes.len() >= shape.len()
        && shape
            .iter()
            .zip(bytes)
            .all(|(shape, byte)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == shape });
    if !fits {
        return None;
    }
    let mut end = shape.len();
    if bytes.get(end) == Some(&b'.') {
        end += 1 + digits(&bytes[end + 1..]);
    }
    Some(end)
}

/// Whether `text` as a whole is a time as ctime(3) writes it, in any language: `Fri Nov 22 10:01:02 2024`.
pub(super) fn is_ctime(text: &str) -> bool {
    let bytes = text.as_bytes();
    // The clock and the year are the same in all of them.
    let Some(at) = bytes.len().checked_sub("10:01:02 2024".len()) else { return false };
    clock(&bytes[at..]) == Some(8)
        && bytes[at + 8] == b' '
        && bytes[at + 9..].iter().all(u8::is_ascii_digit)
        && at > 0
        && bytes[at - 1] == b' '
}

/// The seconds at the start of `text` as the kernel writes them (` 3770.064130`), and what follows.
pub(super) fn seconds(text: &str) -> Option<(Duration, &str)> {
    const POWERS: [u32; 10] =
        [1_000_000_000, 100_000_000, 10_000_000, 1_000_000, 100_000, 10_000, 1000, 100, 10, 1];
    /// Both in one pass: nearly every line of a kernel's log has such a time.
    fn number(bytes: &[u8], mut at: usize, most: usize) -> Option<(u64, usize)> {
        let (from, mut sum) = (at, 0u64);
        while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10)
        {
            sum = sum * 10 + u64::from(digit);
            at += 1;
            if at - from > most {
                return None;
            }
        }
        (at > from).then_some((sum, at))
    }
    let bytes = text.as_bytes();
    let blanks = bytes.iter().take_while(|byte| **byte == b' ').count();
    let (whole, point) = number(bytes, blanks, 12)?;
    if bytes.get(point) != Some(&b'.') {
        return None;
    }
    let (fraction, end) = number(bytes, point + 1, 9)?;
    // Nine digits at most: both factors are within their types, and the product below a second.
    let nanoseconds = u32::try_from(fraction).ok()?.checked_mul(POWERS[end - point - 1])?;
    Some((Duration::new(whole, nanoseconds), &text[end..]))
}

/// How many digits `bytes` begins with.
pub(super) fn digits(bytes: &[u8]) -> usize {
    bytes.iter().take_while(|byte| byte.is_ascii_digit()).count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_by_their_shape() {
        for (text, length) in [
            ("2024-11-22T10:01:02.064130+00:00 x", 32),
            ("2024-11-22T10:01:02,064130+00:00 x", 32),
            ("2024-11-22T10:01:02+0000 x", 24),
            ("2024-11-22T10:01:02Z: x", 20),
            ("2024-11-22 10:01:02 UTC x", 23),
            ("2024-11-22 10:01:02 x", 19),
        ] {
            assert_eq!(iso(text), Some(length), "{text}");
        }
        assert_eq!(iso("2024-11-22 x"), None);
        for (text, length) in [
            ("Nov 22 10:01:02 h", 15),
            ("Nov  2 10:01:02.123456 h", 22),
            ("nov. 22 10:01:02 h", 16),
            ("8月 2 10:01:02 h", 15),
        ] {
            assert_eq!(syslog(text), Some(length), "{text}");
        }
        for text in ["Killed process 12 (x)", "total_rss 12 10:01", "", "x", "Nov 22 10:01 h"] {
            assert_eq!(syslog(text), None, "{text}");
        }
        assert!(is_ctime("Fri Nov 22 10:01:02 2024") && is_ctime("二 9月  3 05:57:48 2024"));
        assert!(!is_ctime("10:01:02 2024") && !is_ctime("Fri Nov 22 10:01 2024") && !is_ctime("x"));
    }

    #[test]
    fn seconds_are_read() {
        assert_eq!(seconds(" 3770.064130] x"), Some((Duration::from_micros(3_770_064_130), "] x")));
        assert_eq!(seconds("5.1 "), Some((Duration::from_millis(5100), " ")));
        for text in ["3770] x", "x", "", "1.", ".5", "1.1234567890"] {
            assert_eq!(seconds(text), None, "{text}");
        }
    }
}
