//! Who owns which fields of an object: `metadata.managedFields`.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{FieldsV1, ManagedFieldsEntry, Time};

use super::compare::Comparison;
use super::set::FieldSet;

/// Beyond this many updaters the oldest are counted together.
const MOST_UPDATERS: usize = 10;
/// The name under which they are.
const ANCIENT: &str = "ancient-changes";
const FIELDS_TYPE: &str = "FieldsV1";
const APPLY: &str = "Apply";
const UPDATE: &str = "Update";

/// What makes one writer another than the next.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Owner {
    pub(super) name: String,
    /// By apply, or by update.
    pub(super) applies: bool,
    /// Of the fields' names. What an applier owned under another version is its own still.
    pub(super) version: String,
    /// Empty for the object itself.
    pub(super) subresource: String,
}

impl Owner {
    fn is_same(&self, other: &Self) -> bool {
        (&self.name, self.applies, &self.subresource) == (&other.name, other.applies, &other.subresource)
            && (self.applies || self.version == other.version)
    }

    /// As upstream's conflicts name it.
    pub(super) fn printed(&self) -> String {
        let mut text = format!("{:?}", self.name);
        if !self.subresource.is_empty() {
            text.push_str(&format!(" with subresource {:?}", self.subresource));
        }
        if !self.applies {
            text.push_str(&format!(" using {}", self.version));
        }
        text
    }
}

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Holding {
    pub(super) owner: Owner,
    pub(super) time: Option<Time>,
    pub(super) fields: FieldSet,
}

/// All owners of one object.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Owners(Vec<Holding>);

impl Owners {
    /// `None` where an entry cannot be read.
    pub(super) fn read(entries: Option<&Vec<ManagedFieldsEntry>>) -> Option<Self> {
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let holding = |entry: &ManagedFieldsEntry| {
            let applies = match entry.operation.as_deref() {
                Some(APPLY) => true,
                Some(UPDATE) => false,
                _ => return None,
            };
            if entry.fields_type.as_deref() != Some(FIELDS_TYPE) {
                return None;
            }
            let fields = match &entry.fields_v1 {
                Some(FieldsV1(json)) => FieldSet::from_json(json)?,
                None => FieldSet::default(),
            };
            let owner = Owner {
                name: text(&entry.manager),
                applies,
                version: text(&entry.api_version),
                subresource: text(&entry.subresource),
            };
            Some(Holding { owner, time: entry.time.clone(), fields })
        };
        entries.into_iter().flatten().map(holding).collect::<Option<_>>().map(Self)
    }

