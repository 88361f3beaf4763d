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
    /// What the Pod that is asked about held, and requested.
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

/// The latest of them, in words; nothing where there are none.
pub(super) fn text(caused: &[Caused]) -> String {
    let Some((last, earlier)) = caused.split_last() else { return String::new() };
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
        "\nit filled its node, and another Pod was killed for it: {} ({}), {}. It held {}, with {requested} requested: give it \
         a limit, or request what it needs{more}\n",
        last.pod, last.container, last.at, last.held
    )
}
