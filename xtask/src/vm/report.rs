//! What the guests told, read and summed up.

use std::collections::BTreeMap;

use serde_json::Value;

use super::machine::Outcome;
use super::scenario::{End, Scenario};

/// What became of one test on one machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Passed,
    Failed,
    Ignored,
}

/// What one guest came to.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    /// Test program and test, and what became of it.
    pub(crate) tests: Vec<(String, Verdict)>,
    /// From power on to the first test, by the guest's own clock.
    pub(crate) booted: Option<String>,
    /// What is wrong with the guest itself.
    pub(crate) trouble: Option<String>,
}

impl Guest {
    pub(crate) fn read(scenario: &Scenario, outcome: &Outcome) -> Self {
        let (mut tests, mut booted, mut trouble) = (Vec::new(), None, None);
        let mut program = None;
        for line in outcome.told.lines() {
            let words: Vec<_> = line.split(' ').collect();
            match words.as_slice() {
                ["@@", "booted", kernel, seconds] => booted = Some(format!("{kernel} in {seconds} s")),
                ["@@", "begin", name] => program = Some(*name),
                ["@@", "end", name, code, ..] => {
                    program = None;
                    if !matches!(*code, "0" | "101") {
                        trouble = Some(format!("{name} ended with {code}"));
                    }
                }
                _ => tests.extend(program.and_then(|program| test(program, line))),
            }
        }
        let is_over = outcome.told.lines().any(|line| line == "@@ done");
        trouble = match scenario.end {
            _ if outcome.hung => Some(format!("it hung, and was ended after {} s", outcome.wall.as_secs())),
            End::PowersOff if !is_over => Some("it ended before its plan was over".to_owned()),
            End::PowersOff => trouble.or_else(|| tests.is_empty().then(|| "it ran no test".to_owned())),
            End::Panics(text) if outcome.console.contains(text) => None,
            End::Panics(text) => Some(format!("it was to panic with {text:?}, and did not")),
        };
        Self { tests, booted, trouble }
    }

    pub(crate) fn count(&self, verdict: Verdict) -> usize {
        self.tests.iter().filter(|(_, its)| *its == verdict).count()
    }

    pub(crate) fn is_good(&self) -> bool {
        self.trouble.is_none() && self.count(Verdict::Failed) == 0
    }

    /// One line about it.
    pub(crate) fn line(&self, scenario: &Scenario, outcome: &Outcome) -> String {
        let [passed, ignored, failed] =
            [Verdict::Passed, Verdict::Ignored, Verdict::Failed].map(|verdict| self.count(verdict));
        format!(
            "{:4} {:17} {:34} {passed:3} passed {ignored:3} ignored {failed:3} failed {:5.0} s{}",
            if self.is_good() { "ok" } else { "BAD" },
            scenario.name,
            self.booted.as_deref().unwrap_or("did not boot"),
            outcome.wall.as_secs_f64(),
            self.trouble.as_ref().map(|trouble| format!("  {trouble}")).unwrap_or_default(),
        )
    }
}

/// A line of a test program in JSON.
fn test(program: &str, line: &str) -> Option<(String, Verdict)> {
    // Whatever the tests wrote without a newline may stand before it.
    let line = &line[line.find("{ \"type\": \"test\"")?..];
    let message: Value = serde_json::from_str(line.trim_end()).ok()?;
    let verdict = match message["event"].as_str()? {
        "ok" => Verdict::Passed,
        "failed" => Verdict::Failed,
        "ignored" => Verdict::Ignored,
        _ => return None,
    };
    // Why it is ignored stands behind its name.
    Some((format!("{program} {}", message["name"].as_str()?), verdict))
}

/// Where a guest has something wrong: what it told of the tests that failed, or the end of its console.
pub(crate) fn details(guest: &Guest, outcome: &Outcome) -> String {
    const LINES: usize = 60;
    let tail = |text: &str| {
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(LINES)..].join("\n")
    };
    if guest.trouble.is_some() {
        let told = outcome.told.split("@@ dmesg").next().unwrap_or_default();
        return format!("-- what it told last\n{}\n-- its console\n{}", tail(told), tail(&outcome.console));
    }
    let told = outcome.told.split("@@ dmesg").next().unwrap_or_default();
    let noise = |line: &&str| !line.contains("\"event\": \"ok\"") && !line.contains("\"event\": \"started\"");
    told.lines().filter(noise).map(|line| line.replace("\\n", "\n")).collect::<Vec<_>>().join("\n")
}

/// Which tests passed on no machine, of those that any machine listed.
pub(crate) fn nowhere<'a>(guests: impl Iterator<Item = &'a Guest>) -> Vec<String> {
    let mut passed: BTreeMap<String, bool> = BTreeMap::new();
    for (name, verdict) in guests.flat_map(|guest| &guest.tests) {
        let plain = name.split(" (").next().unwrap_or(name).to_owned();
        *passed.entry(plain).or_default() |= *verdict == Verdict::Passed;
    }
    passed.into_iter().filter(|(_, passed)| !passed).map(|(name, _)| name).collect()
}
