//! The forms in which an object, a list or a change is sent: as it is, as a table, or its metadata only.
//!
//! The client asks by its `Accept` header (`…;as=Table;g=meta.k8s.io;v=v1`); the first form of its list that is known here
//! is taken.

use bytes::Bytes;
use http::HeaderMap;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::request::{MediaRange, Query, accepted};
use crate::table::{RowObject, Table, TableRow};

/// What a client is sent in place of an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// The object itself.
    Object,
    Table {
        version: MetaVersion,
        include: Include,
    },
    /// `PartialObjectMetadata`.
    Metadata {
        version: MetaVersion,
    },
}

/// A version of `meta.k8s.io`. The forms are the same in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MetaVersion {
    V1,
    V1Beta1,
}

/// What a table's rows tell of their objects (`includeObject`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Include {
    None,
    Metadata,
    Object,
}

/// The metadata of a list.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ListHead {
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) resource_version: String,
    #[serde(rename = "continue", skip_serializing_if = "Option::is_none")]
    pub(crate) resume: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) remaining_item_count: Option<usize>,
}

/// The part of an object that every form needs.
#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    metadata: &'a RawValue,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    resource_version: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartialMetadata<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: &'a RawValue,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PartialMetadataList<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: &'a ListHead,
    items: Vec<PartialMetadata<'a>>,
}

impl MetaVersion {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "meta.k8s.io/v1",
            Self::V1Beta1 => "meta.k8s.io/v1beta1",
        }
    }
}

impl Form {
    /// The form that the client likes best, of those that are known here.
    pub(crate) fn accepted(headers: &HeaderMap, query: &Query) -> Result<Self, ApiError> {
        let include = match query.get("includeObject") {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(other) => {
                return Err(ApiError::bad_request(format!(
                    "invalid parameter: includeObject: Invalid value: {other:?}: must be 'Metadata', 'Object', \
                     'None', or empty"
                )));
            }
        };
        let known = |range: &MediaRange<'_>| match (range.is_json(), range.parameter("as")) {
            (false, _) => None,
            (true, None) => Some(Self::Object),
            (true, Some(kind)) => {
                let version = match (range.parameter("g"), range.parameter("v")) {
                    (Some("meta.k8s.io"), Some("v1")) => MetaVersion::V1,
                    (Some("meta.k8s.io"), Some("v1beta1")) => MetaVersion::V1Beta1,
                    _ => return None,
                };
                match kind {
                    "Table" => Some(Self::Table { version, include }),
                    "PartialObjectMetadata" | "PartialObjectMetadataList" => Some(Self::Metadata { version }),
                    _ => None,
                }
            }
        };
        accepted(headers).iter().find_map(known).ok_or_else(|| ApiError::not_acceptable("application/json"))
    }

    /// One object in this form.
    pub(crate) fn object<K: ServedKind>(self, encoded: &Bytes) -> Result<Bytes, ApiError> {
        match self {
            Self::Object => Ok(encoded.clone()),
            Self::Metadata { version } => {
                let metadata = head(encoded)?.metadata;
                encode(&partial(version, metadata))
            }
            Self::Table { .. } => self.table_of_one::<K>(encoded, true),
        }
    }

    /// The object of one event of a watch. The columns are told with the first.
    pub(crate) fn watched<K: ServedKind>(self, encoded: &Bytes, first: bool) -> Result<Bytes, ApiError> {
        match self {
            Self::Table { .. } => self.table_of_one::<K>(encoded, first),
            Self::Object | Self::Metadata { .. } => self.object::<K>(encoded),
        }
    }

    /// A bookmark's object, which is nothing but metadata.
    pub(crate) fn bookmark<K: ServedKind>(self, encoded: &Bytes) -> Result<Bytes, ApiError> {
        let Self::Table { version, .. } = self else { return self.object::<K>(encoded) };
        let metadata = head(encoded)?.metadata;
        let table = Table {
            kind: "Table",
            api_version: version.name(),
            metadata,
            column_definitions: None,
            rows: Vec::new(),
        };
        encode(&table)
    }

    fn table_of_one<K: ServedKind>(self, encoded: &Bytes, columns: bool) -> Result<Bytes, ApiError> {
        let version: Version =
            serde_json::from_str(head(encoded)?.metadata.get()).map_err(|_| unreadable())?;
        let head = ListHead {
            resource_version: version.resource_version.unwrap_or_default(),
            ..ListHead::default()
        };
        self.table::<K>(&head, std::slice::from_ref(encoded), columns)
    }

    /// A list in this form.
    pub(crate) fn list<K: ServedKind>(self, head: &ListHead, items: &[Bytes]) -> Result<Bytes, ApiError> {
        match self {
            Self::Object => list_document::<K>(head, items),
            Self::Table { .. } => self.table::<K>(head, items, true),
            Self::Metadata { version } => {
                let items: Result<Vec<_>, ApiError> =
                    items.iter().map(|item| Ok(partial(version, self::head(item)?.metadata))).collect();
                encode(&PartialMetadataList {
                    kind: "PartialObjectMetadataList",
                    api_version: version.name(),
                    metadata: head,
                    items: items?,
                })
            }
        }
    }

    fn table<K: ServedKind>(
        self,
        head: &ListHead,
        items: &[Bytes],
        columns: bool,
    ) -> Result<Bytes, ApiError> {
        let Self::Table { version, include } = self else {
            return Err(ApiError::internal("no table was asked for"));
        };
        let now = Timestamp::now();
        let row = |encoded: &'_ Bytes| {
            let object: K = serde_json::from_slice(encoded).map_err(|_| unreadable())?;
            Ok(object.row(now))
        };
        let rows: Result<Vec<TableRow<'_>>, ApiError> = items
            .iter()
            .map(|encoded| {
                let row = row(encoded)?;
                let object = match include {
                    Include::None => None,
                    Include::Object => {
                        Some(RowObject::Whole(serde_json::from_slice(encoded).map_err(|_| unreadable())?))
                    }
                    Include::Metadata => Some(RowObject::Metadata {
                        kind: "PartialObjectMetadata",
                        api_version: version.name(),
                        metadata: self::head(encoded)?.metadata,
                    }),
                };
                Ok(TableRow { cells: row.cells, conditions: row.conditions, object })
            })
            .collect();
        encode(&Table {
            kind: "Table",
            api_version: version.name(),
            metadata: head,
            column_definitions: columns.then(K::columns),
            rows: rows?,
        })
    }
}

