//! What a Pod asks for and may use, in all: requests and limits of its containers, added up.
//!
//! The rules are those of component-helpers' `resource/helpers.go` and of the API server's defaulting. Amounts
//! are read as they stand in the spec; call [`default_resources`] on a spec that no API server has defaulted.
//! An amount that is not a quantity counts as absent; [`check_quantities`] finds it first.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{Container, PodSpec, ResourceRequirements};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use memlet_bytes::Bytes;

use crate::quantity::{FractionalBytes, ParseQuantityError, Quantity, fractional_bytes};

/// The resource name of memory.
pub const MEMORY: &str = "memory";
/// The resource name of processor time.
pub const CPU: &str = "cpu";

/// Amounts by resource name, as the API holds them.
pub type ApiAmounts = BTreeMap<String, ApiQuantity>;

/// Amounts by resource name.
pub type Amounts = BTreeMap<String, Quantity>;

/// Requests or limits: the two columns of a resource table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Side {
    /// What is set aside by the scheduler.
    Requests,
    /// What may be used.
    Limits,
}

impl Side {
    /// This side of a resource table.
    pub fn of(self, resources: Option<&ResourceRequirements>) -> Option<&ApiAmounts> {
        let resources = resources?;
        match self {
            Self::Requests => resources.requests.as_ref(),
            Self::Limits => resources.limits.as_ref(),
        }
    }
}

/// One amount by name; `None` where it is absent or not a quantity.
pub fn amount(amounts: Option<&ApiAmounts>, resource: &str) -> Option<Quantity> {
    Quantity::try_from(amounts?.get(resource)?).ok()
}

/// What a container requests of memory; `None` where it says nothing. Zero is a request of nothing.
pub fn memory_request(container: &Container) -> Option<Bytes> {
    memory(Side::Requests, container.resources.as_ref())
}

/// The limit a container sets on its memory; `None` where it sets none, or sets zero, which means the same.
pub fn memory_limit(container: &Container) -> Option<Bytes> {
    memory(Side::Limits, container.resources.as_ref()).filter(|limit| *limit > Bytes::ZERO)
}

/// The memory of one side of a resource table.
pub fn memory(side: Side, resources: Option<&ResourceRequirements>) -> Option<Bytes> {
    amount(side.of(resources), MEMORY).map(|quantity| quantity.bytes())
}

/// Whether this init container is a sidecar, which runs as long as the Pod.
pub fn is_sidecar(init_container: &Container) -> bool {
    init_container.restart_policy.as_deref() == Some("Always")
}

/// The init containers, in order.
pub fn init_containers(spec: &PodSpec) -> &[Container] {
    spec.init_containers.as_deref().unwrap_or_default()
}

/// All containers that resource rules count: init containers in order, then the regular ones. Ephemeral
/// containers never count.
pub fn counted_containers(spec: &PodSpec) -> impl Iterator<Item = &Container> {
    init_containers(spec).iter().chain(&spec.containers)
}

/// Whether resources of this name may be set for the Pod as a whole.
pub fn is_pod_level_resource(resource: &str) -> bool {
    resource == MEMORY || resource == CPU || resource.starts_with("hugepages-")
}

/// Whether the Pod as a whole sets anything on this side.
pub fn has_pod_level(spec: &PodSpec, side: Side) -> bool {
    side.of(spec.resources.as_ref())
        .is_some_and(|amounts| amounts.keys().any(|name| is_pod_level_resource(name)))
}

/// The memory that the Pod as a whole sets on this side; `None` where it is absent or zero.
pub fn pod_level_memory(spec: &PodSpec, side: Side) -> Option<Bytes> {
    memory(side, spec.resources.as_ref()).filter(|amount| *amount > Bytes::ZERO)
}

/// The containers' amounts added up (`AggregateContainerRequests` and its twin for limits): the most that run
/// at the same time need, whether that is the regular containers or a step of the init sequence.
///
/// Of limits, note that a container without one adds nothing: the sum is a bound only where all have one.
pub fn container_totals(spec: &PodSpec, side: Side) -> Amounts {
    totals_of(spec, |container| read_amounts(side.of(container.resources.as_ref())))
}

/// As [`container_totals`], with the amounts of each container given by `amounts_of`, so that what a status
/// says can stand in for the spec (see [`crate::resize`]).
pub(crate) fn totals_of(spec: &PodSpec, amounts_of: impl Fn(&Container) -> Amounts) -> Amounts {
    let mut steady = Amounts::new();
    for container in &spec.containers {
        add_all(&mut steady, &amounts_of(container));
    }
    let mut sidecars = Amounts::new();
    let mut largest_step = Amounts::new();
    for container in init_containers(spec) {
        let amounts = amounts_of(container);
        let mut step = sidecars.clone();
        add_all(&mut step, &amounts);
        if is_sidecar(container) {
            add_all(&mut steady, &amounts);
            sidecars.clone_from(&step);
        }
        raise_all(&mut largest_step, &step);
    }
    raise_all(&mut steady, &largest_step);
    steady
}

