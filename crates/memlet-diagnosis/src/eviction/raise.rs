//! Higher requests for the containers of a Pod, so that it requests what it needs. Pure.

use std::cmp::Reverse;

use memlet_bytes::Bytes;

use super::{ContainerShare, Eviction};

/// A container and its new request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Raise<'a> {
    pub(super) container: &'a ContainerShare,
    pub(super) request: Bytes,
}

impl Raise<'_> {
    /// What of the Pod's request is not this container's. An init container's is no part of a sum.
    pub(super) fn of_others(&self, pod_request: Bytes) -> Bytes {
        if self.container.is_init {
            return Bytes::ZERO;
        }
        pod_request.saturating_sub(self.container.request)
    }
}

/// For each container that used more than it requested, what it used; for the first, the furthest above its own, also what
/// the Pod needs beyond, so that it requests `wanted` in all. `most` is what the Pod may request, `pod_request` what it does.
pub(super) fn raises(eviction: &Eviction, pod_request: Bytes, wanted: Bytes, most: Bytes) -> Vec<Raise<'_>> {
    let mut containers: Vec<_> = eviction.containers.iter().filter(|container| !container.is_init).collect();
    containers.sort_by_key(|container| Reverse((excess(container), container.usage)));
    let Some(first) = containers.first() else { return init(eviction, wanted).into_iter().collect() };
    let mut total = pod_request;
    let mut more_of = |container: &ContainerShare| {
        let more = match excess(container) {
            Bytes::ZERO => Bytes::ZERO,
            _ => whole_mebibytes(container.usage).saturating_sub(container.request),
        };
        let more = more.min(most.saturating_sub(total));
        total += more;
        more
    };
    let mut raises: Vec<(&ContainerShare, Bytes)> =
        containers.iter().map(|container| (*container, more_of(container))).collect();
    raises.retain(|(_, more)| *more > Bytes::ZERO);
    // It is that of nobody: files in memory, the sandbox, or what it takes to be passed over.
    let beyond = wanted.saturating_sub(total);
    match raises.first_mut() {
        Some((_, more)) => *more += beyond,
        None if beyond > Bytes::ZERO => raises.push((first, beyond)),
        None => {}
    }
    let raise = |(container, more): (_, Bytes)| {
        let container: &ContainerShare = container;
        Raise { container, request: whole_mebibytes(container.request + more) }
    };
    raises.into_iter().map(raise).collect()
}

/// While an init container runs no other does, and the Pod requests the largest of them.
fn init(eviction: &Eviction, wanted: Bytes) -> Option<Raise<'_>> {
    let container = eviction.containers.iter().max_by_key(|container| excess(container))?;
    Some(Raise { container, request: whole_mebibytes(wanted) })
}

/// How far it was above its request.
fn excess(container: &ContainerShare) -> Bytes {
    container.usage.saturating_sub(container.request)
}

/// Rounded up.
pub(super) fn whole_mebibytes(amount: Bytes) -> Bytes {
    Bytes::new(amount.get().checked_next_multiple_of(1 << 20).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::sample;
    use super::*;

    const MIB: fn(u64) -> Bytes = Bytes::from_mib;

    fn share(name: &str, usage: u64, request: u64, is_init: bool) -> ContainerShare {
        let (usage, request) = (MIB(usage), MIB(request));
        ContainerShare { name: name.to_owned(), usage, request, limit: None, is_init }
    }

    fn of(containers: Vec<ContainerShare>) -> Eviction {
        Eviction { containers, ..sample::eviction(vec![sample::ranked("p", 0, 0, 0)]) }
    }

    /// Name and new request in mebibytes.
    fn raised(containers: Vec<ContainerShare>, request: u64, wanted: u64, most: u64) -> Vec<(String, u64)> {
        let eviction = of(containers);
        let raises = raises(&eviction, MIB(request), MIB(wanted), MIB(most));
        raises.iter().map(|raise| (raise.container.name.clone(), raise.request.get() >> 20)).collect()
    }

    #[test]
    fn each_container_by_its_own_use() {
        let three =
            || vec![share("a", 200, 64, false), share("b", 300, 64, false), share("c", 10, 64, false)];
        let told = |all: &[(&str, u64)]| -> Vec<_> {
            all.iter().map(|(name, request)| ((*name).to_owned(), *request)).collect()
        };
        assert_eq!(raised(three(), 192, 512, 900), told(&[("b", 300), ("a", 200)]), "564 in all are enough");
        assert_eq!(raised(three(), 192, 600, 900), told(&[("b", 336), ("a", 200)]), "36 are nobody's");
        assert_eq!(raised(three(), 192, 400, 450), told(&[("b", 300), ("a", 86)]), "no more fits");
        let within = || vec![share("a", 40, 64, false), share("b", 50, 64, false)];
        assert_eq!(raised(within(), 128, 160, 900), told(&[("b", 96)]), "to be passed over");
        assert_eq!(raised(within(), 128, 128, 900), []);
        assert_eq!(raised(vec![share("i", 90, 20, true)], 64, 100, 900), told(&[("i", 100)]));
        assert_eq!(raised(Vec::new(), 0, 100, 900), []);
    }

    proptest! {
        /// What the Pod needs it requests, and no more than it may.
        #[test]
        fn what_is_wanted_is_requested(
            pods in prop::collection::vec((0..500_u64, 0..500_u64), 1..5), wanted in 0..3000_u64, more in 0..3000_u64
        ) {
            let containers: Vec<_> =
                pods.iter().map(|(usage, request)| share("x", *usage, *request, false)).collect();
            let request: u64 = pods.iter().map(|(_, request)| request).sum();
            let most = wanted.max(request) + more;
            let eviction = of(containers);
            let raises = raises(&eviction, MIB(request), MIB(wanted), MIB(most));
            let more: Bytes =
                raises.iter().map(|raise| raise.request.saturating_sub(raise.container.request)).sum();
            let total = MIB(request) + more;
            prop_assert!(total >= MIB(wanted) && total <= MIB(most), "{raises:?}");
            prop_assert!(raises.iter().all(|raise| raise.request > raise.container.request));
        }
    }
}
