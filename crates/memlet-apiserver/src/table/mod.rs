//! Tables (`meta.k8s.io/v1`): what `kubectl get` shows, made here so that every client shows the same.
//!
//! A row is a pure function of the object and the present time.

mod age;
mod columns;
mod event;
mod node;
mod plain;
mod pod;
mod quota;

use jiff::Timestamp;
use k8s_openapi::Metadata;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::Serialize;
use serde_json::Value;
use serde_json::value::RawValue;

pub(crate) use age::since;

const NONE: &str = "<none>";
const UNKNOWN: &str = "<unknown>";

/// One column: upstream's `TableColumnDefinition`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Column {
    name: &'static str,
    #[serde(rename = "type")]
    type_: &'static str,
    format: &'static str,
    description: &'static str,
    /// Columns above 0 are shown in wide output only.
    priority: u8,
}

/// What a kind's tables show if the kind does not say.
pub(crate) const NAME_AND_AGE: &[Column] = &[Column::NAME, Column::AGE];

/// One object's row.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Row {
    /// One for each column.
    pub(crate) cells: Vec<Value>,
    pub(crate) conditions: Vec<RowCondition>,
}

/// What a client may want to know of a row besides its cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct RowCondition {
    #[serde(rename = "type")]
    type_: &'static str,
    status: &'static str,
    reason: &'static str,
    message: &'static str,
}

/// The document.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Table<'a, M> {
    pub(crate) kind: &'static str,
    pub(crate) api_version: &'static str,
    pub(crate) metadata: M,
    /// `None` after the first event of a watch, which told them.
    pub(crate) column_definitions: Option<&'a [Column]>,
    pub(crate) rows: Vec<TableRow<'a>>,
}

/// A row as it is sent.
#[derive(Serialize)]
pub(crate) struct TableRow<'a> {
    pub(crate) cells: Vec<Value>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) conditions: Vec<RowCondition>,
    /// The object, or its metadata.
    pub(crate) object: Option<RowObject<'a>>,
}

/// What a row says of its object.
#[derive(Serialize)]
#[serde(untagged)]
pub(crate) enum RowObject<'a> {
    Whole(&'a RawValue),
    #[serde(rename_all = "camelCase")]
    Metadata {
        kind: &'static str,
        api_version: &'static str,
        metadata: &'a RawValue,
    },
}

impl Column {
    const NAME: Self = Self::named("Name", columns::NAME_DESCRIPTION);
    const AGE: Self = Self::text("Age", columns::AGE_DESCRIPTION);

    const fn text(name: &'static str, description: &'static str) -> Self {
        Self { name, type_: "string", format: "", description, priority: 0 }
    }

    pub(crate) const fn named(name: &'static str, description: &'static str) -> Self {
        Self { format: "name", ..Self::text(name, description) }
    }

    pub(crate) const fn quantity(name: &'static str, description: &'static str) -> Self {
        Self { format: "quantity", ..Self::text(name, description) }
    }

    pub(crate) const fn duration(name: &'static str, description: &'static str) -> Self {
        Self { format: "duration", ..Self::text(name, description) }
    }

    /// A point in time, as clients print it.
    const fn date(name: &'static str, description: &'static str) -> Self {
        Self { type_: "date", ..Self::text(name, description) }
    }

    const fn integer(name: &'static str, description: &'static str) -> Self {
        Self { type_: "integer", ..Self::text(name, description) }
    }

    const fn boolean(name: &'static str, description: &'static str) -> Self {
        Self { type_: "boolean", ..Self::text(name, description) }
    }

    /// Shown in wide output only.
    const fn wide(self) -> Self {
        Self { priority: 1, ..self }
    }
}

impl Row {
    fn of(cells: impl IntoIterator<Item = Value>) -> Self {
        Self { cells: cells.into_iter().collect(), conditions: Vec::new() }
    }

    /// The cells of [`NAME_AND_AGE`].
    fn named_and_aged(metadata: &ObjectMeta, now: Timestamp) -> Self {
        Self::of([name(metadata), age(metadata, now)])
    }
}

/// The rows and columns of a kind.
pub(crate) trait Tabular: Metadata<Ty = ObjectMeta> {
    /// The columns of its tables.
    fn columns() -> &'static [Column] {
        NAME_AND_AGE
    }

    /// Its row: one cell for each column.
    fn row(&self, now: Timestamp) -> Row {
        Row::named_and_aged(self.metadata(), now)
    }
}

fn name(metadata: &ObjectMeta) -> Value {
    metadata.name.clone().unwrap_or_default().into()
}

fn age(metadata: &ObjectMeta, now: Timestamp) -> Value {
    since(metadata.creation_timestamp.as_ref().map(|time| time.0), now).into()
}

/// The number of things, as a cell.
fn count(number: usize) -> Value {
    Value::from(number)
}