/// [`container_totals`], replaced by what the Pod sets as a whole, without its overhead: what a sandbox is
/// told, and what a `LimitRange` of type Pod looks at.
pub fn pod_totals_without_overhead(spec: &PodSpec, side: Side) -> Amounts {
    with_pod_level(spec, side, container_totals(spec, side))
}

pub(crate) fn with_pod_level(spec: &PodSpec, side: Side, mut totals: Amounts) -> Amounts {
    let pod_level = read_amounts(side.of(spec.resources.as_ref()));
    totals.extend(pod_level.into_iter().filter(|(name, _)| is_pod_level_resource(name)));
    totals
}

/// What the Pod requests in all (`PodRequests`): containers, replaced by Pod-level requests, plus overhead.
pub fn pod_requests(spec: &PodSpec) -> Amounts {
    with_overhead(spec, Side::Requests, pod_totals_without_overhead(spec, Side::Requests))
}

/// What the Pod may use in all (`PodLimits`): as [`pod_requests`], but overhead is added only to limits that
/// exist and are not zero.
pub fn pod_limits(spec: &PodSpec) -> Amounts {
    with_overhead(spec, Side::Limits, pod_totals_without_overhead(spec, Side::Limits))
}

pub(crate) fn with_overhead(spec: &PodSpec, side: Side, mut totals: Amounts) -> Amounts {
    let overhead = read_amounts(spec.overhead.as_ref());
    match side {
        Side::Requests => add_all(&mut totals, &overhead),
        Side::Limits => {
            for (name, limit) in totals.iter_mut().filter(|(_, limit)| !limit.is_zero()) {
                if let Some(overhead) = overhead.get(name) {
                    *limit = limit.plus(overhead);
                }
            }
        }
    }
    totals
}

/// The memory that the Pod requests in all: what the scheduler counts.
pub fn pod_memory_request(spec: &PodSpec) -> Bytes {
    pod_requests(spec).get(MEMORY).map_or(Bytes::ZERO, Quantity::bytes)
}

/// The sum of the Pod's memory limits; `None` where there is none. It bounds the Pod only where
/// [`crate::cgroup_limits::pod_memory_limit`] says so.
pub fn pod_memory_limit_sum(spec: &PodSpec) -> Option<Bytes> {
    pod_limits(spec).get(MEMORY).map(Quantity::bytes).filter(|limit| *limit > Bytes::ZERO)
}

/// The amounts of a table; what is not a quantity is left out.
pub fn read_amounts(amounts: Option<&ApiAmounts>) -> Amounts {
    let read = |(name, api): (&String, &ApiQuantity)| Some((name.clone(), Quantity::try_from(api).ok()?));
    amounts.into_iter().flatten().filter_map(read).collect()
}

fn add_all(totals: &mut Amounts, amounts: &Amounts) {
    for (name, quantity) in amounts {
        totals
            .entry(name.clone())
            .and_modify(|total| *total = total.plus(quantity))
            .or_insert_with(|| quantity.clone());
    }
}

pub(crate) fn raise_all(totals: &mut Amounts, amounts: &Amounts) {
    for (name, quantity) in amounts {
        let total = totals.entry(name.clone()).or_insert_with(|| quantity.clone());
        if *total < *quantity {
            total.clone_from(quantity);
        }
    }
}

/// An amount in a Pod that is not a quantity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {text:?} is not a quantity")]
pub struct InvalidQuantity {
    /// Where it stands, as `spec.containers[0].resources.limits[memory]`.
    pub field: String,
    /// What was written.
    pub text: String,
    /// What is wrong with it, in the API server's words.
    #[source]
    pub source: ParseQuantityError,
}

/// Reads every amount of the Pod once.
///
/// # Errors
/// The first amount that is not a quantity, with its field.
pub fn check_quantities(spec: &PodSpec) -> Result<(), InvalidQuantity> {
    for (field, api) in amount_fields(spec) {
        Quantity::try_from(api).map_err(|source| InvalidQuantity { field, text: api.0.clone(), source })?;
    }
    Ok(())
}

/// The API server's warnings about memory that is not a whole number of bytes, for each request and limit.
pub fn fractional_memory_warnings(spec: &PodSpec) -> Vec<FractionalBytes> {
    amount_fields(spec)
        .into_iter()
        .filter(|(field, _)| field.ends_with("[memory]"))
        .filter_map(|(field, api)| fractional_bytes(&field, &Quantity::try_from(api).ok()?))
        .collect()
}

