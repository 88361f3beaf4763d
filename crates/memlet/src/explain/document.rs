//! The document for programs, JSON or YAML, written piece by piece: memory does not grow with the number of reports, and
//! the result is one valid document.

use anyhow::{Context, Result};
use memlet_diagnosis::log::document::{ReportDocument, SCHEMA};
use memlet_oomlog::UserspaceKill;
use serde::Serialize;

/// So many kills by daemons are kept, as they stand at the document's end; more are counted.
const KILLS_KEPT: usize = 10_000;

/// How the document is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Notation {
    Json,
    Yaml,
}

/// What was read of one input.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Input {
    /// As it was named.
    pub(super) file: String,
    /// Bytes, unpacked.
    pub(super) bytes: u64,
    /// Lines.
    pub(super) lines: u64,
    /// Lines longer than any source writes, which were not read.
    pub(super) long_lines: u64,
    /// Reports that another input told already.
    pub(super) repeated: u64,
    /// The lines stand in the reverse of their order.
    pub(super) newest_first: bool,
    /// The forms in which the lines are written.
    pub(super) forms: Vec<&'static str>,
    /// Why it could not be read to its end.
    pub(super) error: Option<String>,
}

#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Kill {
    file: String,
    #[serde(flatten)]
    kill: UserspaceKill,
}

/// What stands behind the reports.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    userspace_kills: &'a [Kill],
    userspace_kills_left_out: u64,
    inputs: &'a [Input],
}

/// The document of one run. Each method answers what is to be written.
pub(super) struct Document {
    notation: Notation,
    begun: bool,
    reports: u64,
    kills: Vec<Kill>,
    kills_left_out: u64,
}

impl Document {
    pub(super) fn new(notation: Notation) -> Self {
        Self { notation, begun: false, reports: 0, kills: Vec::new(), kills_left_out: 0 }
    }

    pub(super) fn report(&mut self, report: &ReportDocument<'_>) -> Result<String> {
        let mut out = self.begin();
        let first = self.reports == 0;
        self.reports += 1;
        match self.notation {
            Notation::Json => {
                out.push_str(if first { "\n    " } else { ",\n    " });
                out.push_str(&indented(&json(report)?, "    "));
            }
            Notation::Yaml => {
                if first {
                    out.push('\n');
                }
                out.push_str(&yaml(&[report])?);
            }
        }
        Ok(out)
    }

    pub(super) fn userspace_kill(&mut self, kill: &UserspaceKill, file: &str) {
        if self.kills.len() < KILLS_KEPT {
            self.kills.push(Kill { file: file.to_owned(), kill: kill.clone() });
        } else {
            self.kills_left_out += 1;
        }
    }

    pub(super) fn end(&mut self, inputs: &[Input]) -> Result<String> {
        let mut out = self.begin();
        let rest =
            Rest { userspace_kills: &self.kills, userspace_kills_left_out: self.kills_left_out, inputs };
        match self.notation {
            Notation::Json => {
                out.push_str(if self.reports == 0 { "]" } else { "\n  ]" });
                // The object goes on, so its bracket is left out.
                out.push(',');
                out.push_str(json(&rest)?.trim_start_matches('{'));
                out.push('\n');
            }
            Notation::Yaml => {
                if self.reports == 0 {
                    out.push_str(" []\n");
                }
                out.push_str(&yaml(&rest)?);
            }
        }
        Ok(out)
    }

    fn begin(&mut self) -> String {
        if std::mem::replace(&mut self.begun, true) {
            return String::new();
        }
        match self.notation {
            Notation::Json => format!("{{\n  \"schema\": \"{SCHEMA}\",\n  \"reports\": ["),
            Notation::Yaml => format!("schema: {SCHEMA}\nreports:"),
        }
    }
}

fn json(value: &impl Serialize) -> Result<String> {
    serde_json::to_string_pretty(value).context("a report cannot be written as JSON")
}

fn yaml(value: &impl Serialize) -> Result<String> {
    serde_saphyr::to_string(value).context("a report cannot be written as YAML")
}

/// JSON has line ends between tokens only.
fn indented(json: &str, by: &str) -> String {
    json.replace('\n', &format!("\n{by}"))
}

#[cfg(test)]
mod tests {
    use memlet_diagnosis::log::explain;
    use memlet_oomlog::{Killer, Report, Victim};
    use serde_json::Value;

    use super::*;

    fn written(notation: Notation, reports: usize) -> String {
        let mut document = Document::new(notation);
        let report = Report {
            victims: vec![Victim { comm: "a\n: [x]\u{1b}".to_owned(), ..Victim::default() }],
            ..Report::default()
        };
        let explanation = explain(&report);
        let mut out = String::new();
        for _ in 0..reports {
            let shown = ReportDocument::new(&report, &explanation, Some("kern.log"));
            out.push_str(&document.report(&shown).unwrap());
        }
        document.userspace_kill(
            &UserspaceKill {
                killer: Killer::Earlyoom,
                time: None,
                host: None,
                cgroup: None,
                pid: Some(3),
                comm: None,
                message: "sending SIGTERM".to_owned(),
                line: 7,
            },
            "kern.log",
        );
        let input = Input {
            file: "kern.log".to_owned(),
            bytes: 1,
            lines: 1,
            forms: vec!["dmesg"],
            ..Input::default()
        };
        out + &document.end(&[input]).unwrap()
    }

    #[test]
    fn pieces_make_one_document() {
        for reports in 0..3 {
            let json: Value = serde_json::from_str(&written(Notation::Json, reports)).unwrap();
            assert_eq!(json["schema"], SCHEMA);
            assert_eq!(json["reports"].as_array().unwrap().len(), reports);
            assert_eq!(json["userspaceKills"][0]["killer"], "earlyoom");
            assert_eq!(json["inputs"][0]["forms"][0], "dmesg");
            let yaml: Value = serde_saphyr::from_str(&written(Notation::Yaml, reports)).unwrap();
            assert_eq!(yaml, json);
        }
    }
}
