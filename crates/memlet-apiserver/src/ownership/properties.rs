//! Laws of ownership and apply.

use k8s_openapi::api::core::v1::Pod;
use proptest::prelude::*;
use serde_json::Value;

use super::compare::{Comparison, stated};
use super::merge::merged;
use super::set::FieldSet;
use super::{Applied, Before, Configuration, Writer, apply};
use crate::schema;
use crate::schema::generated::{pod, without_empty};
use crate::verbs::Part;

fn applied(live: Option<&Applied>, config: &Value, name: &str, force: bool) -> Option<Applied> {
    let before = match live {
        Some(live) => Before { json: live.json.clone(), owners: live.owners.as_ref() },
        None => Before::nothing::<Pod>(),
    };
    let writer = Writer { name: name.to_owned(), part: Part::Main };
    let config = Configuration { json: config, force };
    apply::<Pod>(&before, live.is_some(), &config, &writer).ok()
}

fn is_within(small: &FieldSet, large: &FieldSet) -> bool {
    let mut rest = small.clone();
    rest.subtract(large);
    rest.is_empty()
}

proptest! {
    #[test]
    fn nothing_differs_from_itself(old in pod(), new in pod()) {
        prop_assert!(Comparison::of(&old, &old, &schema::POD).is_empty());
        // What is removed one way is added the other.
        let (there, back) =
            (Comparison::of(&old, &new, &schema::POD), Comparison::of(&new, &old, &schema::POD));
        prop_assert!(is_within(&there.removed, &back.changed));
        prop_assert!(is_within(&back.removed, &there.changed));
    }

    #[test]
    fn a_set_survives_being_written(pod in pod()) {
        let set = stated(&pod, &schema::POD);
        prop_assert_eq!(FieldSet::from_json(&set.to_json()), Some(set));
    }

    #[test]
    fn a_merge_states_all_that_both_state(live in pod(), config in pod()) {
        let (live, config) = (without_empty(&live), without_empty(&config));
        let both = merged(&live, &config, &schema::POD);
        let fields = stated(&both, &schema::POD);
        prop_assert!(is_within(&stated(&live, &schema::POD), &fields));
        prop_assert!(is_within(&stated(&config, &schema::POD), &fields));
        prop_assert_eq!(&merged(&both, &config, &schema::POD), &both);
    }

    #[test]
    fn applying_the_same_again_changes_nothing(first in pod(), second in pod()) {
        let (first, second) = (without_empty(&first), without_empty(&second));
        let once = applied(None, &first, "a", false).unwrap();
        let twice = applied(Some(&once), &first, "a", false).unwrap();
        prop_assert_eq!((&twice.json, &twice.owners), (&once.json, &once.owners));
        let other = applied(Some(&once), &second, "b", true).unwrap();
        let again = applied(Some(&other), &second, "b", false).unwrap();
        prop_assert_eq!((&again.json, &again.owners), (&other.json, &other.owners));
    }

    #[test]
    fn one_applier_alone_gets_what_it_states(first in pod(), second in pod()) {
        let (first, second) = (without_empty(&first), without_empty(&second));
        let once = applied(None, &first, "a", false).unwrap();
        let then = applied(Some(&once), &second, "a", false).unwrap();
        let found = without_empty(&then.json);
        prop_assert_eq!(stated(&found, &schema::POD), stated(&second, &schema::POD));
    }

    #[test]
    fn what_is_refused_changes_what_another_owns(first in pod(), second in pod()) {
        let (first, second) = (without_empty(&first), without_empty(&second));
        let once = applied(None, &first, "a", false).unwrap();
        let forced = applied(Some(&once), &second, "b", true).unwrap();
        let change = Comparison::of(&once.json, &forced.json, &schema::POD);
        let taken = change.changed.intersection(&stated(&first, &schema::POD));
        prop_assert_eq!(applied(Some(&once), &second, "b", false).is_none(), !taken.is_empty());
    }
}
