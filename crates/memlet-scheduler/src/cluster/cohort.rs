//! Pods that are alike to every selector, counted together.
//!
//! The Pods of a Deployment have the same namespace, labels and affinity: one cohort. Affinity and spreading ask "how
//! many Pods that match this are where", and the answer is found by matching cohorts, of which there are few, and not
//! Pods, of which there are many.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use memlet_policy::labels::{Labels, Selector, Test};

use super::NodeId;
use super::terms::Terms;

/// What the members of a cohort have in common.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) namespace: Arc<str>,
    pub(crate) labels: Labels,
    pub(crate) terms: Terms,
    /// The terms as they were written, for comparison.
    written: Box<str>,
}

impl Identity {
    pub(crate) fn new(namespace: Arc<str>, labels: Labels, terms: Terms, written: Box<str>) -> Self {
        Self { namespace, labels, terms, written }
    }
}

impl PartialEq for Identity {
    fn eq(&self, other: &Self) -> bool {
        self.namespace == other.namespace && self.labels == other.labels && self.written == other.written
    }
}

impl Eq for Identity {}

impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.namespace.hash(state);
        self.labels.hash(state);
        self.written.hash(state);
    }
}

/// How many Pods of a cohort are on a node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Members {
    pub(crate) all: u32,
    /// Those of them that are being deleted, which spreading does not count.
    pub(crate) ending: u32,
}

#[derive(Debug)]
pub(crate) struct Cohort {
    pub(crate) identity: Arc<Identity>,
    pub(crate) on: HashMap<NodeId, Members>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct CohortId(u32);

/// All cohorts that have members.
#[derive(Debug, Default)]
pub(crate) struct Cohorts {
    ids: HashMap<Arc<Identity>, CohortId>,
    slots: Vec<Option<Cohort>>,
    unused: Vec<CohortId>,
    /// Who has a label with this key and value.
    by_label: HashMap<String, HashMap<String, HashSet<CohortId>>>,
    /// Whose Pods keep others away.
    repelling: BTreeSet<CohortId>,
    /// Whose Pods would rather have others near or far, or must have.
    inclined: BTreeSet<CohortId>,
}

impl Cohorts {
    /// Counts one more Pod on a node.
    pub(crate) fn join(&mut self, identity: &Arc<Identity>, node: NodeId, ending: bool) -> CohortId {
        let id = match self.ids.get(identity) {
            Some(id) => *id,
            None => self.found(identity),
        };
        if let Some(cohort) = &mut self.slots[id.0 as usize] {
            let members = cohort.on.entry(node).or_default();
            members.all += 1;
            members.ending += u32::from(ending);
        }
        id
    }

    /// Counts one Pod less on a node.
    pub(crate) fn leave(&mut self, id: CohortId, node: NodeId, ending: bool) {
        let Some(cohort) = &mut self.slots[id.0 as usize] else { return };
        if let Some(members) = cohort.on.get_mut(&node) {
            members.all = members.all.saturating_sub(1);
            members.ending = members.ending.saturating_sub(u32::from(ending));
            if members.all == 0 {
                cohort.on.remove(&node);
            }
        }
        if cohort.on.is_empty() {
            self.disband(id);
        }
    }

    /// One of the Pods on a node is going, or is staying after all.
    pub(crate) fn set_ending(&mut self, id: CohortId, node: NodeId, ending: bool) {
        let cohort = self.slots[id.0 as usize].as_mut();
        let Some(members) = cohort.and_then(|cohort| cohort.on.get_mut(&node)) else { return };
        members.ending = if ending { members.ending + 1 } else { members.ending.saturating_sub(1) };
    }

    fn found(&mut self, identity: &Arc<Identity>) -> CohortId {
        let cohort = Some(Cohort { identity: Arc::clone(identity), on: HashMap::new() });
        let id = if let Some(id) = self.unused.pop() {
            self.slots[id.0 as usize] = cohort;
            id
        } else {
            self.slots.push(cohort);
            CohortId(u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX))
        };
        self.ids.insert(Arc::clone(identity), id);
        for (key, value) in &identity.labels {
            let values = self.by_label.entry(key.clone()).or_default();
            values.entry(value.clone()).or_default().insert(id);
        }
        if !identity.terms.required_anti.is_empty() {
            self.repelling.insert(id);
        }
        if !identity.terms.required.is_empty() || !identity.terms.preferred.is_empty() {
            self.inclined.insert(id);
        }
        id
    }