/// Every amount in a Pod's resource tables, with its field.
fn amount_fields(spec: &PodSpec) -> Vec<(String, &ApiQuantity)> {
    let mut tables: Vec<(String, Option<&ApiAmounts>)> = Vec::new();
    for (list, containers) in [("initContainers", init_containers(spec)), ("containers", &spec.containers)] {
        for (index, container) in containers.iter().enumerate() {
            let resources = container.resources.as_ref();
            tables.push((format!("spec.{list}[{index}].resources.limits"), Side::Limits.of(resources)));
            tables.push((format!("spec.{list}[{index}].resources.requests"), Side::Requests.of(resources)));
        }
    }
    tables.push(("spec.resources.limits".to_owned(), Side::Limits.of(spec.resources.as_ref())));
    tables.push(("spec.resources.requests".to_owned(), Side::Requests.of(spec.resources.as_ref())));
    tables.push(("spec.overhead".to_owned(), spec.overhead.as_ref()));
    let mut fields: Vec<(String, &ApiQuantity)> = tables
        .iter()
        .flat_map(|(table, amounts)| {
            amounts.iter().flat_map(move |amounts| {
                amounts.iter().map(move |(name, api)| (format!("{table}[{name}]"), api))
            })
        })
        .collect();
    for (index, volume) in spec.volumes.iter().flatten().enumerate() {
        if let Some(limit) = volume.empty_dir.as_ref().and_then(|volume| volume.size_limit.as_ref()) {
            fields.push((format!("spec.volumes[{index}].emptyDir.sizeLimit"), limit));
        }
    }
    fields
}

/// Fills in the amounts that the API server fills in when a Pod is created: amounts rounded up to thousandths,
/// a missing request copied from the limit, Pod-level requests from containers or Pod-level limits.
///
/// Not done for Pod templates, and before any `LimitRange` is looked at.
pub fn default_resources(spec: &mut PodSpec) {
    let PodSpec { containers, init_containers, resources, overhead, .. } = &mut *spec;
    for container in init_containers.iter_mut().flatten().chain(containers) {
        let Some(resources) = &mut container.resources else { continue };
        round_table(resources);
        if let Some(limits) = resources.limits.as_ref().filter(|limits| !limits.is_empty()) {
            let requests = resources.requests.get_or_insert_default();
            for (name, limit) in limits {
                requests.entry(name.clone()).or_insert_with(|| limit.clone());
            }
        }
    }
    if let Some(resources) = resources {
        round_table(resources);
    }
    round_amounts(overhead.as_mut());
    default_pod_level(spec);
}

fn round_table(resources: &mut ResourceRequirements) {
    round_amounts(resources.limits.as_mut());
    round_amounts(resources.requests.as_mut());
}

/// Rounds amounts up to thousandths, as API defaulting does wherever amounts of resources stand.
pub fn round_amounts(amounts: Option<&mut ApiAmounts>) {
    for api in amounts.into_iter().flat_map(BTreeMap::values_mut) {
        if let Ok(quantity) = Quantity::try_from(&*api) {
            *api = quantity.round_up_to_milli().into();
        }
    }
}

/// `SetDefaults_Pod` for `spec.resources`: huge page limits from the containers, then requests from containers
/// or limits.
fn default_pod_level(spec: &mut PodSpec) {
    let container_requests = container_totals(spec, Side::Requests);
    let container_limits = container_totals(spec, Side::Limits);
    let Some(resources) = &mut spec.resources else { return };
    let is_set = |amounts: &Option<ApiAmounts>| amounts.as_ref().is_some_and(|amounts| !amounts.is_empty());
    if is_set(&resources.limits) || is_set(&resources.requests) {
        for (name, limit) in container_limits.iter().filter(|(name, _)| name.starts_with("hugepages-")) {
            if !resources.requests.as_ref().is_some_and(|requests| requests.contains_key(name)) {
                resources.limits.get_or_insert_default().entry(name.clone()).or_insert_with(|| limit.into());
            }
        }
    }
    let Some(limits) = resources.limits.clone().filter(|limits| !limits.is_empty()) else { return };
    let requests = resources.requests.get_or_insert_default();
    for name in [CPU, MEMORY] {
        if let Some(total) = container_requests.get(name) {
            requests.entry(name.to_owned()).or_insert_with(|| total.into());
        }
    }
    for (name, limit) in limits.into_iter().filter(|(name, _)| is_pod_level_resource(name)) {
        requests.entry(name).or_insert(limit);
    }
    if requests.is_empty() {
        resources.requests = None;
    }
}

#[cfg(test)]
mod tests;
