//! A served resource as discovery describes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

/// What a kind is called in full. The group of the core kinds is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct GroupVersionKind {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
}

/// One resource with its subresources.
#[derive(Clone, Debug)]
pub(crate) struct ServedResource {
    pub(crate) kind: GroupVersionKind,
    pub(crate) plural: &'static str,
    pub(crate) namespaced: bool,
    pub(crate) verbs: &'static [&'static str],
    pub(crate) short_names: &'static [&'static str],
    pub(crate) categories: &'static [&'static str],
    pub(crate) subresources: Vec<ServedSubresource>,
    /// Whether its objects are stored, rather than made up when they are asked for.
    pub(crate) stored: bool,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct ServedSubresource {
    pub(crate) name: &'static str,
    pub(crate) kind: GroupVersionKind,
    pub(crate) verbs: &'static [&'static str],
}

/// The resources of a group, by version.
#[derive(Debug)]
pub(crate) struct Group<'a> {
    pub(crate) name: &'static str,
    pub(crate) versions: Vec<Version<'a>>,
}

/// The resources of one version of a group, by name.
#[derive(Debug)]
pub(crate) struct Version<'a> {
    pub(crate) name: &'static str,
    pub(crate) resources: Vec<&'a ServedResource>,
}

impl GroupVersionKind {
    /// `v1`, or `group/v1`.
    pub(crate) fn api_version(&self) -> String {
        match self.group {
            "" => self.version.to_owned(),
            group => format!("{group}/{}", self.version),
        }
    }

    /// A name for the form in which objects are stored; clients see from it that the form changed.
    pub(super) fn storage_version_hash(&self) -> String {
        let name = format!("{}/{}/{}", self.group, self.version, self.kind);
        STANDARD.encode(&Sha256::digest(name.as_bytes())[..8])
    }
}

impl ServedResource {
    /// What one object is called; nothing where the kind has another name than the resource, as that of the figures of
    /// `pods` has.
    pub(super) fn singular(&self) -> String {
        let singular = self.kind.kind.to_lowercase();
        if self.stored || self.plural.starts_with(&singular) { singular } else { String::new() }
    }

    /// The subresources by name.
    pub(crate) fn sorted_subresources(&self) -> Vec<ServedSubresource> {
        let mut sorted = self.subresources.clone();
        sorted.sort_by_key(|subresource| subresource.name);
        sorted
    }
}

/// Sorts resources into groups and versions. Groups and versions keep the order in which they are first met.
pub(crate) fn groups(served: &[ServedResource]) -> Vec<Group<'_>> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for resource in served {
        let kind = resource.kind;
        let group = found_or_made(
            &mut groups,
            |group| group.name == kind.group,
            || Group { name: kind.group, versions: Vec::new() },
        );
        let version = found_or_made(
            &mut group.versions,
            |version| version.name == kind.version,
            || Version { name: kind.version, resources: Vec::new() },
        );
        version.resources.push(resource);
    }
    for version in groups.iter_mut().flat_map(|group| &mut group.versions) {
        version.resources.sort_by_key(|resource| resource.plural);
    }
    groups
}

fn found_or_made<T>(items: &mut Vec<T>, is: impl Fn(&T) -> bool, make: impl FnOnce() -> T) -> &mut T {
    let index = items.iter().position(is).unwrap_or_else(|| {
        items.push(make());
        items.len() - 1
    });
    &mut items[index]
}
