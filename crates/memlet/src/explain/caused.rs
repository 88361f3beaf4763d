//! What a Pod did to others: who was killed when it had filled the node. Pure.

use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_diagnosis::causer;
use memlet_diagnosis::evidence::KillRecord;
use memlet_node::Record;
use memlet_policy::resources;
use serde::Serialize;

use super::pod::Asked;

/// One kill that another Pod suffered.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Caused {
    at: Timestamp,
    /// `namespace/name` of the Pod that lost a process.
    pod: String,
    container: String,
    /// The uid of the Pod that is asked about, or of an earlier one of its name.
    by_uid: String,
    /// What that Pod held, and requested.
    held: Bytes,
    requested: Bytes,
}

/// The kills for which this Pod had filled the node, oldest first.
pub(super) fn by(asked: &Asked, records: &[Record]) -> Vec<Caused> {
    let kills = records.iter().filter_map(|record| match record {
        Record::Kill(kill) => Some(kill),
        _ => None,
    });
    let caused = kills.filter_map(|kill| {
        let causer = causer(kill, request_of(kill, records))?;
        asked.is(&causer.namespace, &causer.pod).then(|| Caused {
            at: kill.at,
            pod: format!("{}/{}", kill.subject.namespace, kill.subject.pod),
            container: kill.subject.container.clone(),
            by_uid: causer.pod_uid.clone(),
            held: causer.working_set,
            requested: causer.request,
        })
    });
    caused.collect()
}

/// What the container requested that lost a process; nothing where its end is not recorded.
fn request_of(kill: &KillRecord, records: &[Record]) -> Bytes {
    let pod = records.iter().find_map(|record| match record {
        Record::Death(death) if death.subject.container_id == kill.subject.container_id => Some(&death.pod),
        _ => None,
    });
    let spec = pod.and_then(|pod| pod.spec.as_ref());
    let container = spec.and_then(|spec| {
        resources::counted_containers(spec).find(|container| container.name == kill.subject.container)
    });
    container.and_then(resources::memory_request).unwrap_or_default()
}

/// The latest of them, in words; nothing where there are none. `present` is the uid of the Pod that is there now.
pub(super) fn text(caused: &[Caused], present: Option<&str>) -> String {
    let Some((last, earlier)) = caused.split_last() else { return String::new() };
    let who = match present {
        Some(uid) if uid != last.by_uid => "an earlier Pod of this name",
        _ => "it",
    };
    let requested = match last.requested {
        Bytes::ZERO => "none".to_owned(),
        requested => requested.to_string(),
    };
    let more = match earlier.len() {
        0 => String::new(),
        1 => "; so it did once before".to_owned(),
        times => format!("; so it did {times} times before"),
    };
    format!(
        "\n{who} filled its node, and another Pod was killed for it: {} ({}), {}. It held {}, with {requested} requested: give it \
         a limit, or request what it needs{more}\n",
        last.pod, last.container, last.at, last.held
    )
}

#[cfg(test)]
mod tests {
    use memlet_diagnosis::evidence::PodMemory;

    use super::super::node::sample;
    use super::*;

    #[test]
    fn it_is_said_where_it_was_an_earlier_pod() {
        let mut kill = sample::kill(sample::ago(60));
        kill.neighbours.push(PodMemory {
            namespace: "lab".to_owned(),
            pod: "hog".to_owned(),
            pod_uid: "u1".to_owned(),
            request: Bytes::ZERO,
            limit: None,
            working_set: Bytes::from_mib(700),
            largest: None,
        });
        let asked = Asked::new("lab", "hog");
        let caused = by(&asked, &[Record::Kill(Box::new(kill))]);
        let told = text(&caused, Some("u1"));
        assert!(told.starts_with("\nit filled its node") && told == text(&caused, None), "{told}");
        let told = text(&caused, Some("u2"));
        insta::assert_snapshot!(told, @r"

        an earlier Pod of this name filled its node, and another Pod was killed for it: lab/burst (main), 2026-03-01T09:59:00Z. It held 700Mi, with none requested: give it a limit, or request what it needs
        ");
    }
}
