//! Who asks.

use std::collections::BTreeMap;

use crate::keys::MASTERS;

pub(crate) const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
/// As upstream calls its own clients of itself.
const OWN_USER: &str = "system:apiserver";
const ANONYMOUS: &str = "system:anonymous";

/// A user and what is known of them. Requests carry it in their extensions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// The name.
    pub user: String,
    /// The groups, `system:authenticated` among them.
    pub groups: Vec<String>,
    /// What tells this user from another who had the name before.
    pub uid: String,
    /// What else is known: for a token, the Pod that it was made for.
    pub extra: BTreeMap<String, Vec<String>>,
}

impl Identity {
    /// A known user of these groups.
    pub fn of(user: impl Into<String>, groups: impl IntoIterator<Item = String>) -> Self {
        let mut groups: Vec<String> = groups.into_iter().collect();
        if !groups.iter().any(|group| group == AUTHENTICATED) {
            groups.push(AUTHENTICATED.to_owned());
        }
        Self { user: user.into(), groups, ..Self::default() }
    }

    /// This program itself, which may do everything.
    pub fn own() -> Self {
        Self::of(OWN_USER, [MASTERS.to_owned()])
    }

    /// Somebody who did not say.
    pub(crate) fn anonymous() -> Self {
        Self { user: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Self::default() }
    }

    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|own| own == group)
    }

    pub(crate) fn is_administrator(&self) -> bool {
        self.is_in(MASTERS)
    }
}
