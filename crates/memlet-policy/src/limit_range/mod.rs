//! What a `LimitRange` gives the Pods of its namespace, and what it asks of them.
//!
//! The rules of the `LimitRanger` admission plugin and of the defaulting of a `LimitRange` itself, in its words.
//! Which ranges there are, and what a refusal looks like around the text, is the API server's.

mod constraint; // one bound, one resource

use k8s_openapi::api::core::v1::{Container, LimitRange, LimitRangeItem, PodSpec};

use crate::resources::{self, Amounts, ApiAmounts, Side, init_containers, pod_totals_without_overhead};

use self::constraint::{Observed, largest, ratio, smallest};

/// The type of an item that is about each container.
pub const CONTAINER: &str = "Container";
/// The type of an item that is about a Pod as a whole.
pub const POD: &str = "Pod";
/// The annotation that says what a Pod was given.
pub const ANNOTATION: &str = "kubernetes.io/limit-ranger";

/// Fills in what an item leaves out: amounts rounded up to thousandths; for containers, the default limit is
/// the maximum, the default request is the default limit, or else the minimum.
pub fn default_item(item: &mut LimitRangeItem) {
    let tables = [
        &mut item.default,
        &mut item.default_request,
        &mut item.max,
        &mut item.max_limit_request_ratio,
        &mut item.min,
    ];
    for table in tables {
        resources::round_amounts(table.as_mut());
    }
    if item.type_ == CONTAINER {
        add_missing(&mut item.default, item.max.as_ref());
        add_missing(&mut item.default_request, item.default.as_ref());
        add_missing(&mut item.default_request, item.min.as_ref());
    }
}

/// Copies what is not there; gives the names of what was copied, in order.
fn add_missing(table: &mut Option<ApiAmounts>, from: Option<&ApiAmounts>) -> Vec<String> {
    let mut added = Vec::new();
    for (name, amount) in from.into_iter().flatten() {
        let table = table.get_or_insert_default();
        if !table.contains_key(name) {
            table.insert(name.clone(), amount.clone());
            added.push(name.clone());
        }
    }
    added
}

/// Gives containers the requests and limits that they leave out. Says what was given, as the annotation says
/// it; `None` where nothing was.
pub fn give_defaults(range: &LimitRange, spec: &mut PodSpec) -> Option<String> {
    let (mut requests, mut limits) = (ApiAmounts::new(), ApiAmounts::new());
    for item in items(range).filter(|item| item.type_ == CONTAINER) {
        requests.extend(item.default_request.clone().into_iter().flatten());
        limits.extend(item.default.clone().into_iter().flatten());
    }
    let mut given = Vec::new();
    let PodSpec { containers, init_containers, .. } = spec;
    let regular = containers.iter_mut().map(|container| ("container", container));
    let init = init_containers.iter_mut().flatten().map(|container| ("init container", container));
    for (kind, container) in regular.chain(init) {
        let Container { name, resources, .. } = container;
        let table = resources.get_or_insert_default();
        let sides = [("request", &mut table.requests, &requests), ("limit", &mut table.limits, &limits)];
        for (side, own, defaults) in sides {
            let added = add_missing(own, Some(defaults));
            if !added.is_empty() {
                given.push(format!("{} {side} for {kind} {name}", added.join(", ")));
            }
        }
    }
    (!given.is_empty()).then(|| format!("LimitRanger plugin set: {}", given.join("; ")))
}

/// What a Pod has that the range does not permit; `None` where it permits all of it.
pub fn refusal(range: &LimitRange, spec: &PodSpec) -> Option<String> {
    let mut faults: Vec<String> = Vec::new();
    for item in items(range) {
        for observed in observed(item, spec) {
            for fault in faults_of(item, &observed) {
                // Two containers may be at fault in the same words.
                if !faults.contains(&fault) {
                    faults.push(fault);
                }
            }
        }
    }
    match faults.len() {
        0 => None,
        1 => faults.pop(),
        _ => Some(format!("[{}]", faults.join(", "))),
    }
}

/// What an item is about in a Pod; nothing for a type that no Pod has.
fn observed(item: &LimitRangeItem, spec: &PodSpec) -> Vec<Observed> {
    match item.type_.as_str() {
        CONTAINER => spec.containers.iter().chain(init_containers(spec)).map(of_container).collect(),
        POD => {
            let totals = |side| pod_totals_without_overhead(spec, side);
            vec![Observed { requests: totals(Side::Requests), limits: totals(Side::Limits) }]
        }
        _ => Vec::new(),
    }
}

fn of_container(container: &Container) -> Observed {
    let side = |side: Side| resources::read_amounts(side.of(container.resources.as_ref()));
    Observed { requests: side(Side::Requests), limits: side(Side::Limits) }
}

fn faults_of(item: &LimitRangeItem, observed: &Observed) -> Vec<String> {
    let read = |table: &Option<ApiAmounts>| -> Amounts { resources::read_amounts(table.as_ref()) };
    let of = &item.type_;
    let (min, max, most) = (read(&item.min), read(&item.max), read(&item.max_limit_request_ratio));
    let min = min.iter().filter_map(|(name, bound)| smallest(of, name, bound, observed));
    let max = max.iter().filter_map(|(name, bound)| largest(of, name, bound, observed));
    let ratios = most.iter().filter_map(|(name, bound)| ratio(of, name, bound, observed));
    min.chain(max).chain(ratios).collect()
}

fn items(range: &LimitRange) -> impl Iterator<Item = &LimitRangeItem> {
    range.spec.iter().flat_map(|spec| &spec.limits)
}

#[cfg(test)]
mod tests;