    fn disband(&mut self, id: CohortId) {
        let Some(cohort) = self.slots[id.0 as usize].take() else { return };
        self.ids.remove(&cohort.identity);
        for (key, value) in &cohort.identity.labels {
            let Some(values) = self.by_label.get_mut(key) else { continue };
            if let Some(cohorts) = values.get_mut(value) {
                cohorts.remove(&id);
                if cohorts.is_empty() {
                    values.remove(value);
                }
            }
            if values.is_empty() {
                self.by_label.remove(key);
            }
        }
        self.repelling.remove(&id);
        self.inclined.remove(&id);
        self.unused.push(id);
    }

    pub(crate) fn get(&self, id: CohortId) -> Option<&Cohort> {
        self.slots[id.0 as usize].as_ref()
    }

    pub(crate) fn repelling(&self) -> impl Iterator<Item = &Cohort> {
        self.repelling.iter().filter_map(|id| self.get(*id))
    }

    pub(crate) fn inclined(&self) -> impl Iterator<Item = &Cohort> {
        self.inclined.iter().filter_map(|id| self.get(*id))
    }

    /// The cohorts whose labels satisfy the selector, of any namespace.
    pub(crate) fn matching<'a>(&'a self, selector: &'a Selector) -> impl Iterator<Item = &'a Cohort> {
        let candidates: Vec<CohortId> = match (selector, self.narrowest(selector)) {
            (Selector::Nothing, _) => Vec::new(),
            (_, Some(found)) => found,
            (_, None) => self.ids.values().copied().collect(),
        };
        let cohorts = candidates.into_iter().filter_map(|id| self.get(id));
        cohorts.filter(|cohort| selector.matches(&cohort.identity.labels))
    }

    /// The fewest cohorts that one of the requirements leaves, where one names values.
    fn narrowest(&self, selector: &Selector) -> Option<Vec<CohortId>> {
        let sets = selector.requirements().iter().filter_map(|requirement| {
            let Test::In(values) = &requirement.test else { return None };
            let known = self.by_label.get(&requirement.key);
            let sets = values.iter().filter_map(|value| known?.get(value));
            Some(sets.collect::<Vec<_>>())
        });
        let fewest = sets.min_by_key(|sets| sets.iter().map(|set| set.len()).sum::<usize>())?;
        Some(fewest.into_iter().flatten().copied().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memlet_policy::labels::Requirement;
    use proptest::prelude::*;

    fn identity(app: u8, tier: u8) -> Arc<Identity> {
        let labels = [("app".to_owned(), app.to_string()), ("tier".to_owned(), tier.to_string())];
        Arc::new(Identity::new("ns".into(), labels.into(), Terms::default(), "".into()))
    }

    proptest! {
        /// Whatever joins and leaves, a selector finds as many Pods as a walk over all of them does.
        #[test]
        fn counting_cohorts_is_counting_pods(steps in prop::collection::vec((0u8..3, 0u8..3, 0u32..4, any::<bool>()), 0..60)) {
            let mut cohorts = Cohorts::default();
            let mut pods: Vec<(u8, u8, u32, CohortId)> = Vec::new();
            for (app, tier, node, goes) in steps {
                if goes && !pods.is_empty() {
                    let (_, _, node, id) = pods.swap_remove(usize::from(app) % pods.len());
                    cohorts.leave(id, NodeId::new(node), false);
                } else {
                    let id = cohorts.join(&identity(app, tier), NodeId::new(node), false);
                    pods.push((app, tier, node, id));
                }
            }
            for app in 0..3u8 {
                for test in [Test::In(vec![app.to_string()]), Test::NotIn(vec![app.to_string()]), Test::Exists] {
                    let requirement = Requirement { key: "app".to_owned(), test };
                    let selector = Selector::All(vec![requirement.clone()]);
                    let found: u32 = cohorts.matching(&selector).flat_map(|cohort| cohort.on.values()).map(|it| it.all).sum();
                    let text = |app: u8| app.to_string();
                    let walked = pods.iter().filter(|pod| requirement.is_met_by(Some(&text(pod.0)))).count();
                    prop_assert_eq!(found as usize, walked);
                }
            }
        }
    }
}
