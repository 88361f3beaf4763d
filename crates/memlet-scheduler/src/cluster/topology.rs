//! Where nodes stand: for each label that Pods spread or gather by (zone, host name), which node has which value.
//!
//! Values are numbered, so that counting Pods by zone is counting in an array. A label is followed from the moment the
//! first Pod asks for it.

use std::collections::HashMap;
use std::sync::Arc;

use super::NodeId;

/// A label that nodes are grouped by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopologyId(u32);

/// A node without the label.
const NOWHERE: u32 = u32::MAX;

#[derive(Debug)]
pub(crate) struct Topology {
    key: Arc<str>,
    /// The value's number, by node.
    value_of: Vec<u32>,
    numbers: HashMap<Arc<str>, u32>,
    /// How many nodes have the value, and what it is; a value without nodes is given up.
    values: Vec<(u32, Arc<str>)>,
    unused: Vec<u32>,
}

impl Topology {
    fn new(key: Arc<str>) -> Self {
        Self { key, value_of: Vec::new(), numbers: HashMap::new(), values: Vec::new(), unused: Vec::new() }
    }

    pub(crate) fn key(&self) -> &str {
        &self.key
    }

    /// The number of the node's value.
    pub(crate) fn place_of(&self, node: NodeId) -> Option<usize> {
        let place = self.value_of.get(node.index()).copied().filter(|place| *place != NOWHERE)?;
        Some(place as usize)
    }

    /// Numbers are below this.
    pub(crate) fn size(&self) -> usize {
        self.values.len()
    }

    /// All values by number, with those that no node has any more.
    pub(crate) fn values(&self) -> impl Iterator<Item = &str> {
        self.values.iter().map(|(_, value)| &**value)
    }

    /// The numbers of the values that nodes have.
    pub(crate) fn places(&self) -> impl Iterator<Item = usize> {
        self.values.iter().enumerate().filter(|(_, (nodes, _))| *nodes > 0).map(|(place, _)| place)
    }

    fn set(&mut self, node: NodeId, value: Option<&str>) {
        if self.value_of.len() <= node.index() {
            self.value_of.resize(node.index() + 1, NOWHERE);
        }
        let new = value.map_or(NOWHERE, |value| self.number(value));
        let old = std::mem::replace(&mut self.value_of[node.index()], new);
        if new != NOWHERE {
            self.values[new as usize].0 += 1;
        }
        if old != NOWHERE {
            let (nodes, value) = &mut self.values[old as usize];
            *nodes -= 1;
            if *nodes == 0 {
                self.numbers.remove(value);
                self.unused.push(old);
            }
        }
    }

    fn number(&mut self, value: &str) -> u32 {
        if let Some(number) = self.numbers.get(value) {
            return *number;
        }
        let value: Arc<str> = value.into();
        let number = if let Some(number) = self.unused.pop() {
            self.values[number as usize] = (0, Arc::clone(&value));
            number
        } else {
            self.values.push((0, Arc::clone(&value)));
            u32::try_from(self.values.len() - 1).unwrap_or(NOWHERE)
        };
        self.numbers.insert(value, number);
        number
    }
}

/// All labels that nodes are grouped by.
#[derive(Debug, Default)]
pub(crate) struct Topologies {
    ids: HashMap<Arc<str>, TopologyId>,
    all: Vec<Topology>,
}

impl Topologies {
    /// The number of a label. A new one is read off all `nodes`.
    pub(crate) fn follow<'a>(
        &mut self,
        key: &str,
        nodes: impl Iterator<Item = (NodeId, Option<&'a str>)>,
    ) -> TopologyId {
        if let Some(id) = self.ids.get(key) {
            return *id;
        }
        let key: Arc<str> = key.into();
        let mut topology = Topology::new(Arc::clone(&key));
        for (node, value) in nodes {
            topology.set(node, value);
        }
        let id = TopologyId(u32::try_from(self.all.len()).unwrap_or(u32::MAX));
        self.all.push(topology);
        self.ids.insert(key, id);
        id
    }

    pub(crate) fn get(&self, id: TopologyId) -> &Topology {
        &self.all[id.0 as usize]
    }

    /// Takes note of a node's labels.
    pub(crate) fn set_node<'a>(&mut self, node: NodeId, label: impl Fn(&str) -> Option<&'a str>) {
        for topology in &mut self.all {
            let value = label(&topology.key);
            topology.set(node, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_numbered_and_given_up() {
        let mut all = Topologies::default();
        let nodes = [(NodeId::new(0), Some("a")), (NodeId::new(1), Some("b")), (NodeId::new(2), None)];
        let zone = all.follow("zone", nodes.into_iter());
        assert_eq!(all.follow("zone", std::iter::empty()), zone);
        let place = |all: &Topologies, node| all.get(zone).place_of(NodeId::new(node));
        assert_eq!(
            (place(&all, 0), place(&all, 1), place(&all, 2), place(&all, 9)),
            (Some(0), Some(1), None, None)
        );
        all.set_node(NodeId::new(0), |_| Some("b"));
        assert_eq!(place(&all, 0), place(&all, 1));
        // The number of `a` is free again, and no others are needed.
        all.set_node(NodeId::new(2), |_| Some("c"));
        assert_eq!((place(&all, 2), all.get(zone).size()), (Some(0), 2));
    }
}
