//! The labels of namespaces, which affinity terms may select by, and one copy of each namespace's name.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use memlet_policy::labels::{Labels, Selector};

#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    names: HashSet<Arc<str>>,
    labels: HashMap<Arc<str>, Labels>,
}

impl Namespaces {
    /// The one copy of this name.
    pub(crate) fn name(&mut self, name: &str) -> Arc<str> {
        if let Some(known) = self.names.get(name) {
            return Arc::clone(known);
        }
        let name: Arc<str> = name.into();
        self.names.insert(Arc::clone(&name));
        name
    }

    /// Notes the labels of a namespace; `false` where they are as before.
    pub(crate) fn set(&mut self, name: &str, labels: Labels) -> bool {
        let name = self.name(name);
        let changed = self.labels.get(&name) != Some(&labels);
        self.labels.insert(name, labels);
        changed
    }

    pub(crate) fn remove(&mut self, name: &str) {
        self.labels.remove(name);
    }

    /// Whether the selector means this namespace. One that is not known has no labels.
    pub(crate) fn matches(&self, name: &str, selector: &Selector) -> bool {
        match self.labels.get(name) {
            Some(labels) => selector.matches(labels),
            None => selector.matches(&Labels::new()),
        }
    }
}
