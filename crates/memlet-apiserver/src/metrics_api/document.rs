//! `NodeMetrics` and `PodMetrics`, in the forms in which clients ask for them.

use bytes::Bytes;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, Time};
use serde_json::value::{RawValue, to_raw_value};
use serde_json::{Map, Value, json};

use super::summary::{PodUsage, Usage};
use crate::discovery::GroupVersionKind;
use crate::error::ApiError;
use crate::form::{Form, Include};
use crate::storage::Revision;
use crate::table::{Column, RowObject, Table, TableRow};

/// The time over which kubelet's figures are a mean, if a node does not say.
const USUAL_WINDOW_NANOSECONDS: u64 = 10_000_000_000;

const COLUMNS: &[Column] = &[
    Column::named("Name", "The name of the object."),
    Column::quantity("cpu", "The processors in use."),
    Column::quantity("memory", "The memory in use that cannot be given back at once."),
    Column::duration("Window", "The time over which the processors' use is a mean."),
];

/// The figures of one object.
pub(super) struct Metrics {
    metadata: Value,
    name: String,
    timestamp: Timestamp,
    window: u64,
    cpu: Option<u64>,
    memory: u64,
    /// `None` for a node; each container's figures for a Pod.
    containers: Option<Vec<Value>>,
}

impl Metrics {
    /// `None` where the node does not tell of memory.
    pub(super) fn of_node(metadata: &ObjectMeta, usage: &Usage) -> Option<Self> {
        let memory = usage.memory.as_ref()?;
        Some(Self {
            metadata: told_metadata(metadata),
            name: metadata.name.clone().unwrap_or_default(),
            timestamp: usage.cpu.as_ref().map_or(memory.time, |cpu| cpu.time),
            window: window(usage),
            cpu: usage.cpu.as_ref().and_then(|cpu| cpu.usage_nano_cores),
            memory: memory.working_set_bytes?,
            containers: None,
        })
    }

    /// `None` where no container's use is known.
    pub(super) fn of_pod(metadata: &ObjectMeta, pod: &PodUsage) -> Option<Self> {
        let mut containers = Vec::new();
        let (mut cpu, mut memory) = (None, 0);
        for container in &pod.containers {
            let usage = &container.usage;
            let Some(bytes) = usage.memory.as_ref().and_then(|memory| memory.working_set_bytes) else {
                continue;
            };
            let nano_cores = usage.cpu.as_ref().and_then(|cpu| cpu.usage_nano_cores);
            containers.push(json!({ "name": container.name, "usage": told_usage(nano_cores, bytes) }));
            cpu = nano_cores.map_or(cpu, |nano_cores| Some(cpu.unwrap_or(0) + nano_cores));
            memory += bytes;
        }
        let usage = &pod.containers.first()?.usage;
        containers.sort_by(|one, other| one["name"].as_str().cmp(&other["name"].as_str()));
        Some(Self {
            metadata: told_metadata(metadata),
            name: metadata.name.clone().unwrap_or_default(),
            timestamp: usage.memory.as_ref()?.time,
            window: window(usage),
            cpu,
            memory,
            containers: Some(containers).filter(|containers| !containers.is_empty()),
        })
        .filter(|metrics| metrics.containers.is_some())
    }

    fn body(&self) -> Map<String, Value> {
        let mut body = Map::new();
        body.insert("metadata".to_owned(), self.metadata.clone());
        body.insert("timestamp".to_owned(), seconds(self.timestamp).into());
        body.insert("window".to_owned(), duration(self.window).into());
        match &self.containers {
            Some(containers) => body.insert("containers".to_owned(), containers.clone().into()),
            None => body.insert("usage".to_owned(), told_usage(self.cpu, self.memory)),
        };
        body
    }

    fn typed_body(&self, kind: GroupVersionKind) -> Value {
        let mut body = self.body();
        body.insert("kind".to_owned(), kind.kind.into());
        body.insert("apiVersion".to_owned(), kind.api_version().into());
        Value::Object(body)
    }
}

/// One object.
pub(super) fn single(form: Form, kind: GroupVersionKind, one: &Metrics) -> Result<Bytes, ApiError> {
    match form {
        Form::Object => encode(&one.typed_body(kind)),
        Form::Metadata { version } => encode(&json!({
            "kind": "PartialObjectMetadata", "apiVersion": version.name(), "metadata": one.metadata,
        })),
        Form::Table { .. } => table(form, kind, std::slice::from_ref(one), json!({})),
    }
}

/// All of them.
pub(super) fn list(
    form: Form,
    kind: GroupVersionKind,
    all: &[Metrics],
    revision: Revision,
) -> Result<Bytes, ApiError> {
    let head = json!({ "resourceVersion": revision.to_string() });
    match form {
        Form::Object => {
            let items: Vec<Value> = all.iter().map(|one| Value::Object(one.body())).collect();
            encode(&json!({
                "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
                "metadata": {}, "items": items,
            }))
        }
        Form::Metadata { version } => {
            let items: Vec<Value> = all
                .iter()
                .map(|one| {
                    json!({
                        "kind": "PartialObjectMetadata", "apiVersion": version.name(),
                        "metadata": one.metadata,
                    })
                })
                .collect();
            encode(&json!({
                "kind": "PartialObjectMetadataList", "apiVersion": version.name(),
                "metadata": head, "items": items,
            }))
        }
        Form::Table { .. } => table(form, kind, all, head),
    }
}

