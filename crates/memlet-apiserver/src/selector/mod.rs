//! Which objects a list or a watch is about.

mod field;
mod label;

use std::sync::Arc;

use crate::error::ApiError;
use crate::storage::StoredObject;

use field::FieldSelector;
use label::LabelSelector;

/// A namespace, a name, labels and fields; an object must satisfy all that are given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Selection {
    namespace: Option<String>,
    name: Option<String>,
    labels: LabelSelector,
    fields: FieldSelector,
}

impl Selection {
    /// Reads the selectors of a request; `selectable` are the kind's own fields.
    pub(crate) fn parse(
        namespace: Option<&str>,
        name: Option<&str>,
        labels: Option<&str>,
        fields: Option<&str>,
        selectable: &[&'static str],
    ) -> Result<Self, ApiError> {
        Ok(Self {
            namespace: namespace.map(str::to_owned),
            name: name.map(str::to_owned),
            labels: LabelSelector::parse(labels.unwrap_or_default()).map_err(ApiError::bad_request)?,
            fields: FieldSelector::parse(fields.unwrap_or_default(), selectable)
                .map_err(ApiError::bad_request)?,
        })
    }

    /// Whether the object is one of those meant.
    pub(crate) fn matches(&self, object: &Arc<StoredObject>) -> bool {
        self.namespace.as_ref().is_none_or(|namespace| object.key.namespace == *namespace)
            && self.name.as_ref().is_none_or(|name| object.key.name == *name)
            && self.labels.matches(&object.labels)
            && self.fields.matches(object)
    }
}
