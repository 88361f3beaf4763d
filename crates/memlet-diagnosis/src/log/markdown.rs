//! Reports as Markdown, to paste into an issue. Names out of the log are escaped: they format nothing, link to nothing
//! and call nobody.

use std::fmt::Write as _;

use memlet_oomlog::{Report, UserspaceKill};

use super::text::{
    capitalised, meanings, summary_headings, summary_row, table_lines, userspace_sentence, whence,
};
use super::{Explanation, Summary};
use crate::render::printable;

/// One report: a heading, a list, the table of processes, what to change. Ends with a newline.
pub fn report(report: &Report, explanation: &Explanation, file: Option<&str>, top: usize) -> String {
    let mut out = format!("### {}\n\n", escaped(&capitalised(&explanation.summary)));
    for fact in &explanation.facts {
        let _ = writeln!(out, "- **{}**: {}", fact.topic.label(), escaped(&fact.text));
    }
    if let Some(whence) = whence(report, file) {
        let _ = writeln!(out, "- **read**: {}", escaped(&whence));
    }
    let table: Vec<_> = table_lines(report, top).into_iter().map(|(_, line)| line).collect();
    if !table.is_empty() {
        let _ = write!(out, "\n{}", block("text", &table));
    }
    if let Some(remedy) = &explanation.remedy {
        let _ = writeln!(out, "\n**Change**: {}", escaped(&remedy.text));
        if !remedy.commands.is_empty() {
            let commands: Vec<_> = remedy.commands.iter().map(|command| printable(command)).collect();
            let _ = write!(out, "\n{}", block("sh", &commands));
        }
    }
    out
}

/// A kill by a daemon. Ends with a newline.
pub fn userspace_kill(kill: &UserspaceKill) -> String {
    let mut out = format!("### {}\n\n", escaped(&userspace_sentence(kill)));
    for (label, text) in [
        ("when", kill.time.as_ref().map(ToString::to_string)),
        ("host", kill.host.clone()),
        ("said", Some(kill.message.clone())),
    ] {
        if let Some(text) = text {
            let _ = writeln!(out, "- **{label}**: {}", escaped(&text));
        }
    }
    out
}

/// Several reports: a table, then what each group means. Ends with a newline.
pub fn summary(summary: &Summary) -> String {
    let with_host = summary.groups().iter().any(|group| group.host.is_some());
    let headings = summary_headings(with_host);
    let mut out = format!("### Reports of the OOM killer: {}\n\n", summary.reports);
    let row = |cells: &[String]| {
        let cells: Vec<_> = cells.iter().map(|cell| escaped(cell)).collect();
        format!("| {} |\n", cells.join(" | "))
    };
    out.push_str(&row(&headings));
    out.push_str(&format!("|{}\n", " --- |".repeat(headings.len())));
    for (index, group) in summary.groups().iter().enumerate() {
        out.push_str(&row(&summary_row(index + 1, group, with_host)));
    }
    if summary.ungrouped > 0 {
        let _ = writeln!(out, "\nReports in further places: {}.", summary.ungrouped);
    }
    out.push('\n');
    for (number, remark, remedy) in meanings(summary.groups()) {
        let remedy = remedy.map(|remedy| format!("Change: {remedy}"));
        let parts: Vec<_> = remark.into_iter().chain(remedy).collect();
        let _ = writeln!(out, "- **{number}**: {}", escaped(&parts.join(". ")));
    }
    out
}

/// A block of code whose fence is longer than any in it.
fn block(language: &str, lines: &[String]) -> String {
    let longest = lines.iter().flat_map(|line| line.split(|c| c != '`')).map(str::len).max().unwrap_or(0);
    let fence = "`".repeat(longest.max(2) + 1);
    format!("{fence}{language}\n{}\n{fence}\n", lines.join("\n"))
}

/// Text that Markdown shows as it is.
fn escaped(text: &str) -> String {
    let text = printable(text);
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut before = ' ';
    for (index, c) in text.char_indices() {
        let rest = &text[index..];
        match c {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '#' | '!' | '$' => {
                out.push('\\');
                out.push(c);
            }
            '&' => out.push_str("&amp;"),
            // What would become a link.
            ':' if rest.starts_with("://") => out.push_str("&#58;"),
            '.' if out.ends_with("www") => out.push_str("&#46;"),
            // What would call somebody; invisible, and the name stays readable.
            '@' if !before.is_alphanumeric() => out.push_str("@\u{2060}"),
            _ => out.push(c),
        }
        before = c;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_format_nothing() {
        for (text, expected) in [
            ("a*b_c`d`", r"a\*b\_c\`d\`"),
            ("[x](http://e.vil)", r"\[x\](http&#58;//e.vil)"),
            ("<script>&amp;", r"\<script\>&amp;amp;"),
            ("@octocat fixes #1", "@\u{2060}octocat fixes \\#1"),
            ("user@1000.service", "user@1000.service"),
            ("a\nb\x1b[31m", "a\u{fffd}b\u{fffd}\\[31m"),
            ("www.e.vil | x", r"www&#46;e.vil \| x"),
        ] {
            assert_eq!(escaped(text), expected);
        }
    }

    #[test]
    fn a_block_cannot_be_left() {
        assert_eq!(block("text", &["```".to_owned()]), "````text\n```\n````\n");
        assert_eq!(block("text", &["x".to_owned()]), "```text\nx\n```\n");
    }
}
