//! The table of processes, worst first.

use memlet_bytes::Bytes;
use memlet_oomlog::{Pages, Report, Task};

/// A process of the table with what the kernel thought of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<'a> {
    /// The process.
    pub task: &'a Task,
    /// Its score in pages; `None` where the kernel may not kill it, or the score cannot be computed.
    pub points: Option<i64>,
    /// Whether it was killed.
    pub is_victim: bool,
}

/// All processes of the table: those with a score by it, then the others by what they hold.
pub fn rows(report: &Report) -> Vec<Row<'_>> {
    let ranking: std::collections::HashMap<_, _> =
        report.ranking().into_iter().map(|ranked| (ranked.pid, ranked.points)).collect();
    let victims: std::collections::HashSet<_> = report.victims.iter().map(|victim| victim.pid).collect();
    let mut rows: Vec<_> = report
        .tasks
        .iter()
        .map(|task| Row {
            task,
            points: ranking.get(&task.pid).copied(),
            is_victim: victims.contains(&task.pid),
        })
        .collect();
    rows.sort_by_key(|row| std::cmp::Reverse((row.points, held(row.task))));
    rows
}

fn held(task: &Task) -> u64 {
    let pages = |pages: Option<Pages>| pages.map_or(0, |pages| pages.0);
    pages(task.rss).saturating_add(pages(task.swap_entries))
}

impl Row<'_> {
    /// A number of pages for reading: as memory where the size of a page is known.
    fn amount(pages: u64, page_size: Option<Bytes>) -> String {
        page_size.map_or_else(|| format!("{pages}p"), |size| Pages(pages).bytes(size).to_string())
    }

    /// Its cells, in the order of [`HEADINGS`]; `most` is the highest score of the table.
    pub(super) fn cells(&self, page_size: Option<Bytes>, most: i64) -> [String; 8] {
        let task = self.task;
        let pages = |pages: Option<Pages>| {
            pages.map_or_else(|| "-".to_owned(), |pages| Self::amount(pages.0, page_size))
        };
        let tables = match task.page_tables {
            Some(bytes) => bytes.to_string(),
            None => pages(task.page_table_pages),
        };
        let points = self.points.map_or_else(
            || "-".to_owned(),
            |points| {
                let sign = if points < 0 { "−" } else { "" };
                format!("{sign}{}", Self::amount(points.unsigned_abs(), page_size))
            },
        );
        let adj = task.oom_score_adj.or(task.oom_adj);
        [
            task.pid.to_string(),
            pages(task.rss),
            pages(task.swap_entries),
            tables,
            adj.map_or_else(|| "-".to_owned(), |adj| adj.to_string()),
            points,
            bar(self.points, most),
            task.comm.clone(),
        ]
    }
}

/// What stands above the cells; the bar and the name are read from the left.
pub(super) const HEADINGS: [&str; 8] = ["pid", "rss", "swap", "tables", "adj", "score", "", "name"];

/// The columns that are read from the left.
pub(super) const LEFT: std::ops::Range<usize> = 6..8;

const BAR: i64 = 12;

fn bar(points: Option<i64>, most: i64) -> String {
    let eighths = points
        .filter(|points| *points > 0 && most > 0)
        .map_or(0, |points| i128::from(points) * i128::from(BAR) * 8 / i128::from(most));
    let eighths = usize::try_from(eighths).unwrap_or(0);
    let mut bar = "█".repeat(eighths / 8);
    bar.push_str(["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"][eighths % 8]);
    bar
}

/// The `top` worst rows as cells, with those victims that are further down; and how many rows are left out.
pub(super) fn table(report: &Report, top: usize) -> (Vec<(bool, [String; 8])>, usize) {
    let rows = rows(report);
    let most = rows.first().and_then(|row| row.points).unwrap_or(0);
    let shown: Vec<_> = rows
        .iter()
        .enumerate()
        .filter(|(index, row)| *index < top || (top > 0 && row.is_victim && *index < top.saturating_mul(10)))
        .map(|(_, row)| (row.is_victim, row.cells(report.page_size, most)))
        .collect();
    let left_out = rows.len() - shown.len();
    (shown, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_shares_of_the_most() {
        for (points, most, expected) in [
            (Some(100), 100, "████████████"),
            (Some(50), 100, "██████"),
            (Some(1), 100, ""),
            (Some(5), 100, "▌"),
            (Some(-5), 100, ""),
            (None, 100, ""),
            (Some(5), 0, ""),
            (Some(i64::MAX), i64::MAX, "████████████"),
        ] {
            assert_eq!(bar(points, most), expected, "{points:?} of {most}");
        }
    }

    #[test]
    fn without_a_page_size_amounts_stay_pages() {
        let task = Task { pid: 7, rss: Some(Pages(3)), comm: "x".to_owned(), ..Task::default() };
        let row = Row { task: &task, points: Some(3), is_victim: false };
        assert_eq!(row.cells(None, 3)[..6], ["7", "3p", "-", "-", "-", "3p"]);
        assert_eq!(row.cells(Some(Bytes::from_kib(64)), 3)[1], "192Ki");
    }
}
