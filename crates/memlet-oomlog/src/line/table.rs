//! The task table: a header names the columns, each row is read by them (`dump_tasks` of `mm/oom_kill.c`).

use memlet_bytes::Bytes;

use super::Line;
use super::scan::{number, uid};
use crate::amount::Pages;
use crate::report::{Pid, Task};

/// What the columns between `[ pid ]` and `name` hold, in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns(Vec<Column>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Column {
    Uid,
    Tgid,
    TotalVm,
    Rss,
    RssAnon,
    RssFile,
    RssShmem,
    PageTableBytes,
    PageTablePages,
    SwapEntries,
    OomScoreAdj,
    OomAdj,
    /// `cpu`, or a number that only a patched kernel prints.
    Other(String),
}

/// One row, its columns not yet told apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    pid: Pid,
    rest: &'a str,
}

/// More columns than any kernel prints.
const MAX_COLUMNS: usize = 32;
const LONGEST_COLUMN: usize = 32;

impl Columns {
    fn parse(header: &str) -> Option<Self> {
        let mut columns = Vec::new();
        for word in header.split_ascii_whitespace() {
            columns.push(match word {
                "name" => return Some(Self(columns)),
                "uid" => Column::Uid,
                "tgid" => Column::Tgid,
                "total_vm" => Column::TotalVm,
                "rss" => Column::Rss,
                "rss_anon" => Column::RssAnon,
                "rss_file" => Column::RssFile,
                "rss_shmem" => Column::RssShmem,
                "pgtables_bytes" => Column::PageTableBytes,
                "nr_ptes" | "nr_pmds" | "nr_puds" => Column::PageTablePages,
                "swapents" => Column::SwapEntries,
                "oom_score_adj" => Column::OomScoreAdj,
                "oom_adj" => Column::OomAdj,
                other => Column::Other(other[..other.floor_char_boundary(LONGEST_COLUMN)].to_owned()),
            });
            if columns.len() > MAX_COLUMNS {
                return None;
            }
        }
        None
    }
}

impl Columns {
    /// How many of them have a meaning here.
    pub(crate) fn known(&self) -> usize {
        self.0.iter().filter(|column| !matches!(column, Column::Other(_))).count()
    }

    /// Whether `row`, as far as it goes, has less than all numbers: it was cut.
    pub(crate) fn want_more_than(&self, row: &Row<'_>) -> bool {
        row.rest.split_ascii_whitespace().count() <= self.0.len()
    }
}

impl Row<'_> {
    /// The process.
    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// The row's values by the names of its columns. `None`: the row does not fit them.
    pub fn read(&self, columns: &Columns) -> Option<Task> {
        let mut task = Task { pid: self.pid, ..Task::default() };
        let mut rest = self.rest;
        for column in &columns.0 {
            rest = column.read(rest.trim_start_matches(' '), &mut task)?;
            if !(rest.is_empty() || rest.starts_with(' ')) {
                return None;
            }
        }
        // One blank, then the name to the end of the line: it may begin with blanks, or be empty.
        rest.strip_prefix(' ').unwrap_or(rest).clone_into(&mut task.comm);
        Some(task)
    }
}

impl Column {
    fn read<'a>(&self, text: &'a str, task: &mut Task) -> Option<&'a str> {
        fn put<'a, T>(to: &mut Option<T>, value: Option<(T, &'a str)>) -> Option<&'a str> {
            let (value, rest) = value?;
            *to = Some(value);
            Some(rest)
        }
        let pages = || number(text).map(|(pages, rest)| (Pages(pages), rest));
        match self {
            Self::Uid => put(&mut task.uid, uid(text)),
            Self::Tgid => put(&mut task.tgid, number(text)),
            Self::TotalVm => put(&mut task.total_vm, pages()),
            Self::Rss => put(&mut task.rss, pages()),
            Self::RssAnon => put(&mut task.rss_anon, pages()),
            Self::RssFile => put(&mut task.rss_file, pages()),
            Self::RssShmem => put(&mut task.rss_shmem, pages()),
            Self::PageTableBytes => {
                put(&mut task.page_tables, number(text).map(|(bytes, rest)| (Bytes::new(bytes), rest)))
            }
            Self::PageTablePages => {
                // One column per level of the tables.
                let (Pages(pages), rest) = pages()?;
                let so_far = task.page_table_pages.map_or(0, |Pages(pages)| pages);
                task.page_table_pages = Some(Pages(so_far.saturating_add(pages)));
                Some(rest)
            }
            Self::SwapEntries => put(&mut task.swap_entries, pages()),
            Self::OomScoreAdj => put(&mut task.oom_score_adj, number(text)),
            Self::OomAdj => put(&mut task.oom_adj, number(text)),
            Self::Other(name) => {
                let (value, rest) = number::<i64>(text)?;
                task.other.insert(name.clone(), value);
                Some(rest)
            }
        }
    }
}

