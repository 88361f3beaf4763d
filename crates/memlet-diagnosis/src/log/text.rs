//! Reports as text for people: a story each, or a summary of many.

use anstyle::{AnsiColor, Style as Ansi};
use memlet_oomlog::{Report, UserspaceKill};

use super::{Explanation, Group, Summary, rows};
use crate::amount::counted;
use crate::render::{Page, Style, printable};

/// The story of one report, its table of processes with the `top` worst, and what to change; `file` is the log that it
/// stands in. Ends with a newline.
pub fn report(
    report: &Report,
    explanation: &Explanation,
    file: Option<&str>,
    style: Style,
    top: usize,
) -> String {
    let mut page = Page::new(style);
    page.title(&capitalised(&explanation.summary), AnsiColor::Red);
    for fact in &explanation.facts {
        page.paragraph(fact.topic.label(), &fact.text);
    }
    table(&mut page, report, top);
    if let Some(remedy) = &explanation.remedy {
        page.paragraph("change", &remedy.text);
        for command in &remedy.commands {
            page.preformatted(command);
        }
    }
    if let Some(whence) = whence(report, file) {
        page.paragraph("read", &whence);
    }
    page.out
}

/// `kern.log, lines 12 to 96`: where to read the kernel's own words.
pub(super) fn whence(report: &Report, file: Option<&str>) -> Option<String> {
    let file = match file? {
        "-" => "standard input",
        file => file,
    };
    let (start, end) = (report.raw.start_line, report.raw.end_line);
    Some(match start.cmp(&end) {
        _ if start == 0 => file.to_owned(),
        std::cmp::Ordering::Less => format!("{file}, lines {start} to {end}"),
        _ => format!("{file}, line {start}"),
    })
}

/// A kill by a daemon. Ends with a newline.
pub fn userspace_kill(kill: &UserspaceKill, style: Style) -> String {
    let mut page = Page::new(style);
    page.title(&capitalised(&userspace_sentence(kill)), AnsiColor::Yellow);
    let when: Vec<_> =
        [kill.time.as_ref().map(ToString::to_string), kill.host.as_ref().map(|host| format!("on {host}"))]
            .into_iter()
            .flatten()
            .collect();
    if !when.is_empty() {
        page.paragraph("when", &when.join(", "));
    }
    page.paragraph("said", &kill.message);
    page.out
}

/// `systemd-oomd, not the kernel, killed …`.
pub(super) fn userspace_sentence(kill: &UserspaceKill) -> String {
    let killer = match kill.killer {
        memlet_oomlog::Killer::SystemdOomd => "systemd-oomd",
        memlet_oomlog::Killer::Earlyoom => "earlyoom",
    };
    let whom = match (&kill.comm, kill.pid, &kill.cgroup) {
        (Some(comm), Some(pid), _) => format!("{comm} (pid {pid})"),
        (Some(comm), None, _) => comm.clone(),
        (None, Some(pid), _) => format!("pid {pid}"),
        (None, None, Some(cgroup)) => format!("all of {}", super::Place::of_path(cgroup).name),
        (None, None, None) => "something".to_owned(),
    };
    format!("{killer}, not the kernel, killed {whom}")
}

/// Several reports: a table, then what each group means. Ends with a newline.
pub fn summary(summary: &Summary, style: Style) -> String {
    let mut page = Page::new(style);
    let groups = summary.groups();
    let title = format!(
        "{}, in {}",
        counted(summary.reports, "report of the OOM killer", "reports of the OOM killer"),
        counted(groups.len() as u64, "place", "places")
    );
    page.title(&title, AnsiColor::Red);
    let with_host = groups.iter().any(|group| group.host.is_some());
    let mut lines = vec![summary_headings(with_host)];
    lines.extend(groups.iter().enumerate().map(|(index, group)| summary_row(index + 1, group, with_host)));
    for (index, line) in aligned(&lines, 0..lines[0].len(), &[0, 1]).into_iter().enumerate() {
        let style = if index == 0 { Ansi::new().dimmed() } else { Ansi::new() };
        page.line(&format!("  {line}"), style);
    }
    if summary.ungrouped > 0 {
        page.paragraph(
            "",
            &format!("and {} in further places", counted(summary.ungrouped, "report", "reports")),
        );
    }
    for (number, remark, remedy) in meanings(groups) {
        let mut label = format!("{number:>3}");
        if let Some(remark) = remark {
            page.paragraph(&label, &remark);
            "change".clone_into(&mut label);
        }
        if let Some(remedy) = remedy {
            page.paragraph(&label, &remedy);
        }
    }
    page.out
}

/// What is said of a group: its number, what it means that it is there so often, what to change.
pub(super) type Meaning = (usize, Option<String>, Option<String>);