    /// In upstream's order: appliers first, each sort by time and name.
    pub(super) fn written(mut self) -> Option<Vec<ManagedFieldsEntry>> {
        fn rank(holding: &Holding) -> (bool, i64, &str, &str, &str) {
            let owner = &holding.owner;
            (!owner.applies, seconds(holding), &owner.name, &owner.version, &owner.subresource)
        }
        self.0.sort_by(|left, right| rank(left).cmp(&rank(right)));
        let stated = |text: String| Some(text).filter(|text| !text.is_empty());
        let entries: Vec<_> = self
            .0
            .into_iter()
            .map(|Holding { owner, time, fields }| ManagedFieldsEntry {
                manager: stated(owner.name),
                operation: Some(if owner.applies { APPLY } else { UPDATE }.to_owned()),
                api_version: stated(owner.version),
                subresource: stated(owner.subresource),
                time,
                fields_type: Some(FIELDS_TYPE.to_owned()),
                fields_v1: Some(FieldsV1(fields.to_json())),
            })
            .collect();
        Some(entries).filter(|entries| !entries.is_empty())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn fields_of(&self, owner: &Owner) -> Option<&FieldSet> {
        self.0.iter().find(|holding| holding.owner.is_same(owner)).map(|holding| &holding.fields)
    }

    /// The fields of all owners together.
    pub(super) fn all_fields(&self) -> FieldSet {
        let mut all = FieldSet::default();
        self.0.iter().for_each(|holding| all.unite(&holding.fields));
        all
    }

    /// What an owner holds from now on, and since when.
    pub(super) fn set(&mut self, owner: &Owner, fields: FieldSet, time: Option<Time>) {
        match self.0.iter_mut().find(|holding| holding.owner.is_same(owner)) {
            Some(holding) => {
                holding.owner.version.clone_from(&owner.version);
                holding.fields = fields;
                holding.time = time.or(holding.time.take());
            }
            None => self.0.push(Holding { owner: owner.clone(), time, fields }),
        }
        self.drop_empty();
    }

    /// Other owners' fields that a change touches.
    pub(super) fn conflicts(&self, owner: &Owner, change: &Comparison) -> Vec<(Owner, FieldSet)> {
        let mut conflicts: Vec<_> = self
            .0
            .iter()
            .filter(|holding| !holding.owner.is_same(owner))
            .map(|holding| (holding.owner.clone(), holding.fields.intersection(&change.changed)))
            .filter(|(_, fields)| !fields.is_empty())
            .collect();
        conflicts.sort_by(|(left, _), (right, _)| left.cmp(right));
        conflicts
    }

    /// What a change touches is no longer the others'.
    pub(super) fn lose(&mut self, owner: &Owner, change: &Comparison) {
        for holding in self.0.iter_mut().filter(|holding| !holding.owner.is_same(owner)) {
            holding.fields.subtract(&change.changed);
            holding.fields.subtract(&change.removed);
        }
        self.drop_empty();
    }

    /// An update: what it changed is the updater's.
    pub(super) fn update(&mut self, owner: &Owner, change: &Comparison, taken: &FieldSet) {
        self.lose(owner, change);
        let mut fields = self.fields_of(owner).cloned().unwrap_or_default();
        fields.subtract(&change.removed);
        fields.unite(taken);
        let time = (!taken.is_empty()).then(now);
        self.set(owner, fields, time);
        self.cap();
    }

    fn drop_empty(&mut self) {
        self.0.retain(|holding| !holding.fields.is_empty());
    }

    /// Too many updaters: the oldest of a version are put together.
    fn cap(&mut self) {
        let updaters = self.0.iter().filter(|holding| !holding.owner.applies).count();
        if updaters <= MOST_UPDATERS {
            return;
        }
        let mut excess = updaters - MOST_UPDATERS;
        self.0.sort_by(|left, right| {
            (left.owner.applies, seconds(left), &left.owner).cmp(&(
                right.owner.applies,
                seconds(right),
                &right.owner,
            ))
        });
        let mut kept: Vec<Holding> = Vec::with_capacity(self.0.len());
        for holding in std::mem::take(&mut self.0) {
            let older = kept
                .iter_mut()
                .find(|other| !other.owner.applies && other.owner.version == holding.owner.version);
            match older {
                Some(older) if excess > 0 && !holding.owner.applies => {
                    older.owner = Owner {
                        name: ANCIENT.to_owned(),
                        applies: false,
                        version: holding.owner.version,
                        subresource: String::new(),
                    };
                    older.time = holding.time;
                    older.fields.unite(&holding.fields);
                    excess -= 1;
                }
                _ => kept.push(holding),
            }
        }
        self.0 = kept;
    }
}

fn seconds(holding: &Holding) -> i64 {
    holding.time.as_ref().map_or(0, |time| time.0.as_second())
}

/// The present, in whole seconds as the API's times are.
pub(super) fn now() -> Time {
    let now = Timestamp::now();
    Time(Timestamp::from_second(now.as_second()).unwrap_or(now))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn owner(name: &str) -> Owner {
        Owner { name: name.to_owned(), applies: false, version: "v1".to_owned(), subresource: String::new() }
    }

    fn fields(name: &str) -> FieldSet {
        FieldSet::of_paths(&[&[name]])
    }

    #[test]
    fn who_is_too_old_is_counted_with_the_others() {
        let mut owners = Owners::default();
        for index in 0..13 {
            let time = Time(Timestamp::from_second(1000 + index).unwrap());
            owners.set(&owner(&format!("m{index}")), fields(&format!("f{index}")), Some(time));
        }
        owners.cap();
        let entries = owners.written().unwrap();
        let names: Vec<_> = entries.iter().filter_map(|entry| entry.manager.as_deref()).collect();
        assert_eq!(names.len(), 10);
        assert_eq!(names[0], ANCIENT);
        assert_eq!(
            entries[0].fields_v1.as_ref().unwrap().0,
            json!({"f:f0": {}, "f:f1": {}, "f:f2": {}, "f:f3": {}})
        );
    }

    #[test]
    fn what_is_written_is_read_again() {
        let mut owners = Owners::default();
        owners.set(&owner("a"), fields("x"), Some(now()));
        owners.set(&Owner { applies: true, ..owner("b") }, fields("y"), None);
        let written = owners.clone().written();
        assert_eq!(written.as_ref().unwrap()[0].operation.as_deref(), Some(APPLY));
        assert_eq!(Owners::read(written.as_ref()).unwrap().written(), written);
        let mut wrong = written.unwrap();
        wrong[0].fields_type = None;
        assert_eq!(Owners::read(Some(&wrong)), None);
    }
}
