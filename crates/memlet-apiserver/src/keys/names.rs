//! Under which names and addresses the server can be called.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The service that stands for the API inside a cluster, under all of its names; its address is the first of
/// upstream's default service range.
const SERVICE_HOSTS: [&str; 4] =
    ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"];
const SERVICE_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(10, 96, 0, 1));

/// The host names and addresses in the server's certificate.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct ServerNames {
    pub(super) hosts: BTreeSet<String>,
    pub(super) addresses: BTreeSet<IpAddr>,
}

impl ServerNames {
    /// These, and what every server is called: `localhost`, its addresses, and the `kubernetes` service. A host name
    /// that DNS could not hold, and an address that means "any", are left out.
    pub fn new<H: Into<String>>(
        hosts: impl IntoIterator<Item = H>,
        addresses: impl IntoIterator<Item = IpAddr>,
    ) -> Self {
        let own = ["localhost"].into_iter().chain(SERVICE_HOSTS).map(str::to_owned);
        let given = hosts.into_iter().map(|host| host.into().to_ascii_lowercase());
        let given = given.filter(|host| crate::names::subdomain(host).is_empty());
        let loopback = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST), SERVICE_ADDRESS];
        let addresses = addresses.into_iter().filter(|address| !address.is_unspecified());
        Self { hosts: own.chain(given).collect(), addresses: addresses.chain(loopback).collect() }
    }
}
