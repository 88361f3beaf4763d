//! The order of eviction, of what every Pod uses at the moment of the choice.
//!
//! What a Pod is charged with is one number, and read of all. What of it is page cache not used lately, and so no part of
//! its working set, costs the kernel a look at all its counts, and of many Pods milliseconds in which a fast one takes what
//! is left. Taking it off moves a Pod back in the order and never forward, so it is read of those in front only.

use std::ops::Range;

use memlet_bytes::Bytes;
use memlet_diagnosis::eviction::{KEPT, Ranked};
use memlet_policy::eviction::{Candidate, rank};

use super::pods::Here;

/// Reads a figure of a Pod; `None` where it is gone, or the kernel does not say.
pub(super) type Figure<'a> = &'a dyn Fn(&Here) -> Option<Bytes>;

/// The Pods that are here and do not leave, in their order.
#[derive(Debug)]
pub(super) struct Ranking(Vec<Place>);

#[derive(Debug)]
struct Place {
    here: Here,
    /// Its usage is what it is charged with, until `is_settled`: then its working set.
    candidate: Candidate,
    is_settled: bool,
}

impl Ranking {
    /// By what each is charged with.
    pub(super) fn new(pods: Vec<Here>, charged: Figure<'_>) -> Self {
        // One whose cgroup is gone has nothing to give, and one that leaves is no candidate any more.
        let places = pods.into_iter().filter(|here| !here.leaves).filter_map(|here| {
            let usage = charged(&here)?;
            let Here { request, priority, critical, .. } = here;
            let candidate = Candidate { usage, request, priority, critical };
            Some(Place { here, candidate, is_settled: false })
        });
        let mut ranking = Self(places.collect());
        ranking.sort();
        ranking
    }

