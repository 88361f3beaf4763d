//! Whom a client certificate names: its common name is the user, its organisations are the groups.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::Identity;

/// The identity in a certificate that was found to be of this server's authority; `None` where it names nobody.
pub(crate) fn identity(certificate: &[u8]) -> Option<Identity> {
    let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
    let subject = parsed.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?;
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok().map(str::to_owned));
    (!user.is_empty()).then(|| Identity::of(user, groups))
}
