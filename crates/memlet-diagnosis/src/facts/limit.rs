//! Whose limit ran out, by the kernel's own counters.

use std::fmt::Write as _;

use memlet_bytes::Bytes;
use memlet_oomlog::{Report, Usage};

use crate::Evidence;
use crate::causer;
use crate::evidence::{ContainerEnd, KillRecord, Level};
use crate::tasks;
use crate::verdict::{Fact, Topic};

/// The level as part of a sentence: `the Pod's limit`.
pub const fn level_phrase(level: Option<Level>) -> &'static str {
    match level {
        Some(Level::Container) => "the container's limit",
        Some(Level::Pod) => "the Pod's limit",
        Some(Level::QosClass) => "the limit of the QoS class",
        Some(Level::NodeAllocatable) => "the node's limit for all Pods",
        Some(Level::Machine) => "the end of the machine's memory",
        Some(Level::Other) => "the limit of another cgroup",
        None => "a limit not known",
    }
}

/// Whether the Pod's limit is this container's: then the kernel blames the Pod for what the container did.
pub(crate) fn own_and_pod_limit_equal(evidence: &Evidence) -> bool {
    evidence.limit.is_some() && evidence.limit == evidence.pod_limit
}

pub(super) fn fact(
    evidence: &Evidence,
    end: &ContainerEnd,
    kill: Option<&KillRecord>,
    level: Option<Level>,
) -> Fact {
    let report = kill.and_then(|kill| kill.report.as_ref());
    let counters = report.and_then(reported).or_else(|| counted_at_end(end, kill, level));
    let mut text = whose(level, evidence, report);
    if let Some(counters) = counters {
        text.push_str(&counters);
    }
    let explanation = match level {
        Some(Level::Pod) if own_and_pod_limit_equal(evidence) => {
            ". The container's limit is the same, but pause counts against the Pod's too, which is full first"
        }
        Some(Level::Pod) => ". It is shared by all containers of the Pod",
        Some(Level::NodeAllocatable) => ". No limit of this container's own was hit",
        Some(Level::Machine) => ". No cgroup's limit was hit",
        Some(_) => "",
        None => ". The kernel counted the kill, but whose limit ran out is not known without its report",
    };
    text.push_str(explanation);
    Fact::new(Topic::Limit, text)
}

fn whose(level: Option<Level>, evidence: &Evidence, report: Option<&Report>) -> String {
    match level {
        Some(Level::Container) => "the container's own".to_owned(),
        Some(Level::Pod) => "the Pod's".to_owned(),
        Some(Level::NodeAllocatable) => "the node's, for all Pods together".to_owned(),
        Some(Level::Machine) => "none: the whole machine ran out of memory".to_owned(),
        Some(Level::QosClass | Level::Other) => match report.and_then(|report| report.oom_memcg.as_ref()) {
            Some(path) => format!("that of cgroup {path}, which Kubernetes does not set"),
            None => "that of a cgroup which Kubernetes does not set".to_owned(),
        },
        None => match evidence.limit {
            Some(limit) => format!("unknown which; the container's own is {limit}"),
            None => "unknown which; the container has none of its own".to_owned(),
        },
    }
}

/// `: usage 128Mi, limit 128Mi, failcnt 412, cgroup …`, from the kernel's report.
fn reported(report: &Report) -> Option<String> {
    let memory = report.memory?;
    let path =
        report.oom_memcg.as_ref().map(|path| format!(" (cgroup {})", shortened(path))).unwrap_or_default();
    Some(format!(": {}{path}", counter(memory)))
}

/// `usage 64Mi, limit 64Mi, failcnt 423`.
pub(crate) fn counter(usage: Usage) -> String {
    let limit = usage.limit.bytes().map_or_else(|| "none".to_owned(), |limit| limit.to_string());
    let failcnt = usage.failcnt.map(|failcnt| format!(", failcnt {failcnt}")).unwrap_or_default();
    format!("usage {}, limit {limit}{failcnt}", usage.usage)
}

