//! The statuses of quotas: they follow what goes, ends or changes in their namespaces. Creations say so themselves.

use std::collections::{BTreeSet, HashSet};

use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::ResourceQuota;

use super::unless_settled;
use crate::error::ApiError;
use crate::quota;
use crate::storage::{NoticeReader, Recorded};
use crate::verbs::Core;

/// The namespaces in which somebody counts.
#[derive(Default)]
pub(super) struct Quotas {
    namespaces: HashSet<String>,
}

impl Quotas {
    /// Looks at every quota.
    pub(super) fn look_at_all(&mut self, core: &Core, notices: &NoticeReader) -> Result<(), ApiError> {
        notices.follow_resource(ResourceQuota::URL_PATH_SEGMENT);
        self.learn(core, notices);
        settle(core, self.namespaces.iter())
    }

    /// Looks at the quotas that changes may concern.
    pub(super) fn follow(
        &mut self,
        core: &Core,
        notices: &NoticeReader,
        changes: &[Recorded],
    ) -> Result<(), ApiError> {
        if changes.iter().any(|change| change.resource == ResourceQuota::URL_PATH_SEGMENT) {
            self.learn(core, notices);
        }
        let counted = changes.iter().filter(|change| quota::is_counted(change.resource));
        let concerned: BTreeSet<&String> = counted
            .map(|change| &change.change.object.key.namespace)
            .filter(|namespace| self.namespaces.contains(*namespace))
            .collect();
        settle(core, concerned)
    }

    /// Which namespaces have quotas. All that happens there is told from before they are looked at.
    fn learn(&mut self, core: &Core, notices: &NoticeReader) {
        self.namespaces = quota::namespaces(core).into_iter().collect();
        notices.follow_namespaces(self.namespaces.clone());
    }
}

fn settle<'a>(core: &Core, namespaces: impl IntoIterator<Item = &'a String>) -> Result<(), ApiError> {
    let mut done = Ok(());
    for namespace in namespaces {
        // One that fails does not keep the others.
        done = done.and(unless_settled(quota::settle(core, namespace)));
    }
    done
}