/// The meanings of the first groups only: who has more asks for each report. The same advice is given once.
pub(super) fn meanings(groups: &[Group]) -> Vec<Meaning> {
    const EXPLAINED: usize = 20;
    let mut given: Vec<(usize, &str)> = Vec::new();
    let mut meanings = Vec::new();
    for (index, group) in groups.iter().enumerate().take(EXPLAINED) {
        let number = index + 1;
        let remedy = group.remedy.as_deref().map(|remedy| {
            if let Some((before, _)) = given.iter().find(|(_, before)| *before == remedy) {
                return format!("as for {before}");
            }
            given.push((number, remedy));
            remedy.to_owned()
        });
        let remark = group.remark();
        if remark.is_some() || remedy.is_some() {
            meanings.push((number, remark, remedy));
        }
    }
    meanings
}

pub(super) fn summary_headings(with_host: bool) -> Vec<String> {
    let host = with_host.then_some("host");
    ["#", "count", "first", "last"]
        .into_iter()
        .chain(host)
        .chain(["level", "where", "killed"])
        .map(str::to_owned)
        .collect()
}

pub(super) fn summary_row(number: usize, group: &Group, with_host: bool) -> Vec<String> {
    let unknown = || "-".to_owned();
    let (first, last) = group.span.clone().unwrap_or_else(|| (unknown(), unknown()));
    let last = if group.count == 1 { String::new() } else { last };
    let mut row = vec![number.to_string(), group.count.to_string(), first, last];
    if with_host {
        row.push(group.host.clone().unwrap_or_else(unknown));
    }
    row.push(group.level.map_or_else(unknown, |level| level.label().to_owned()));
    row.extend([group.place.clone(), group.victims()]);
    row
}

fn table(page: &mut Page, report: &Report, top: usize) {
    for (kind, line) in table_lines(report, top) {
        let style = match kind {
            TableLine::Heading | TableLine::Remark => Ansi::new().dimmed(),
            TableLine::Victim => Ansi::new().fg_color(Some(AnsiColor::Red.into())),
            TableLine::Other => Ansi::new(),
        };
        page.line(&format!("  {line}"), style);
    }
}

/// What a line of the table of processes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TableLine {
    Heading,
    Victim,
    Other,
    Remark,
}

/// The table of processes, aligned and printable.
pub(super) fn table_lines(report: &Report, top: usize) -> Vec<(TableLine, String)> {
    let (rows, left_out) = rows::table(report, top);
    if rows.is_empty() {
        return Vec::new();
    }
    let mut kinds = vec![TableLine::Heading];
    let mut lines = vec![rows::HEADINGS.map(str::to_owned).to_vec()];
    for (is_victim, cells) in rows {
        kinds.push(if is_victim { TableLine::Victim } else { TableLine::Other });
        lines.push(cells.to_vec());
    }
    let right: Vec<usize> = (0..rows::HEADINGS.len()).filter(|column| !rows::LEFT.contains(column)).collect();
    let aligned = aligned(&lines, 0..rows::HEADINGS.len(), &right);
    let marked = kinds.iter().zip(aligned).map(|(kind, line)| {
        let mark = if *kind == TableLine::Victim { "†" } else { " " };
        (*kind, format!("{mark} {line}").trim_end().to_owned())
    });
    let mut marked: Vec<_> = marked.collect();
    if left_out > 0 {
        let more = counted(left_out as u64, "process more", "processes more");
        marked.push((TableLine::Remark, format!("  {more}")));
    }
    marked
}

/// Columns of equal width, those of `right` to the right; every cell printable.
fn aligned(lines: &[Vec<String>], columns: std::ops::Range<usize>, right: &[usize]) -> Vec<String> {
    let lines: Vec<Vec<String>> =
        lines.iter().map(|line| line.iter().map(|cell| printable(cell)).collect()).collect();
    let cell = |line: &[String], column: usize| line.get(column).cloned().unwrap_or_default();
    let widths: Vec<usize> = columns
        .clone()
        .map(|column| lines.iter().map(|line| cell(line, column).chars().count()).max().unwrap_or(0))
        .collect();
    let shown = columns.clone().filter(|column| widths.get(*column).is_some_and(|width| *width > 0));
    let shown: Vec<usize> = shown.collect();
    let padded = |line: &[String]| {
        let cells: Vec<String> = shown
            .iter()
            .map(|column| {
                let (text, width) = (cell(line, *column), widths[*column]);
                if right.contains(column) { format!("{text:>width$}") } else { format!("{text:<width$}") }
            })
            .collect();
        cells.join("  ").trim_end().to_owned()
    };
    lines.iter().map(|line| padded(line)).collect()
}

/// With a capital first letter, unless it begins with a name.
pub(super) fn capitalised(text: &str) -> String {
    match text.strip_prefix("the ") {
        Some(rest) => format!("The {rest}"),
        None => text.to_owned(),
    }
}
