//! What stands behind each line of a text and is not of it: the quotation mark of a table's cell, `$` of `cat -A`. The
//! header of a report ends with a number, so what is behind that is behind the other lines too.

use std::borrow::Cow;

/// What stood behind the last header.
#[derive(Debug, Default)]
pub(super) struct Trailer(String);

/// Longer than any mark.
const LONGEST: usize = 8;

impl Trailer {
    /// Takes it off a text.
    pub(super) fn take_off(&mut self, text: &mut Cow<'_, str>) {
        // Quickly past what nearly every line ends with.
        if !matches!(text.as_bytes().last(), Some(b'$' | b'"' | b'\'' | b',' | b';' | b'|' | b'<' | b'>')) {
            if !self.0.is_empty() && text.contains(HEADER) {
                self.0.clear();
            }
            return;
        }
        if let Some((_, rest)) = text.split_once(HEADER) {
            let behind = rest.rsplit_once("adj=").map(|(_, adj)| adj.trim_start_matches(['-', ' ']));
            let mark = behind.map(|adj| adj.trim_start_matches(|c: char| c.is_ascii_digit()));
            // `^M$` is what `cat -A` makes of Windows' line ends.
            mark.filter(|mark| {
                mark.len() <= LONGEST && (*mark == "^M$" || !mark.contains(char::is_alphanumeric))
            })
            .unwrap_or_default()
            .clone_into(&mut self.0);
        }
        if let Some(rest) = text.strip_suffix(self.0.as_str()).filter(|rest| rest.len() < text.len()) {
            let length = rest.len();
            match text {
                Cow::Borrowed(text) => *text = &text[..length],
                Cow::Owned(text) => text.truncate(length),
            }
        }
    }
}

const HEADER: &str = " invoked oom-killer:";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_behind_the_header_goes_from_all_lines() {
        let mut trailer = Trailer::default();
        let mut off = |text: &'static str| {
            let mut text = Cow::Borrowed(text);
            trailer.take_off(&mut text);
            text.into_owned()
        };
        assert_eq!(off("Memory cgroup stats for /a$:$"), "Memory cgroup stats for /a$:$");
        let header = "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=-5";
        for (marked, mark) in [("\",", "\","), ("$", "$"), ("", "")] {
            assert_eq!(off(Box::leak(format!("{header}{marked}").into_boxed_str())), header);
            let line = Box::leak(format!("Memory cgroup stats for /a$:{mark}").into_boxed_str());
            assert_eq!(off(line), "Memory cgroup stats for /a$:");
        }
    }
}
