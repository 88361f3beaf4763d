//! How objects are made up, as far as merging must know: which lists are merged by keys, which are sets, which values
//! are taken whole.
//!
//! One table (`core`) serves strategic merge patch and server-side apply, which do not always agree on a list. What the
//! table does not mention is the ordinary case: an object is a struct whose fields count one by one, everything else is
//! taken whole. The facts are upstream's `+listType`, `+listMapKey`, `+structType`, `+mapType`, `+patchStrategy` and
//! `+patchMergeKey` markers.

mod core;
#[cfg(test)]
pub(crate) mod generated;

use serde_json::Value;

pub(crate) use core::of_definition;
pub(crate) use core::{
    CONFIG_MAP, EVENT, LEASE, NAMESPACE, NODE, OBJECT, POD, RESOURCE_QUOTA, SECRET, SERVICE_ACCOUNT,
};

/// A struct: what is special about its fields.
#[derive(Debug)]
pub(crate) struct Type {
    fields: &'static [Field],
    /// What the objects in the other fields are.
    other: Option<&'static Type>,
}

/// A field that is not the ordinary case.
#[derive(Debug)]
pub(crate) struct Field {
    name: &'static str,
    shape: Shape,
    patch: ListPatch,
}

/// How a value is owned and applied.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Shape {
    /// As a whole.
    Whole,
    /// Field by field.
    Struct(&'static Type),
    /// Key by key; the values as wholes.
    Map,
    /// A list of plain values, each at most once.
    Set,
    /// A list of objects that are told apart by the values of these fields.
    Keyed(&'static [Key], &'static Shape),
}

/// A field that tells the elements of a list apart.
#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) name: &'static str,
    /// What it is where an element leaves it out.
    pub(crate) default: Option<&'static str>,
}

/// How strategic merge patch treats a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ListPatch {
    Replace,
    ByKey(&'static str),
    /// A list of plain values, merged as a set.
    Set,
}

/// A struct without anything special in it, however deep.
pub(crate) static PLAIN: Type = Type { fields: &[], other: None };

impl Type {
    fn field(&self, name: &str) -> Option<&'static Field> {
        self.fields.iter().find(|field| field.name == name)
    }

    fn other(&self) -> &'static Type {
        self.other.unwrap_or(&PLAIN)
    }

    /// The shape of a field that holds one of these values. Where the table is silent, the value tells.
    pub(crate) fn shape<'a>(&self, name: &str, values: impl IntoIterator<Item = Option<&'a Value>>) -> Shape {
        if let Some(field) = self.field(name) {
            return field.shape;
        }
        let is_object = values.into_iter().flatten().any(Value::is_object);
        if is_object { Shape::Struct(self.other()) } else { Shape::Whole }
    }

    /// The shape of a field whose value is not at hand.
    pub(crate) fn stated_shape(&self, name: &str) -> Shape {
        self.field(name).map_or(Shape::Struct(self.other()), |field| field.shape)
    }

    /// How strategic merge patch treats the list in a field.
    pub(crate) fn list_patch(&self, name: &str) -> ListPatch {
        self.field(name).map_or(ListPatch::Replace, |field| field.patch)
    }

    /// The struct in a field, or that its list's elements are; strategic merge patch goes into every object.
    pub(crate) fn inner(&self, name: &str) -> &'static Type {
        match self.field(name).map(|field| field.shape) {
            Some(Shape::Struct(inner)) => inner,
            Some(Shape::Keyed(_, Shape::Struct(inner))) => inner,
            Some(_) => &PLAIN,
            None => self.other(),
        }
    }
}

const fn field(name: &'static str, shape: Shape) -> Field {
    Field { name, shape, patch: ListPatch::Replace }
}

impl Field {
    /// A list that strategic merge patch merges by the field.
    const fn patched_by(mut self, key: &'static str) -> Self {
        self.patch = ListPatch::ByKey(key);
        self
    }

    const fn patched_as_set(mut self) -> Self {
        self.patch = ListPatch::Set;
        self
    }
}

const fn key(name: &'static str) -> Key {
    Key { name, default: None }
}