/// The same from the cgroup's files, read after the death: the usage has sunk by then, the peak has not.
fn counted_at_end(end: &ContainerEnd, kill: Option<&KillRecord>, level: Option<Level>) -> Option<String> {
    let snapshot = match level {
        Some(Level::Pod) => end.pod.as_ref().or(kill?.pod_memory.as_ref()),
        Some(Level::Container) | None => end.container.as_ref().or_else(|| kill?.container_memory.as_ref()),
        Some(_) => None,
    }?;
    let figures: Vec<_> = [
        snapshot.peak.map(|peak| format!("peak {peak}")),
        snapshot.limit.map(|limit| format!("limit {limit}")),
        snapshot.failcnt.map(|failcnt| format!("failcnt {failcnt}")),
    ]
    .into_iter()
    .flatten()
    .collect();
    (!figures.is_empty())
        .then(|| format!(": {} (cgroup {})", figures.join(", "), shortened(snapshot.path.as_str())))
}

/// Ids are long and say little twice: each piece keeps at most 16 characters.
pub(crate) fn shortened(path: &str) -> String {
    let piece = |piece: &str| match piece.char_indices().nth(16) {
        Some((end, _)) => format!("{}…", &piece[..end]),
        None => piece.to_owned(),
    };
    path.split('/').map(piece).collect::<Vec<_>>().join("/")
}

/// The most that this container ever held and its own limit, where it stayed below.
pub(crate) fn peak_below_own_limit(evidence: &Evidence, kill: Option<&KillRecord>) -> Option<(Bytes, Bytes)> {
    let at_kill = kill.and_then(|kill| kill.container_memory.as_ref()?.peak);
    let at_end = || evidence.end.as_ref()?.container.as_ref()?.peak;
    let (peak, limit) = (at_kill.or_else(at_end)?, evidence.limit?);
    (peak < limit).then_some((peak, limit))
}

/// Who held memory where several shared a limit.
pub(super) fn holders(kill: Option<&KillRecord>, level: Option<Level>, evidence: &Evidence) -> Option<Fact> {
    let shared = match level? {
        Level::Container => false,
        Level::Pod => !own_and_pod_limit_equal(evidence),
        Level::QosClass | Level::NodeAllocatable | Level::Machine | Level::Other => true,
    };
    let kill = kill.filter(|_| shared)?;
    let report = kill.report.as_ref()?;
    let request = evidence.request.unwrap_or_default();
    if let Some(pod) = causer::causer(kill, request) {
        let mut text = format!(
            "most above its request by {}{}, which lives on: {}, with {}",
            causer::name(pod),
            causer::process(pod),
            pod.working_set,
            causer::requested(pod.request)
        );
        if let Some(held) = tasks::victim_held(report) {
            let _ = write!(text, "; the one killed held {held}, with {}", causer::requested(request));
        }
        return Some(Fact::new(Topic::Holders, text));
    }
    let victim = report.victims.first()?.pid;
    let by_size = tasks::by_size(report);
    let (largest, held) = by_size.first()?;
    let mut text = format!("{held} by pid {} ({})", largest.pid, largest.comm);
    if largest.pid == victim {
        text.push_str(", the one killed");
        if let Some((next, held)) = by_size.get(1) {
            let _ = write!(text, "; next is pid {} ({}) with {held}", next.pid, next.comm);
        }
    } else if let Some((_, held)) = by_size.iter().find(|(task, _)| task.pid == victim) {
        let _ = write!(text, ", which lives on; the one killed held {held}");
    }
    if !kill.neighbours.is_empty() {
        text.push_str(". No other Pod held more above its request");
    }
    if let (Some((peak, limit)), Some(Level::Pod)) = (peak_below_own_limit(evidence, Some(kill)), level) {
        let _ = write!(text, ". This container never held more than {peak} of its own {limit}");
    }
    Some(Fact::new(Topic::Holders, text))
}
