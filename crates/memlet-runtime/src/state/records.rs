//! What the daemon knows of a sandbox or a container, as it keeps it for the daemon after it.
//!
//! CRI's configurations are kept in protobuf, which later versions of CRI read too, as text within the JSON.

use std::io;
use std::path::Path;

use k8s_cri::v1 as cri;
use memlet_cgroup::CgroupPath;
use serde::{Deserialize, Serialize};

use crate::shim::protocol::VERSION;

/// A sandbox.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct SandboxRecord {
    pub(crate) version: u32,
    #[serde(with = "protobuf")]
    pub(crate) config: cri::PodSandboxConfig,
    pub(crate) created_at: i64,
    pub(crate) parent: CgroupPath,
    pub(crate) cgroup: CgroupPath,
    pub(crate) own_ipc: bool,
}

/// A container; how it is launched lies beside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) struct ContainerRecord {
    pub(crate) version: u32,
    #[serde(with = "protobuf")]
    pub(crate) config: cri::ContainerConfig,
    #[serde(with = "protobuf")]
    pub(crate) image: cri::ImageSpec,
    pub(crate) image_id: String,
    pub(crate) created_at: i64,
    pub(crate) stop_signal: i32,
    /// Its root is a mounted image.
    pub(crate) is_mounted: bool,
}

/// A record that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// It was not written yet.
    #[error("it was being made")]
    Missing,
    /// It cannot be read.
    #[error(transparent)]
    Unreadable(io::Error),
    /// Somebody went back to an earlier version of this program.
    #[error("its record has version {0}, and this program knows {VERSION}")]
    Newer(u32),
}

/// Only this of a record, whatever else is in it.
#[derive(Deserialize)]
struct Versioned {
    version: u32,
}

/// Reads a record.
pub(crate) fn read<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let text = std::fs::read(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => RecordError::Missing,
        _ => RecordError::Unreadable(error),
    })?;
    let unreadable = |error: serde_json::Error| RecordError::Unreadable(error.into());
    let Versioned { version } = serde_json::from_slice(&text).map_err(unreadable)?;
    if version > VERSION {
        return Err(RecordError::Newer(version));
    }
    serde_json::from_slice(&text).map_err(unreadable)
}

/// A message of CRI as base64 of its protobuf.
mod protobuf {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use prost::Message;
    use serde::de::Error as _;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<M: Message, S: Serializer>(
        message: &M,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&STANDARD.encode(message.encode_to_vec()))
    }

    pub(super) fn deserialize<'de, M: Message + Default, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<M, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text).map_err(D::Error::custom)?;
        M::decode(bytes.as_slice()).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::write_json;

    fn record() -> ContainerRecord {
        let metadata = cri::ContainerMetadata { name: "web".into(), attempt: 3 };
        let annotations = [("a".to_owned(), "b".to_owned())].into();
        ContainerRecord {
            version: VERSION,
            config: cri::ContainerConfig { metadata: Some(metadata), annotations, ..Default::default() },
            image: cri::ImageSpec { image: "x".into(), ..Default::default() },
            image_id: "sha256:1".into(),
            created_at: 7,
            stop_signal: 15,
            is_mounted: true,
        }
    }

    #[test]
    fn what_was_written_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        write_json(&path, &record()).unwrap();
        assert_eq!(read::<ContainerRecord>(&path).unwrap(), record());
        // A later version of this program adds fields.
        let mut value: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        value["more"] = 1.into();
        write_json(&path, &value).unwrap();
        assert_eq!(read::<ContainerRecord>(&path).unwrap(), record());
    }

    #[test]
    fn what_cannot_be_read_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("record.json");
        assert!(matches!(read::<ContainerRecord>(&path), Err(RecordError::Missing)));
        for garbage in ["", "{", "{\"version\":1}", "\u{0}\u{0}", "[]", "{\"version\":1,\"config\":\"%%\"}"] {
            std::fs::write(&path, garbage).unwrap();
            assert!(matches!(read::<ContainerRecord>(&path), Err(RecordError::Unreadable(_))), "{garbage:?}");
        }
        std::fs::write(&path, "{\"version\":99}").unwrap();
        let error = read::<ContainerRecord>(&path).unwrap_err();
        assert_eq!(error.to_string(), "its record has version 99, and this program knows 1");
    }
}