fn head(encoded: &[u8]) -> Result<Head<'_>, ApiError> {
    serde_json::from_slice(encoded).map_err(|_| unreadable())
}

fn partial(version: MetaVersion, metadata: &RawValue) -> PartialMetadata<'_> {
    PartialMetadata { kind: "PartialObjectMetadata", api_version: version.name(), metadata }
}

fn encode(document: &impl Serialize) -> Result<Bytes, ApiError> {
    let json = serde_json::to_vec(document).map_err(|_| ApiError::internal("an answer cannot be encoded"))?;
    Ok(json.into())
}

fn unreadable() -> ApiError {
    ApiError::internal("a stored object cannot be read")
}

/// The list itself. Its items do not repeat their type, as upstream's do not.
fn list_document<K: ServedKind>(head: &ListHead, items: &[Bytes]) -> Result<Bytes, ApiError> {
    let prefix = format!(r#"{{"apiVersion":"{}","kind":"{}","#, K::API_VERSION, K::KIND);
    let metadata = encode(head)?;
    let mut json = Vec::with_capacity(items.iter().map(Bytes::len).sum::<usize>() + 200);
    let start = format!(r#"{{"kind":"{}","apiVersion":"{}","metadata":"#, K::LIST_KIND, K::API_VERSION);
    json.extend_from_slice(start.as_bytes());
    json.extend_from_slice(&metadata);
    json.extend_from_slice(br#","items":["#);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            json.push(b',');
        }
        match item.strip_prefix(prefix.as_bytes()) {
            Some(rest) => {
                json.push(b'{');
                json.extend_from_slice(rest);
            }
            None => json.extend_from_slice(item),
        }
    }
    json.extend_from_slice(b"]}");
    Ok(json.into())
}
