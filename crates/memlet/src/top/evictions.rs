//! A node's Pods in the order in which it would evict them now. Pure.

use memlet_bytes::Bytes;
use memlet_policy::eviction::{self, Candidate};
use serde::Serialize;

use super::gather::{NodeUsage, PodUsage};

/// A Pod in its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Evictable {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    #[serde(flatten)]
    pub(crate) candidate: Candidate,
    pub(crate) why: String,
}

/// The first is evicted first. Critical Pods, which never are, stand last.
pub(crate) fn order(node: &NodeUsage) -> Vec<Evictable> {
    let mut pods: Vec<(&PodUsage, Candidate)> = node.pods.iter().map(|pod| (pod, candidate(pod))).collect();
    eviction::rank(&mut pods, |(_, candidate)| *candidate);
    let (critical, others): (Vec<_>, Vec<_>) =
        pods.into_iter().partition(|(_, candidate)| candidate.critical);
    let evictable = |(pod, candidate): (&PodUsage, Candidate)| Evictable {
        namespace: pod.namespace.clone(),
        pod: pod.name.clone(),
        why: why(&candidate),
        candidate,
    };
    others.into_iter().chain(critical).map(evictable).collect()
}

fn candidate(pod: &PodUsage) -> Candidate {
    Candidate {
        usage: pod.held.working_set.unwrap_or_default(),
        request: pod.request,
        priority: pod.priority,
        critical: pod.critical,
    }
}

/// `600Mi above its request of 0B, priority 1000`.
fn why(candidate: &Candidate) -> String {
    let Candidate { usage, request, priority, critical } = *candidate;
    if critical {
        return "critical: never evicted".to_owned();
    }
    let distance = if candidate.exceeds() {
        format!("{} above", usage.saturating_sub(request))
    } else {
        format!("{} below", request.saturating_sub(usage))
    };
    let what = if request == Bytes::ZERO {
        "a request of nothing".to_owned()
    } else {
        format!("its request of {request}")
    };
    let priority = if priority == 0 { String::new() } else { format!(", priority {priority}") };
    format!("{distance} {what}{priority}")
}

#[cfg(test)]
mod tests {
    use super::super::sample;
    use super::*;

    #[test]
    fn critical_pods_stand_last() {
        let mut node = sample::usage().nodes.remove(0);
        let system = PodUsage {
            name: "system".to_owned(),
            critical: true,
            priority: 2_000_001_000,
            ..node.pods[0].clone()
        };
        let vital = PodUsage { name: "vital".to_owned(), priority: 1000, ..node.pods[0].clone() };
        node.pods.splice(0..0, [system, vital]);
        let told: Vec<_> = order(&node).into_iter().map(|pod| format!("{}: {}", pod.pod, pod.why)).collect();
        insta::assert_snapshot!(told.join("\n"), @r"
        hog: 613Mi above a request of nothing
        steady: 41Mi above its request of 128Mi
        vital: 613Mi above a request of nothing, priority 1000
        system: critical: never evicted
        ");
    }
}
