//! What keeps a namespace that is being deleted, and how its conditions tell it: upstream's namespace controller
//! (`pkg/controller/namespace/deletion/status_condition_utils.go`). Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::NamespaceCondition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

/// Objects that are still there, of one kind or of all.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Remains {
    /// How many, by `resource.group`.
    instances: BTreeMap<String, usize>,
    /// How many wait for each finalizer.
    finalizers: BTreeMap<String, usize>,
}

impl Remains {
    /// One more object is still there.
    pub(crate) fn count(&mut self, resource: &str, group: &str, finalizers: &[String]) {
        *self.instances.entry(format!("{resource}.{group}")).or_default() += 1;
        for finalizer in finalizers {
            *self.finalizers.entry(finalizer.clone()).or_default() += 1;
        }
    }

    pub(crate) fn is_none(&self) -> bool {
        self.instances.is_empty()
    }

    /// The conditions that tell this; where one says what it said before, with its time.
    pub(super) fn conditions(&self, known: &[NamespaceCondition], now: Timestamp) -> Vec<NamespaceCondition> {
        let instances = told(&self.instances, |what, count| format!("{what} has {count} resource instances"));
        let finalizers =
            told(&self.finalizers, |what, count| format!("{what} in {count} resource instances"));
        let verdicts = [
            // These could be true only where kinds come and go with other servers.
            (
                "NamespaceDeletionDiscoveryFailure",
                None,
                ("ResourcesDiscovered", "All resources successfully discovered"),
            ),
            (
                "NamespaceDeletionGroupVersionParsingFailure",
                None,
                ("ParsedGroupVersions", "All legacy kube types successfully parsed"),
            ),
            (
                "NamespaceDeletionContentFailure",
                None,
                ("ContentDeleted", "All content successfully deleted, may be waiting on finalization"),
            ),
            (
                "NamespaceContentRemaining",
                instances
                    .map(|list| ("SomeResourcesRemain", format!("Some resources are remaining: {list}"))),
                ("ContentRemoved", "All content successfully removed"),
            ),
            (
                "NamespaceFinalizersRemaining",
                finalizers.map(|list| {
                    let text = format!("Some content in the namespace has finalizers remaining: {list}");
                    ("SomeFinalizersRemain", text)
                }),
                ("ContentHasNoFinalizers", "All content-preserving finalizers finished"),
            ),
        ];
        let condition =
            |(kind, remaining, (done, done_message)): (_, Option<(&str, String)>, (&str, &str))| {
                let status = if remaining.is_some() { "True" } else { "False" };
                let (reason, message) = remaining.unwrap_or((done, done_message.to_owned()));
                let new = NamespaceCondition {
                    type_: String::from(kind),
                    status: status.to_owned(),
                    reason: Some(reason.to_owned()),
                    message: Some(message),
                    last_transition_time: None,
                };
                let is_same = |old: &&NamespaceCondition| {
                    **old
                        == NamespaceCondition {
                            last_transition_time: old.last_transition_time.clone(),
                            ..new.clone()
                        }
                };
                let since = known.iter().find(is_same).and_then(|old| old.last_transition_time.clone());
                let now = || Time(Timestamp::from_second(now.as_second()).unwrap_or(now));
                NamespaceCondition { last_transition_time: Some(since.unwrap_or_else(now)), ..new }
            };
        verdicts.into_iter().map(condition).collect()
    }
}

/// A list in the order of its texts; `None` where it is empty.
fn told(counts: &BTreeMap<String, usize>, tell: impl Fn(&str, usize) -> String) -> Option<String> {
    let mut texts: Vec<_> = counts.iter().map(|(what, count)| tell(what, *count)).collect();
    texts.sort();
    (!texts.is_empty()).then(|| texts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_remains_is_told_as_upstream_does() {
        let mut remains = Remains::default();
        remains.count("pods", "", &[]);
        remains.count("pods", "", &["example.com/hold".to_owned()]);
        remains.count("leases", "coordination.k8s.io", &["example.com/hold".to_owned()]);
        let at = |second| Timestamp::from_second(second).unwrap();
        let first = remains.conditions(&[], at(10));
        let lines = first.iter().map(|it| {
            let text = it.message.as_deref().unwrap_or_default();
            format!("{} {} {}: {text}", it.type_, it.status, it.reason.as_deref().unwrap_or_default())
        });
        insta::assert_snapshot!(lines.collect::<Vec<_>>().join("\n"), @r"
        NamespaceDeletionDiscoveryFailure False ResourcesDiscovered: All resources successfully discovered
        NamespaceDeletionGroupVersionParsingFailure False ParsedGroupVersions: All legacy kube types successfully parsed
        NamespaceDeletionContentFailure False ContentDeleted: All content successfully deleted, may be waiting on finalization
        NamespaceContentRemaining True SomeResourcesRemain: Some resources are remaining: leases.coordination.k8s.io has 1 resource instances, pods. has 2 resource instances
        NamespaceFinalizersRemaining True SomeFinalizersRemain: Some content in the namespace has finalizers remaining: example.com/hold in 2 resource instances
        ");
        remains.finalizers.clear();
        let second = remains.conditions(&first, at(20));
        let seconds = |it: &NamespaceCondition| it.last_transition_time.as_ref().unwrap().0.as_second();
        assert_eq!(second.iter().map(seconds).collect::<Vec<_>>(), [10, 10, 10, 10, 20]);
    }
}