fn table(form: Form, kind: GroupVersionKind, all: &[Metrics], head: Value) -> Result<Bytes, ApiError> {
    let Form::Table { version, include } = form else {
        return Err(ApiError::internal("no table was asked for"));
    };
    let raw =
        |value: &Value| to_raw_value(value).map_err(|_| ApiError::internal("an answer cannot be encoded"));
    let objects: Vec<Box<RawValue>> = all
        .iter()
        .map(|one| match include {
            Include::Object => raw(&one.typed_body(kind)),
            Include::Metadata | Include::None => raw(&one.metadata),
        })
        .collect::<Result<_, _>>()?;
    let rows = all
        .iter()
        .zip(&objects)
        .map(|(one, object)| TableRow {
            cells: vec![
                one.name.clone().into(),
                one.cpu.map_or_else(String::new, nano_cores).into(),
                binary(one.memory).into(),
                duration(one.window).into(),
            ],
            conditions: Vec::new(),
            object: match include {
                Include::None => None,
                Include::Object => Some(RowObject::Whole(object)),
                Include::Metadata => Some(RowObject::Metadata {
                    kind: "PartialObjectMetadata",
                    api_version: version.name(),
                    metadata: object,
                }),
            },
        })
        .collect();
    encode(&Table {
        kind: "Table",
        api_version: version.name(),
        metadata: head,
        column_definitions: Some(COLUMNS),
        rows,
    })
}

fn encode(document: &impl serde::Serialize) -> Result<Bytes, ApiError> {
    let json = serde_json::to_vec(document).map_err(|_| ApiError::internal("an answer cannot be encoded"))?;
    Ok(json.into())
}

/// The object's name and labels; the figures are as old as the answer.
fn told_metadata(metadata: &ObjectMeta) -> Value {
    let told = ObjectMeta {
        name: metadata.name.clone(),
        namespace: metadata.namespace.clone(),
        labels: metadata.labels.clone(),
        creation_timestamp: Timestamp::from_second(Timestamp::now().as_second()).ok().map(Time),
        ..ObjectMeta::default()
    };
    serde_json::to_value(told).unwrap_or_default()
}

fn told_usage(nano_cores_used: Option<u64>, bytes: u64) -> Value {
    let mut usage = json!({ "memory": binary(bytes) });
    if let Some(used) = nano_cores_used {
        usage["cpu"] = nano_cores(used).into();
    }
    usage
}

fn window(usage: &Usage) -> u64 {
    let stated = usage.cpu.as_ref().and_then(|cpu| cpu.window_nano_seconds);
    stated.unwrap_or(USUAL_WINDOW_NANOSECONDS)
}

/// A number of billionths, in the largest unit in which it is whole.
fn nano_cores(amount: u64) -> String {
    whole(amount, 1000, &["n", "u", "m", ""])
}

/// A number of bytes, in the largest unit in which it is whole.
fn binary(amount: u64) -> String {
    whole(amount, 1024, &["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"])
}

fn whole(mut amount: u64, step: u64, units: &[&str]) -> String {
    if amount == 0 {
        return "0".to_owned();
    }
    let mut units = units.iter();
    let mut unit = units.next();
    while amount.is_multiple_of(step) {
        let Some(larger) = units.next() else { break };
        amount /= step;
        unit = Some(larger);
    }
    format!("{amount}{}", unit.unwrap_or(&""))
}

/// Seconds to the thousandth, as Go writes a duration below a minute.
fn duration(nanoseconds: u64) -> String {
    let milliseconds = nanoseconds / 1_000_000;
    let (minutes, rest) = (milliseconds / 60_000, milliseconds % 60_000);
    let fraction = format!("{}.{:03}", rest / 1000, rest % 1000);
    let seconds = fraction.trim_end_matches('0').trim_end_matches('.');
    match minutes {
        0 => format!("{seconds}s"),
        _ if minutes < 60 => format!("{minutes}m{seconds}s"),
        _ => format!("{}h{}m{seconds}s", minutes / 60, minutes % 60),
    }
}

fn seconds(time: Timestamp) -> String {
    Timestamp::from_second(time.as_second()).unwrap_or(time).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_in_their_largest_whole_unit() {
        for (amount, expected) in
            [(0, "0"), (1023, "1023"), (93_429_760, "91240Ki"), (64 << 20, "64Mi"), (3 << 30, "3Gi")]
        {
            assert_eq!(binary(amount), expected);
        }
        for (amount, expected) in
            [(0, "0"), (4_113_207, "4113207n"), (5_000, "5u"), (250_000_000, "250m"), (2_000_000_000, "2")]
        {
            assert_eq!(nano_cores(amount), expected);
        }
    }

    #[test]
    fn windows_as_go_writes_them() {
        for (nanoseconds, expected) in [
            (10_000_000_000, "10s"),
            (15_020_000_000, "15.02s"),
            (61_500_000_000, "1m1.5s"),
            (3_600_000_000_000, "1h0m0s"),
        ] {
            assert_eq!(duration(nanoseconds), expected);
        }
    }
}