    /// The one to go, with its working set; `None` where nobody may.
    pub(super) fn chosen(&mut self, inactive_file: Figure<'_>) -> Option<(&Here, Candidate)> {
        loop {
            let first = self.first()?;
            if !self.settle(first..first + 1, inactive_file) {
                return self.0.get(first).map(|place| (&place.here, place.candidate));
            }
        }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// The first [`KEPT`] with their working sets, and all up to the one of this uid.
    pub(super) fn kept(mut self, uid: &str, inactive_file: Figure<'_>) -> Vec<Ranked> {
        let count = loop {
            let place = self.0.iter().position(|place| place.here.name.uid == uid);
            let count = place.map_or(KEPT, |place| KEPT.max(place + 1));
            if !self.settle(0..count, inactive_file) {
                break count;
            }
        };
        let kept = self.0.into_iter().take(count);
        kept.map(|Place { here, candidate, .. }| Ranked { pod: here.name, candidate }).collect()
    }

    /// The place of the first that may go.
    fn first(&self) -> Option<usize> {
        // One that was told to go by an earlier run of the agent goes anyway, so nobody else need.
        let goes_anyway = self.0.iter().position(|place| place.here.orders.borrow().is_some());
        goes_anyway.or_else(|| self.0.iter().position(|place| !place.candidate.critical))
    }

    /// Takes page cache not used lately off what those at these places use; whether that was still to do.
    fn settle(&mut self, places: Range<usize>, inactive_file: Figure<'_>) -> bool {
        let (mut index, mut changed) = (0, false);
        self.0.retain_mut(|place| {
            let is_meant = places.contains(&index) && !place.is_settled;
            index += 1;
            if !is_meant {
                return true;
            }
            changed = true;
            let inactive = inactive_file(&place.here);
            place.candidate.usage = place.candidate.usage.saturating_sub(inactive.unwrap_or_default());
            place.is_settled = true;
            inactive.is_some()
        });
        if changed {
            self.sort();
        }
        changed
    }

    fn sort(&mut self) {
        // Those that nothing tells apart always stand in the same order.
        self.0.sort_by(|Place { here: a, .. }, Place { here: b, .. }| {
            (&a.name.namespace, &a.name.name).cmp(&(&b.name.namespace, &b.name.name))
        });
        rank(&mut self.0, |place| place.candidate);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use memlet_diagnosis::eviction::PodName;
    use proptest::prelude::*;

    use super::*;
    use crate::pressure::Order;

    #[derive(Clone, Copy, Debug)]
    struct Memory {
        charged: u64,
        inactive: u64,
    }

    /// A Pod whose cgroup is the number of its memory.
    fn here(number: usize, name: &str, critical: bool) -> Here {
        Here {
            name: PodName { namespace: "default".into(), name: name.into(), uid: name.into() },
            priority: 0,
            critical,
            request: Bytes::ZERO,
            pod_level_request: None,
            pod_level_limit: None,
            own_grace: None,
            cgroup: format!("/{number}").parse().unwrap(),
            containers: Vec::new(),
            orders: tokio::sync::watch::channel(None).0,
            leaves: false,
        }
    }

    fn number(here: &Here) -> usize {
        here.cgroup.to_string()[1..].parse().unwrap()
    }

    /// Who is chosen among these, the order that is kept, and of how many page cache was read.
    fn ranked(pods: Vec<Here>, memory: &[Memory]) -> (Option<String>, Vec<String>, usize) {
        let reads = Cell::new(0);
        let inactive = |here: &Here| {
            reads.set(reads.get() + 1);
            Some(Bytes::from_mib(memory[number(here)].inactive))
        };
        let mut ranking = Ranking::new(pods, &|here| Some(Bytes::from_mib(memory[number(here)].charged)));
        let chosen = ranking.chosen(&inactive).map(|(here, _)| here.name.uid.clone());
        let until_chosen = reads.get();
        let kept = ranking.kept(chosen.as_deref().unwrap_or_default(), &inactive);
        (chosen, kept.into_iter().map(|ranked| ranked.pod.name).collect(), until_chosen)
    }

    /// The names of Pods that use so much, some of it page cache, in their order; with the one to go.
    fn order_of(pods: &[(&str, u64, bool)]) -> (Option<String>, Vec<String>) {
        let memory: Vec<_> =
            pods.iter().map(|(_, charged, _)| Memory { charged: *charged, inactive: 0 }).collect();
        let pods = pods.iter().enumerate();
        let pods = pods.map(|(number, (name, _, critical))| here(number, name, *critical)).collect();
        let (chosen, order, _) = ranked(pods, &memory);
        (chosen, order)
    }

    #[test]
    fn critical_ones_are_passed_over() {
        let (chosen, order) = order_of(&[("idle", 1, false), ("static", 900, true), ("hog", 700, false)]);
        assert_eq!(chosen.as_deref(), Some("hog"));
        assert_eq!(order, ["static", "hog", "idle"]);
        assert_eq!(order_of(&[("static", 900, true)]).0, None);
        assert_eq!(order_of(&[]).0, None);
    }

    #[test]
    fn one_that_goes_anyway_is_the_one() {
        let pods = vec![here(0, "hog", false), here(1, "told", false)];
        let order = Order { message: String::new(), annotations: Vec::new(), grace: None, recalled: None };
        pods[1].orders.send_replace(Some(order.into()));
        let memory = [700, 500].map(|charged| Memory { charged, inactive: 0 });
        assert_eq!(ranked(pods, &memory).0.as_deref(), Some("told"));
    }

    #[test]
    fn one_that_leaves_is_not_in_it() {
        let pods = vec![Here { leaves: true, ..here(0, "hog", false) }, here(1, "idle", false)];
        let memory = [700, 1].map(|charged| Memory { charged, inactive: 0 });
        let (chosen, order, _) = ranked(pods, &memory);
        assert_eq!((chosen.as_deref(), order), (Some("idle"), vec!["idle".to_owned()]));
    }

    #[test]
    fn equals_go_by_name() {
        let order = |names: [&'static str; 3]| order_of(&names.map(|name| (name, 5, false))).1;
        assert_eq!(order(["b", "c", "a"]), ["a", "b", "c"]);
        assert_eq!(order(["c", "a", "b"]), ["a", "b", "c"]);
    }

    #[test]
    fn page_cache_is_read_of_few() {
        let memory: Vec<_> =
            (0..100).map(|number| Memory { charged: 1 + number / 99 * 900, inactive: 1 }).collect();
        let pods = (0..100).map(|number| here(number, &format!("pod-{number}"), false)).collect();
        let (chosen, order, reads) = ranked(pods, &memory);
        assert_eq!((chosen.as_deref(), reads), (Some("pod-99"), 1));
        assert_eq!(order.len(), KEPT);
    }

    #[test]
    fn one_that_vanishes_is_passed_over() {
        let mut ranking =
            Ranking::new(vec![here(0, "gone", false), here(1, "here", false)], &|_| Some(Bytes::from_mib(1)));
        let chosen = ranking.chosen(&|here| (here.name.name == "here").then_some(Bytes::ZERO));
        assert_eq!(chosen.map(|(here, _)| here.name.name.as_str()), Some("here"));
        assert_eq!(ranking.len(), 1);
    }

    /// Charged, page cache of it, request, priority, critical.
    type Row = (u64, u64, u64, i32, bool);

    fn of_row(number: usize, (charged, inactive, request, priority, critical): Row) -> (Here, Memory) {
        let here = here(number, &format!("pod-{number:03}"), critical);
        (Here { request: Bytes::from_mib(request), priority, ..here }, Memory { charged, inactive })
    }

    proptest! {
        /// Reading less changes nothing.
        #[test]
        fn it_is_the_order_of_working_sets(
            rows in prop::collection::vec((0..40_u64, 0..40_u64, 0..20_u64, 0..3, prop::bool::weighted(0.2)), 0..60)
        ) {
            let (pods, memory): (Vec<_>, Vec<_>) =
                rows.iter().enumerate().map(|(number, row)| of_row(number, *row)).unzip();
            let mut all: Vec<_> = rows
                .iter()
                .enumerate()
                .map(|(number, &(charged, inactive, request, priority, critical))| {
                    let usage = Bytes::from_mib(charged.saturating_sub(inactive));
                    let request = Bytes::from_mib(request);
                    (format!("pod-{number:03}"), Candidate { usage, request, priority, critical })
                })
                .collect();
            rank(&mut all, |(_, candidate)| *candidate);
            let first = all.iter().position(|(_, candidate)| !candidate.critical);
            let (chosen, order, _) = ranked(pods, &memory);
            prop_assert_eq!(&chosen, &first.map(|first| all[first].0.clone()));
            let count = first.map_or(KEPT, |first| KEPT.max(first + 1)).min(all.len());
            let expected: Vec<_> = all.into_iter().take(count).map(|(name, _)| name).collect();
            prop_assert_eq!(order, expected);
        }
    }
}
