//! What ran where: a test that runs nowhere is to be seen.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::report::{Outcome, Results};

/// For each test, what became of it in each guest.
#[derive(Debug, Default)]
pub(crate) struct Coverage {
    guests: Vec<String>,
    tests: BTreeMap<(String, String), BTreeMap<usize, Outcome>>,
}

impl Coverage {
    pub(crate) fn add(&mut self, guest: &str, results: &Results) {
        let column = self.guests.len();
        self.guests.push(guest.to_owned());
        for test in &results.tests {
            let row = self.tests.entry((test.program.clone(), test.name.clone())).or_default();
            row.insert(column, test.outcome.clone());
        }
    }

    /// A row for each test, a column for each guest.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from("+ passed, i ignored, F failed, ! unfinished, . not asked for\n");
        for (column, guest) in self.guests.iter().enumerate() {
            let _ = writeln!(text, "{}{guest}", "| ".repeat(column));
        }
        for ((program, name), row) in &self.tests {
            let signs = (0..self.guests.len()).map(|column| sign(row.get(&column)));
            let signs = signs.collect::<Vec<_>>().join(" ");
            let _ = writeln!(text, "{signs}  {program}: {name}{}", why(row));
        }
        text
    }

    /// Tests that passed in no guest, and why.
    pub(crate) fn nowhere(&self) -> Vec<String> {
        let nowhere = self.tests.iter().filter(|(_, row)| !row.values().any(|it| *it == Outcome::Passed));
        nowhere.map(|((program, name), row)| format!("{program}: {name}{}", why(row))).collect()
    }

    /// How many tests passed in at least one guest.
    pub(crate) fn somewhere(&self) -> usize {
        self.tests.len() - self.nowhere().len()
    }
}

fn sign(outcome: Option<&Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Passed) => "+",
        Some(Outcome::Ignored(_)) => "i",
        Some(Outcome::Failed(_)) => "F",
        Some(Outcome::Unfinished) => "!",
        None => ".",
    }
}

/// Why it was ignored, where it was.
fn why(row: &BTreeMap<usize, Outcome>) -> String {
    let mut reasons: Vec<&str> = row.values().filter_map(ignored).collect();
    reasons.sort_unstable();
    reasons.dedup();
    if reasons.is_empty() { String::new() } else { format!(" (ignored: {})", reasons.join("; ")) }
}

fn ignored(outcome: &Outcome) -> Option<&str> {
    match outcome {
        Outcome::Ignored(why) => Some(why),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ran_nowhere_is_seen() {
        let line =
            |name: &str, event: &str| format!(r#"{{"type": "test", "name": "{name}", "event": "{event}"}}"#);
        let program = r#"{"type": "guest", "event": "program", "name": "p"}"#;
        let said = |lines: [String; 2]| {
            Results::read(&[program.to_owned(), lines.concat().replace("}{", "}\n{")].join("\n"))
        };
        let mut coverage = Coverage::default();
        coverage.add("one", &said([line("a", "ok"), line("b (needs swap)", "ignored")]));
        coverage.add("two", &said([line("a", "failed"), line("b (needs swap)", "ignored")]));
        assert_eq!(coverage.nowhere(), ["p: b (ignored: needs swap)"]);
        assert_eq!(coverage.somewhere(), 1);
        assert_eq!(
            coverage.table().lines().skip(1).collect::<Vec<_>>(),
            ["one", "| two", "+ F  p: a", "i i  p: b (ignored: needs swap)"]
        );
    }
}
