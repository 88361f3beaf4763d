//! The last hour as a small plot: how much was used, minute by minute, and where the threshold is. Pure.

use jiff::Timestamp;
use memlet_bytes::Bytes;

use memlet_node::PressureSample;

/// One column for each minute.
const COLUMNS: usize = 60;
const SECONDS: i64 = 60;
const ROWS: usize = 8;
/// Each cell is filled from below, in eighths.
const BLOCKS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// What is drawn.
pub(super) struct Plot<'a> {
    pub(super) samples: &'a [PressureSample],
    /// What there is in all: the upper edge.
    pub(super) total: Bytes,
    /// Below so much available memory Pods are evicted.
    pub(super) threshold: Option<Bytes>,
    pub(super) now: Timestamp,
    pub(super) unicode: bool,
}

/// Whether the locale's letters are Unicode's.
pub(super) fn writes_unicode(variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter().filter_map(variable).find(|value| !value.is_empty());
    set.is_some_and(|locale| {
        let locale = locale.to_ascii_lowercase();
        locale.contains("utf-8") || locale.contains("utf8")
    })
}

impl Plot<'_> {
    /// The lines, each with its end.
    pub(super) fn text(&self) -> String {
        let line = self.threshold.map(|threshold| self.total.saturating_sub(threshold));
        let used = self.used(line);
        let line_row = line.map(|line| row_of(self.eighths(line)));
        let mut text = String::new();
        for row in (0..ROWS).rev() {
            let label = match (line.filter(|_| line_row == Some(row)), row) {
                (Some(line), _) => line.to_string(),
                (None, row) if row == ROWS - 1 => self.total.to_string(),
                (None, 0) => "0".to_owned(),
                _ => String::new(),
            };
            let is_line = line_row == Some(row);
            let cells: String = used.iter().map(|used| self.cell(*used, row, is_line)).collect();
            let remark = if is_line { " evicts above" } else { "" };
            let edge = if self.unicode { '│' } else { '|' };
            text.push_str(format!("{label:>9} {edge}{cells}{remark}").trim_end());
            text.push('\n');
        }
        let edge = if self.unicode {
            format!("└{}", "─".repeat(COLUMNS))
        } else {
            format!("+{}", "-".repeat(COLUMNS))
        };
        text.push_str(&format!("{:>9} {edge}\n", ""));
        let until = COLUMNS - "60 min ago".len();
        text.push_str(&format!("{:>9}  60 min ago{:>until$}\n", "", "now"));
        text
    }

    /// The most that was used in each minute, in eighths of rows; `None` where nobody looked.
    fn used(&self, line: Option<Bytes>) -> Vec<Option<usize>> {
        let mut columns: Vec<Option<Bytes>> = vec![None; COLUMNS];
        for sample in self.samples {
            let age = self.now.duration_since(sample.at).as_secs().max(0) / SECONDS;
            let column = usize::try_from(age).ok().and_then(|age| (COLUMNS - 1).checked_sub(age));
            if let Some(column) = column.and_then(|column| columns.get_mut(column)) {
                let used = self.total.saturating_sub(sample.lowest_available);
                *column = Some(column.map_or(used, |most| most.max(used)));
            }
        }
        // What was above the threshold by ever so little is seen above it.
        let height = |used: Bytes| match line {
            Some(line) if used > line => self.eighths(used).max(self.eighths(line) + 1),
            _ => self.eighths(used),
        };
        columns.into_iter().map(|used| used.map(height)).collect()
    }

    /// An amount as a height.
    fn eighths(&self, amount: Bytes) -> usize {
        let all = (ROWS * 8) as u64;
        let height = u128::from(amount.get()) * u128::from(all) / u128::from(self.total.get().max(1));
        usize::try_from(height).unwrap_or(usize::MAX).min(ROWS * 8)
    }

    fn cell(&self, used: Option<usize>, row: usize, is_line: bool) -> char {
        // Something that was looked at and small is seen.
        let filled = used.map_or(0, |used| used.max(1).saturating_sub(row * 8).min(8));
        match (self.unicode, filled) {
            (true, 0) if is_line => '┄',
            (false, 0..4) if is_line => '-',
            (true, filled) => BLOCKS[filled],
            (false, 0) => ' ',
            (false, 1..4) => '.',
            (false, _) => '#',
        }
    }
}

/// The row in which a height ends.
fn row_of(eighths: usize) -> usize {
    (eighths.saturating_sub(1) / 8).min(ROWS - 1)
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    fn plot(unicode: bool) -> String {
        let now = sample::now();
        let usage = &now.usage;
        let pressure = now.pressure.as_ref().unwrap();
        Plot {
            samples: &pressure.samples,
            total: usage.limit.unwrap(),
            threshold: Some(Bytes::from_mib(100)),
            now: sample::AT.parse().unwrap(),
            unicode,
        }
        .text()
    }

    #[test]
    fn an_hour_that_ends_in_an_eviction() {
        insta::assert_snapshot!(plot(true), @r"
        924Mi │┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄▁▃┄┄┄┄┄┄┄┄┄┄ evicts above
              │                                            ▂▄▆▇██         ▂
              │                                       ▁▃▅▆███████       ▃▆█
              │                                   ▂▄▆▇███████████    ▂▅████
              │                              ▁▃▅▇████████████████ ▁▄▇██████
              │                          ▂▄▆▇████████████████████▅█████████
              │                     ▁▃▅▇███████████████████████████████████
            0 │                    ████████████████████████████████████████
              └────────────────────────────────────────────────────────────
               60 min ago                                               now
        ");
    }

    #[test]
    fn the_same_in_ascii() {
        let plot = plot(false);
        assert!(plot.is_ascii(), "{plot}");
        insta::assert_snapshot!(plot, @r"
        924Mi |------------------------------------------------------------ evicts above
              |                                            .#####         .
              |                                       ..#########       .##
              |                                   .##############    .#####
              |                              ..################## .########
              |                          .#################################
              |                     ..#####################################
            0 |                    ########################################
              +------------------------------------------------------------
               60 min ago                                               now
        ");
    }

    #[test]
    fn locales() {
        let of = |set: &[(&str, &str)]| {
            writes_unicode(|variable| {
                set.iter().find(|(name, _)| *name == variable).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(of(&[("LANG", "en_US.UTF-8")]) && of(&[("LC_CTYPE", "C.utf8"), ("LANG", "C")]));
        assert!(!of(&[]) && !of(&[("LC_ALL", "C"), ("LANG", "en_US.UTF-8")]));
        assert!(of(&[("LC_ALL", ""), ("LANG", "de_DE.UTF-8")]), "empty is not set");
    }
}
