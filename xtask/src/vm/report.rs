//! What a guest's tests said, and whether its end was the expected one.

use serde_json::Value;

use super::scenario::{End, Scenario};

/// What became of a test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Ignored(String),
    Failed(String),
    /// The guest ended before the test did.
    Unfinished,
}

/// A test in one guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Tested {
    pub(crate) program: String,
    pub(crate) name: String,
    pub(crate) outcome: Outcome,
}

/// All that the results' port brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Results {
    pub(crate) tests: Vec<Tested>,
    /// The guest came to its end.
    done: bool,
    /// What was measured: a line for each.
    pub(crate) figures: Vec<String>,
    /// Programs that ended otherwise than by reporting: "program: code".
    broken: Vec<String>,
}

impl Results {
    pub(crate) fn read(text: &str) -> Self {
        let mut results = Self::default();
        let mut program = String::new();
        let mut reported = false;
        for line in text.lines() {
            // Whatever else a test program prints is no message.
            let Ok(message) = serde_json::from_str::<Value>(line) else { continue };
            let word = |key: &str| message[key].as_str().unwrap_or_default().to_owned();
            match (word("type").as_str(), word("event").as_str()) {
                ("guest", "program") => (program, reported) = (word("name"), false),
                ("guest", "exit") if !reported => {
                    results.broken.push(format!("{program}: {}", message["code"]));
                }
                ("guest", "done") => results.done = true,
                ("figure", what) => {
                    let (ratio, micros) = (message["ratio"].as_f64(), message["micros"].as_f64());
                    let (ratio, seconds) = (ratio.unwrap_or_default(), micros.unwrap_or_default() / 1e6);
                    results
                        .figures
                        .push(format!("{what}: {ratio:.1} times a fork and exec ({seconds:.3} s here)"));
                }
                ("suite", "ok" | "failed") => reported = true,
                ("test", event) => results.add(&program, &word("name"), event, word("stdout")),
                _ => {}
            }
        }
        results
    }

    fn add(&mut self, program: &str, name: &str, event: &str, said: String) {
        // What is ignored says why behind its name.
        let (plain, why) = match name.split_once(" (") {
            Some((plain, why)) if event == "ignored" => (plain, why.trim_end_matches(')').to_owned()),
            _ => (name, "does not say why".to_owned()),
        };
        let outcome = match event {
            "ok" => Outcome::Passed,
            "ignored" => Outcome::Ignored(why),
            "failed" => Outcome::Failed(said),
            _ => Outcome::Unfinished,
        };
        let known = self.tests.iter_mut().find(|test| {
            test.program == program
                && (test.name == name || test.name == plain)
                && test.outcome == Outcome::Unfinished
        });
        if let Some(known) = known {
            plain.clone_into(&mut known.name);
            known.outcome = outcome;
        } else {
            self.tests.push(Tested { program: program.to_owned(), name: plain.to_owned(), outcome });
        }
    }

    pub(crate) fn passed(&self) -> usize {
        self.tests.iter().filter(|test| test.outcome == Outcome::Passed).count()
    }

    pub(crate) fn ignored(&self) -> usize {
        self.tests.iter().filter(|test| matches!(test.outcome, Outcome::Ignored(_))).count()
    }

    pub(crate) fn failed(&self) -> impl Iterator<Item = (&Tested, &str)> {
        self.tests.iter().filter_map(|test| match &test.outcome {
            Outcome::Failed(said) => Some((test, said.as_str())),
            _ => None,
        })
    }

    /// What was wrong with the guest itself, its tests aside.
    pub(crate) fn wrong_with(&self, scenario: &Scenario, console: &str, hung: bool) -> Option<String> {
        if hung {
            return Some(format!("it did not end within {} s", scenario.patience.as_secs()));
        }
        let panicked = console.contains("Kernel panic");
        match scenario.end {
            End::Done if panicked => Some("its kernel panicked".into()),
            End::Done if !self.done => Some("it ended before its tests did".into()),
            End::Panic(word) if !panicked => Some(format!("no panic came; expected: {word}")),
            End::Panic(word) if !console.contains(word) => Some(format!("another panic than {word:?} came")),
            _ if !self.broken.is_empty() => {
                Some(format!("ended without a report: {}", self.broken.join(", ")))
            }
            _ if self.tests.is_empty() => Some("no test ran in it".into()),
            End::Done | End::Panic(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::scenario::ALL;

    const SAID: &str = r#"{"type": "guest", "event": "ready", "uptime": 3.1}
{"type": "guest", "event": "program", "name": "end_to_end"}
{ "type": "suite", "event": "started", "test_count": 4 }
{ "type": "test", "event": "started", "name": "a" }
{ "type": "test", "event": "started", "name": "b" }
words of a test
{ "type": "test", "name": "b", "event": "failed", "stdout": "Error: \"no\"\n" }
{ "type": "test", "name": "a", "event": "ok" }
{ "type": "test", "event": "started", "name": "c (needs swap (any))" }
{ "type": "test", "name": "c (needs swap (any))", "event": "ignored" }
{ "type": "test", "event": "started", "name": "d" }
"#;
    const END: &str = r#"{ "type": "suite", "event": "failed", "passed": 1, "failed": 1 }
{"type": "guest", "event": "exit", "code": 101}
{"type": "guest", "event": "done"}
"#;

    fn outcomes(results: &Results) -> Vec<(&str, &Outcome)> {
        results.tests.iter().map(|test| (test.name.as_str(), &test.outcome)).collect()
    }

    #[test]
    fn each_test_has_one_outcome() {
        let results = Results::read(SAID);
        assert_eq!(
            outcomes(&results),
            [
                ("a", &Outcome::Passed),
                ("b", &Outcome::Failed("Error: \"no\"\n".into())),
                ("c", &Outcome::Ignored("needs swap (any".into())),
                ("d", &Outcome::Unfinished),
            ]
        );
        assert_eq!((results.passed(), results.ignored(), results.failed().count()), (1, 1, 1));
    }

    #[test]
    fn a_guest_must_end_as_expected() {
        let plain = &ALL[0];
        let panics = Scenario { end: End::Panic("panic_on_oom"), ..*plain };
        let (short, whole) = (Results::read(SAID), Results::read(&(SAID.to_owned() + END)));
        let panic = "Kernel panic - not syncing: Out of memory: panic_on_oom is enabled";
        assert_eq!(whole.wrong_with(plain, "", false), None);
        assert_eq!(short.wrong_with(&panics, panic, false), None);
        let wrong = [
            whole.wrong_with(plain, "", true),
            whole.wrong_with(plain, panic, false),
            short.wrong_with(plain, "", false),
            whole.wrong_with(&panics, "", false),
            short.wrong_with(&panics, "Kernel panic - not syncing: other", false),
            Results::read(&END.replace("suite", "x")).wrong_with(plain, "", false),
            Results::read(END).wrong_with(plain, "", false),
        ];
        assert!(wrong.iter().all(Option::is_some), "{wrong:#?}");
    }
}