pub(super) fn title(text: &str) -> Option<Line<'_>> {
    (text.trim_end() == "Tasks state (memory values in pages):").then_some(Line::TasksTitle)
}

pub(super) fn title_or_row(text: &str) -> Option<Line<'_>> {
    let inside = text.strip_prefix('[')?.trim_start_matches(' ');
    if let Some(header) = inside.strip_prefix("pid") {
        return Columns::parse(header.trim_start_matches(' ').strip_prefix(']')?).map(Line::TasksHeader);
    }
    let (pid, rest) = number(inside)?;
    let rest = rest.strip_prefix(']')?;
    // The columns tell whether it is one.
    let first = rest.trim_start_matches(' ').bytes().next()?;
    (rest.starts_with(' ') && (first.is_ascii_digit() || first == b'-'))
        .then_some(Line::TaskRow(Row { pid, rest }))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn read(header: &str, row: &str) -> Option<Task> {
        let Some(Line::TasksHeader(columns)) = Line::parse(header) else { panic!("{header}") };
        let Some(Line::TaskRow(row)) = Line::parse(row) else { panic!("{row}") };
        row.read(&columns)
    }

    const MODERN: &str = "[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name";

    #[test]
    fn a_row_of_this_kernel() {
        let row = "[  14538] 65534 14538    12618    12178    11936      242         0   139264        0           968 nginx: worker p";
        assert_eq!(
            read(MODERN, row).unwrap(),
            Task {
                pid: 14538,
                tgid: Some(14538),
                uid: Some(65534),
                total_vm: Some(Pages(12618)),
                rss: Some(Pages(12178)),
                rss_anon: Some(Pages(11936)),
                rss_file: Some(Pages(242)),
                rss_shmem: Some(Pages(0)),
                page_tables: Some(Bytes::new(139_264)),
                page_table_pages: None,
                swap_entries: Some(Pages(0)),
                oom_score_adj: Some(968),
                oom_adj: None,
                other: BTreeMap::new(),
                comm: "nginx: worker p".to_owned(),
            }
        );
    }

    #[test]
    fn any_name_in_a_row() {
        for comm in ["", " ", "  7 8", "a) b (c", "x\n[    1]", "0"] {
            let row = format!(
                "[      7]    -2     7      247      159        0      159         0    40960        0         -1000 {comm}"
            );
            let task = read(MODERN, &row).unwrap();
            assert_eq!(
                (task.comm.as_str(), task.uid, task.oom_score_adj),
                (comm, Some(u32::MAX - 1), Some(-1000))
            );
        }
    }

    #[test]
    fn the_header_rules_the_row() {
        let task = read(
            "[ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name",
            "[ 4711]  1000  4711    20113    16020      44       3        5           998 hog",
        )
        .unwrap();
        assert_eq!(task.page_table_pages, Some(Pages(47)));
        assert_eq!((task.page_tables, task.swap_entries, task.comm.as_str()), (None, Some(Pages(5)), "hog"));
        let old = read(
            "[ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name",
            "[ 4711]  1000  4711    20113    16020   1     -17         -1000 hog",
        )
        .unwrap();
        assert_eq!((old.rss, old.oom_score_adj), (Some(Pages(16020)), Some(-1000)));
        assert_eq!((old.oom_adj, old.other["cpu"]), (Some(-17), 1));
        assert_eq!(
            read(MODERN, "[   4711]  1000  4711    20113    16020     172032        0  hog"),
            None,
            "too short"
        );
    }
}
