//! `memlet explain pod/NAME`: what a node recorded of a Pod's ends, kills and evictions, judged.
//!
//! The records outlive container, Pod and node for a week; the Pod itself is asked for where the node runs, for what is so
//! now.

use std::io;

use anyhow::{Context, Result, bail};
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use memlet_bytes::Bytes;
use memlet_diagnosis::eviction::{self, Eviction};
use memlet_diagnosis::evidence::{KillRecord, Victim};
use memlet_diagnosis::{Outcome, Verdict, judge, render};
use memlet_node::{Death, Record, Records};
use memlet_policy::eviction::{EVICTED, NODE_CONDITIONS_MESSAGE};
use serde_json::{Value, json};

use crate::cli::{ExplainArguments, ExplainFormat};
use crate::exit::Exit;
use crate::node::client;
use crate::node::folder::DataFolder;
use crate::node::running::{self, Found};
use crate::run::changes::Instance;
use crate::run::ending;
use crate::run::result::{Ended, evidence};
use crate::say;
use crate::view::gather::uid_on_node;

use super::caused::{self, Caused};
use super::object::named;
use super::pending::{self, Pending};

/// A Pod by name, as kubectl writes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    namespace: String,
    name: String,
}

impl Asked {
    #[cfg(test)]
    pub(super) fn new(namespace: &str, name: &str) -> Self {
        Self { namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Whether this is the Pod.
    pub(super) fn is(&self, namespace: &str, name: &str) -> bool {
        self.namespace == namespace && self.name == name
    }

    /// What the arguments ask for, where that is a Pod: `pod/NAME`, unless there is such a file.
    pub(crate) fn of(arguments: &ExplainArguments) -> Option<Self> {
        let name = named(arguments, &["pod", "pods", "po"])?;
        Some(Self { namespace: arguments.namespace.clone(), name: name.to_owned() })
    }
}

/// What is known of a Pod.
#[derive(Debug)]
struct Story {
    /// As it is now; `None` where it is gone, or the node does not run.
    pod: Option<Pod>,
    /// Oldest first.
    ends: Vec<End>,
    kills: Vec<KillRecord>,
    /// There may have been several Pods of this name, one after another.
    evictions: Vec<Eviction>,
    /// Kills of others when it had filled its node, oldest first.
    caused: Vec<Caused>,
    /// Why it has no node, where it has none.
    pending: Option<Pending>,
}

/// The verdict on the end of a container, or on what it lost while it lives.
#[derive(Debug)]
struct End {
    at: Timestamp,
    verdict: Verdict,
    /// It is part of the Pod's eviction.
    by_eviction: bool,
}

/// Prints the verdicts on a Pod and its containers, and answers whether there were any.
pub(crate) fn explain(asked: &Asked, arguments: &ExplainArguments) -> Result<Exit> {
    let data = DataFolder::new(&arguments.place.data);
    let story = read(asked, &data)?;
    let text = match arguments.output {
        ExplainFormat::Text => text(asked, &story, arguments.all),
        ExplainFormat::Markdown => format!("```\n{}```\n", text(asked, &story, arguments.all)),
        ExplainFormat::Json => serde_json::to_string_pretty(&document(asked, &story))? + "\n",
        ExplainFormat::Yaml => serde_saphyr::to_string(&document(asked, &story))?,
    };
    say::print(&text)?;
    let is_told = !(story.ends.is_empty() && story.evictions.is_empty() && story.caused.is_empty())
        || story.pending.is_some()
        || story.pod.as_ref().is_some_and(is_rejected);
    Ok(if is_told { Exit::DONE } else { Exit::NOT_FOUND })
}

fn read(asked: &Asked, data: &DataFolder) -> Result<Story> {
    let folder = data.kills();
    let records = Records::read(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let caused = caused::by(asked, &records);
    let records: Vec<Record> =
        records.into_iter().filter(|record| record.is_of_pod(&asked.namespace, &asked.name)).collect();
    let running = matches!(running::find(data)?, Found::Running(_));
    let (pod, pending) = if running {
        client::block_on(data, async |client| ask(&client, asked).await)?
    } else {
        (None, None)
    };
    if records.is_empty() && caused.is_empty() && pod.is_none() {
        let also = if running { "" } else { "; the node does not run, so it could not be asked" };
        bail!(
            "nothing is recorded of a Pod {:?} in the namespace {}, and there is none{also}. Records are kept for a week; \
             another namespace is named with -n, another node with --data",
            asked.name,
            asked.namespace
        );
    }
    Ok(Story { caused, pending, ..judged(pod, &records) })
}

/// The Pod as it is, and why it has no node.
async fn ask(client: &kube::Client, asked: &Asked) -> Result<(Option<Pod>, Option<Pending>)> {
    let pod = Api::<Pod>::namespaced(client.clone(), &asked.namespace).get_opt(&asked.name).await?;
    let pending = match &pod {
        Some(pod) if pending::is_pending(pod) => {
            Some(pending::judge(pod, &pending::Cluster::read(client).await?))
        }
        _ => None,
    };
    Ok((pod, pending))
}

/// Judges every end, and the kills in a container that has not ended. Pure.
fn judged(pod: Option<Pod>, records: &[Record]) -> Story {
    let kills: Vec<KillRecord> = records
        .iter()
        .filter_map(|record| match record {
            Record::Kill(kill) => Some((**kill).clone()),
            _ => None,
        })
        .collect();
    let deaths: Vec<&Death> = records
        .iter()
        .filter_map(|record| match record {
            Record::Death(death) => Some(&**death),
            _ => None,
        })
        .collect();
    let evictions: Vec<Eviction> = records
        .iter()
        .filter_map(|record| match record {
            Record::Eviction(eviction) => Some((**eviction).clone()),
            _ => None,
        })
        .collect();
    let mut ends: Vec<_> = deaths
        .iter()
        .enumerate()
        .filter_map(|(number, death)| {
            let ended = Ended { state: death.state.clone(), end: death.end.clone(), number };
            let evidence =
                evidence(&death.pod, &instance(&death.subject), Some(&ended), &kills, death.node_memory);
            let verdict = judge(&evidence?);
            let by_eviction = evictions.iter().any(|eviction| ended_it(eviction, death, &verdict));
            Some(End { at: death.at, verdict, by_eviction })
        })
        .collect();
    ends.extend(pod.iter().flat_map(|pod| living(pod, &deaths, &kills)));
    Story { pod, ends, kills, evictions, caused: Vec::new(), pending: None }
}

/// Whether the container ended because its Pod was evicted: then the eviction is what there is to tell.
fn ended_it(eviction: &Eviction, death: &Death, verdict: &Verdict) -> bool {
    let is_oom_kill = matches!(verdict.outcome, Outcome::OomKilled { .. });
    eviction.pod.uid == death.subject.pod_uid && eviction.at <= death.at && !is_oom_kill
}

/// Verdicts on containers that lost a process and have not ended.
fn living(pod: &Pod, deaths: &[&Death], kills: &[KillRecord]) -> Vec<End> {
    let mut told: Vec<Instance> = deaths.iter().map(|death| instance(&death.subject)).collect();
    let node_memory = deaths.last().map_or(Bytes::ZERO, |death| death.node_memory);
    let mut ends = Vec::new();
    for kill in kills.iter().filter(|kill| kill.victim != Victim::Main) {
        let instance = instance(&kill.subject);
        if uid_on_node(pod) == instance.pod && !told.contains(&instance) {
            let evidence = evidence(pod, &instance, None, kills, node_memory);
            ends.extend(evidence.map(|evidence| End {
                at: kill.at,
                verdict: judge(&evidence),
                by_eviction: false,
            }));
            told.push(instance);
        }
    }
    ends
}

fn instance(subject: &memlet_diagnosis::evidence::Subject) -> Instance {
    Instance {
        pod: subject.pod_uid.clone(),
        container: subject.container.clone(),
        restarts: subject.restart_count,
    }
}

/// So many verdicts are told whole; older ones are counted, unless all are asked for.
const TOLD: usize = 1;

fn text(asked: &Asked, story: &Story, all: bool) -> String {
    let mut text = state(asked, story.pod.as_ref());
    text.extend(story.pending.as_ref().map(pending::text));
    text.push_str(&caused::text(&story.caused, story.pod.as_ref().map(uid_on_node).as_deref()));
    let style = render::Style { colour: say::colour(&io::stdout()), width: say::columns(), with_pod: false };
    if story.pod.as_ref().is_some_and(is_rejected) {
        text.push_str(&rejected(story.pod.as_ref(), style));
    }
    let chapters = chapters(story, all, style);
    let skipped = if all { 0 } else { chapters.len().saturating_sub(TOLD) };
    let (earlier, told) = chapters.split_at(skipped);
    for chapter in told {
        text.push('\n');
        if chapter.of_earlier {
            text.push_str("an earlier Pod of this name:\n");
        }
        text.push_str(&chapter.text);
    }
    text + &counted(earlier)
}

/// How many are not told.
fn counted(earlier: &[Chapter]) -> String {
    let ends = match earlier.len() {
        0 => return String::new(),
        1 => "end",
        _ => "ends",
    };
    let whose = match earlier.iter().filter(|chapter| chapter.of_earlier).count() {
        0 => "of its containers",
        others if others == earlier.len() => "of earlier Pods of this name",
        _ => "of its containers, and of earlier Pods of this name",
    };
    format!("\n{} earlier {ends} {whose}: --all tells them too\n", earlier.len())
}

/// Whether the node did not take the Pod, because it was short of memory and the Pod requests none.
fn is_rejected(pod: &Pod) -> bool {
    let status = pod.status.as_ref();
    let message = status.and_then(|status| status.message.as_deref()).unwrap_or_default();
    status.is_some_and(|status| status.reason.as_deref() == Some(EVICTED))
        && message.trim_end().ends_with(NODE_CONDITIONS_MESSAGE.trim_end())
}

fn rejected(pod: Option<&Pod>, style: render::Style) -> String {
    let node = pod.and_then(|pod| pod.spec.as_ref()?.node_name.clone()).unwrap_or_else(|| "NAME".to_owned());
    let mut page = render::Page::new(style);
    page.paragraph(
        "change",
        &format!(
            "give a container requests.memory of what it needs: while a node is short of memory it takes no Pod that \
             requests none. It is so until nothing has been short for a while (--eviction-pressure-transition-period); \
             `memlet explain node/{node}` tells how it is"
        ),
    );
    page.finish()
}

/// One end or eviction, in words.
struct Chapter {
    /// Of another Pod than the present one; of the last one, where there is none.
    of_earlier: bool,
    at: Timestamp,
    text: String,
}

/// Ends and evictions, oldest first, those of earlier Pods before; the ends that were an eviction's only where all is wanted.
fn chapters(story: &Story, all: bool, style: render::Style) -> Vec<Chapter> {
    let ends = story.ends.iter().filter(|end| all || !end.by_eviction).map(|end| {
        let uid = end.verdict.subject.pod_uid.as_str();
        (uid, end.at, render::text(&end.verdict, style))
    });
    let evictions = story.evictions.iter().map(|eviction| {
        let text = eviction::text(&eviction::explain(eviction), style);
        (eviction.pod.uid.as_str(), eviction.at, text)
    });
    let told: Vec<(&str, Timestamp, String)> = ends.chain(evictions).collect();
    let last = told.iter().max_by_key(|(_, at, _)| *at).map(|(uid, ..)| (*uid).to_owned());
    let own = story.pod.as_ref().map(uid_on_node).or(last);
    let mut chapters: Vec<Chapter> = told
        .into_iter()
        .map(|(uid, at, text)| Chapter { of_earlier: own.as_deref() != Some(uid), at, text })
        .collect();
    chapters.sort_by_key(|chapter| (!chapter.of_earlier, chapter.at));
    chapters
}

/// How the Pod is now, in a line or two.
fn state(asked: &Asked, pod: Option<&Pod>) -> String {
    let name = format!("pod {}/{}", asked.namespace, asked.name);
    let Some(pod) = pod else { return format!("{name} is gone, or its node does not run\n") };
    let phase = pod.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    match ending::failure_to_run(pod) {
        Some(failure) => format!("{name} is {phase}: {failure}\n"),
        None => format!("{name} is {phase}{}\n", waiting(pod)),
    }
}

/// `; main waits: CrashLoopBackOff`, where a container does not run and is to.
fn waiting(pod: &Pod) -> String {
    let statuses = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
    statuses
        .filter_map(|status| {
            let reason = status.state.as_ref()?.waiting.as_ref()?.reason.as_deref()?;
            Some(format!("; {} waits: {reason}", status.name))
        })
        .collect()
}

fn document(asked: &Asked, story: &Story) -> Value {
    json!({
        "namespace": asked.namespace,
        "name": asked.name,
        "pod": story.pod,
        "verdicts": story.ends.iter().map(|end| &end.verdict).collect::<Vec<_>>(),
        "killRecords": story.kills,
        "caused": story.caused,
        "evictions": story.evictions.iter().map(eviction::explain).collect::<Vec<_>>(),
        "evictionRecords": story.evictions,
        "pending": story.pending,
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::node::sample;
    use super::*;
    use crate::cli::{Arguments, Command};

    fn asked(arguments: &[&str]) -> Option<Asked> {
        let all = [&["memlet", "explain"], arguments].concat();
        match Arguments::parse_from(all).command {
            Command::Explain(arguments) => Asked::of(&arguments),
            _ => None,
        }
    }

    #[test]
    fn a_pod_that_was_not_taken_is_told_from_one_that_went() {
        let pod = |message: &str| -> Pod {
            let status = json!({"phase": "Failed", "reason": "Evicted", "message": message});
            serde_json::from_value(json!({"metadata": {"name": "p"}, "status": status})).unwrap()
        };
        assert!(is_rejected(&pod("Pod was rejected: The node had condition: [MemoryPressure]. ")));
        assert!(!is_rejected(&pod("The node was low on resource: memory. ")));
        let told = rejected(None, render::Style::default());
        assert!(told.starts_with("  change   give a container requests.memory"), "{told}");
    }

    fn story(uid: Option<&str>, records: &[Record]) -> Story {
        let pod = |uid| {
            let object = json!({"metadata": {"name": "greedy", "uid": uid}, "status": {"phase": "Running"}});
            serde_json::from_value(object).unwrap()
        };
        judged(uid.map(pod), records)
    }

    fn told(story: &Story, all: bool) -> String {
        text(&Asked::new("lab", "greedy"), story, all)
    }

    /// The Pod was made again after it had been evicted, which is nothing that happened to this one.
    #[test]
    fn an_earlier_pod_of_the_name_is_told_as_one() {
        const EARLIER: &str = "an earlier Pod of this name:\nEvicted";
        let evicted = |uid: &str, seconds| {
            let mut eviction = sample::eviction();
            eviction.at = sample::ago(seconds);
            uid.clone_into(&mut eviction.pod.uid);
            eviction.ranked[0].pod.uid = eviction.pod.uid.clone();
            Record::Eviction(Box::new(eviction))
        };
        let records = [evicted("u6", 900), evicted("u7", 601)];
        let own = told(&story(Some("u7"), &records), false);
        assert!(own.starts_with("pod lab/greedy is Running\n\nEvicted: node memlet"), "{own}");
        assert!(
            own.ends_with("\n1 earlier end of earlier Pods of this name: --all tells them too\n"),
            "{own}"
        );
        let new = told(&story(Some("u8"), &records), false);
        assert!(
            new.starts_with("pod lab/greedy is Running\n\nan earlier Pod of this name:\nEvicted"),
            "{new}"
        );
        assert_eq!(told(&story(Some("u8"), &records), true).matches(EARLIER).count(), 2);
        assert_eq!(told(&story(Some("u7"), &records), true).matches(EARLIER).count(), 1);
        let gone = told(&story(None, &records), false);
        assert!(gone.contains("does not run\n\nEvicted: node memlet"), "the last of them is meant: {gone}");
    }

    #[test]
    fn a_pod_is_told_from_a_file() {
        assert_eq!(asked(&["pod/a"]), Some(Asked { namespace: "default".to_owned(), name: "a".to_owned() }));
        assert_eq!(asked(&["-n", "b", "pods/a"]).unwrap().namespace, "b");
        assert_eq!(asked(&["pod", "a"]), asked(&["pod/a"]), "as kubectl takes both");
        for arguments in [&["a"][..], &["pod/"], &["pod/a", "pod/b"], &["pod/a/b"], &["/pod/a"], &["-"]] {
            assert_eq!(asked(arguments), None, "{arguments:?}");
        }
    }
}
