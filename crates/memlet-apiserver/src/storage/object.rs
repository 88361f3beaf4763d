//! One stored version of an object: its bytes as they are sent, and what selectors and the garbage collector ask about
//! it.

use bytes::Bytes;

use super::{Revision, Ties};

/// Which object, within its resource. Cluster-scoped objects have the empty namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) namespace: String,
    pub(crate) name: String,
}

impl Key {
    pub(crate) fn new(namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }

    /// A key that sorts before every object of the namespace (no object has an empty name).
    pub(crate) fn first_of(namespace: &str) -> Self {
        Self::new(namespace, "")
    }
}

/// The values that field selectors may ask about, by field path.
pub(crate) type Fields = Vec<(&'static str, String)>;

/// An object's labels, in little room: there are few of them, and many objects.
#[derive(Debug, Default)]
pub(crate) struct Labels(Box<[(Box<str>, Box<str>)]>);

impl Labels {
    pub(crate) fn get(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| **own == *key).map(|(_, value)| &**value)
    }
}

impl FromIterator<(String, String)> for Labels {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(labels: T) -> Self {
        Self(labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    }
}

/// One version of one object. Immutable: a change makes another.
#[derive(Debug)]
pub(crate) struct StoredObject {
    pub(crate) key: Key,
    pub(crate) revision: Revision,
    /// The object as JSON, `metadata.resourceVersion` included.
    pub(crate) encoded: Bytes,
    pub(crate) labels: Labels,
    pub(crate) fields: Fields,
    pub(crate) uid: Box<str>,
    pub(crate) ties: Ties,
    /// When it was last written, in seconds of Unix time; known of kinds whose objects expire.
    pub(crate) written: Option<i64>,
}

#[cfg(test)]
impl StoredObject {
    /// An object of which nothing but its place is known.
    pub(crate) fn bare(key: Key, revision: Revision) -> Self {
        Self {
            key,
            revision,
            encoded: Bytes::from_static(b"{}"),
            labels: Labels::default(),
            fields: Fields::new(),
            uid: "".into(),
            ties: Ties::default(),
            written: None,
        }
    }
}
