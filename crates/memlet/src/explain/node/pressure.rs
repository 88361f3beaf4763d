//! What a node that runs tells of its last hour, at `/memlet/pressure` of its own server.

use jiff::Timestamp;
use memlet_bytes::Bytes;
use serde::{Deserialize, Serialize};

/// Thresholds, and what was available.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Pressure {
    pub(super) thresholds: Vec<Threshold>,
    /// Since when the node has had the condition `MemoryPressure`; `None` where it does not.
    pub(super) under_pressure_since: Option<Timestamp>,
    /// Oldest first.
    pub(super) samples: Vec<Sample>,
}

/// One threshold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Threshold {
    /// `memory.available`, `allocatableMemory.available`.
    pub(super) signal: String,
    /// `hard`, `soft`.
    pub(super) kind: String,
    pub(super) bytes: Bytes,
    /// How long a soft one must be met.
    #[serde(default)]
    pub(super) after_seconds: Option<u64>,
}

/// Some ten seconds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Sample {
    /// When they began.
    pub(super) at: Timestamp,
    pub(super) lowest_available: Bytes,
    pub(super) highest_working_set: Bytes,
}

/// Asks the node, by way of the API server; `None` where it does not tell.
pub(super) async fn ask(client: &kube::Client, node: &str) -> Option<Pressure> {
    let path = format!("/api/v1/nodes/{node}/proxy/memlet/pressure");
    let request = http::Request::get(path).body(Vec::new()).ok()?;
    client.request(request).await.ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_the_node_writes_it() {
        let text = r#"{"thresholds": [
                {"signal": "memory.available", "kind": "hard", "bytes": 104857600, "afterSeconds": null},
                {"signal": "memory.available", "kind": "soft", "bytes": 209715200, "afterSeconds": 90}],
            "underPressureSince": "2026-03-01T10:00:03.5Z",
            "samples": [{"at": "2026-03-01T10:00:00Z", "lowestAvailable": 7, "highestWorkingSet": 9}]}"#;
        let read: Pressure = serde_json::from_str(text).unwrap();
        assert_eq!(read.thresholds[1].after_seconds, Some(90));
        assert_eq!(read.samples[0].lowest_available, Bytes::new(7));
        let bare = r#"{"thresholds": [], "underPressureSince": null, "samples": []}"#;
        assert_eq!(serde_json::from_str::<Pressure>(bare).unwrap(), Pressure::default());
    }
}
