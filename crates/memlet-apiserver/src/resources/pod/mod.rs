//! Pods.

mod account;
mod admission;
mod binding;
mod defaults;
mod eviction;
mod limits;
mod on_node;
mod validation;
mod warnings;

pub(super) use validation::check_resource_name;

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use memlet_policy::qos::QosClass;
use memlet_policy::resources;
use serde_json::{Value, json};

use crate::discovery::GroupVersionKind;
use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};
use crate::handler::Subresource;
use crate::kind::{Place, ServedKind};
use crate::schema::{self, Type};
use crate::storage::Fields;
use crate::verbs::{Core, Part};

/// Subresources beyond `status`.
pub(super) const SUBRESOURCES: &[Subresource] = &[
    Subresource {
        name: "attach",
        kind: GroupVersionKind { group: "", version: "v1", kind: "PodAttachOptions" },
        verbs: &["create", "get"],
        handle: on_node::attach,
    },
    Subresource {
        name: "binding",
        kind: GroupVersionKind { group: "", version: "v1", kind: "Binding" },
        verbs: &["create"],
        handle: binding::bind,
    },
    Subresource {
        name: "eviction",
        kind: GroupVersionKind { group: "policy", version: "v1", kind: "Eviction" },
        verbs: &["create"],
        handle: eviction::evict,
    },
    Subresource {
        name: "exec",
        kind: GroupVersionKind { group: "", version: "v1", kind: "PodExecOptions" },
        verbs: &["create", "get"],
        handle: on_node::exec,
    },
    Subresource {
        name: "log",
        kind: GroupVersionKind { group: "", version: "v1", kind: "Pod" },
        verbs: &["get"],
        handle: on_node::log,
    },
];

/// The grace period of a Pod that does not say.
const DEFAULT_GRACE_SECONDS: i64 = 30;

impl ServedKind for Pod {
    const NAMESPACED: bool = true;
    const SHAPE: &'static Type = &schema::POD;
    const HAS_STATUS: bool = true;
    const RETURNS_DELETED: bool = true;
    const GRACEFUL: bool = true;
    const SHORT_NAMES: &'static [&'static str] = &["po"];
    const CATEGORIES: &'static [&'static str] = &["all"];
    const SELECTABLE: &'static [&'static str] = &[
        "spec.nodeName",
        "spec.restartPolicy",
        "spec.schedulerName",
        "spec.serviceAccountName",
        "spec.hostNetwork",
        "status.phase",
        "status.podIP",
        "status.nominatedNodeName",
    ];

    fn blank() -> Value {
        json!({ "metadata": {}, "spec": { "containers": null }, "status": {} })
    }

    fn untouched_fields(part: Part) -> &'static [&'static [&'static str]] {
        match part {
            Part::Main => &[&["status"]],
            Part::Status => {
                &[&["spec"], &["metadata", "deletionTimestamp"], &["metadata", "ownerReferences"]]
            }
        }
    }

    fn quantity_places() -> &'static [Place] {
        &[
            &["spec", "containers", "*", "resources", "limits", "*"],
            &["spec", "containers", "*", "resources", "requests", "*"],
            &["spec", "initContainers", "*", "resources", "limits", "*"],
            &["spec", "initContainers", "*", "resources", "requests", "*"],
            &["spec", "resources", "limits", "*"],
            &["spec", "resources", "requests", "*"],
            &["spec", "overhead", "*"],
            &["spec", "volumes", "*", "emptyDir", "sizeLimit"],
            &["spec", "containers", "*", "env", "*", "valueFrom", "resourceFieldRef", "divisor"],
            &["spec", "initContainers", "*", "env", "*", "valueFrom", "resourceFieldRef", "divisor"],
        ]
    }

    fn canonicalize(&mut self) -> Result<(), String> {
        let Some(spec) = &mut self.spec else { return Ok(()) };
        // The API tells what is wrong with the quantity, not where it stands.
        resources::check_quantities(spec).map_err(|error| error.source.to_string())?;
        defaults::canonical_quantities(spec)
    }

    fn apply_defaults(&mut self) {
        defaults::apply(self);
    }

    fn prepare_for_create(&mut self) {
        self.metadata.generation = Some(1);
        self.status = Some(PodStatus { phase: Some("Pending".to_owned()), ..PodStatus::default() });
        set_qos_class(self);
    }

    fn admit(&mut self, core: &Core) -> Result<(), ApiError> {
        admission::admit(self, core)
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validation::validate(self, errors);
    }

    fn check_admission(&self, core: &Core) -> Result<(), ApiError> {
        limits::check(self, core)
    }

    fn warnings(&self) -> Vec<String> {
        self.spec.as_ref().map(warnings::of).unwrap_or_default()
    }

    fn prepare_for_update(&mut self, old: &Self) {
        self.status.clone_from(&old.status);
        admission::admit_update(self, old);
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        validation::validate_update(self, old, errors);
    }

    fn prepare_for_status_update(&mut self, old: &Self) {
        self.spec.clone_from(&old.spec);
        self.metadata.owner_references.clone_from(&old.metadata.owner_references);
        let status = self.status.get_or_insert_default();
        if status.qos_class.is_none() {
            status.qos_class = old.status.as_ref().and_then(|status| status.qos_class.clone());
        }
    }

    fn validate_status_update(&self, old: &Self, errors: &mut FieldErrors) {
        let class = |pod: &Self| pod.status.as_ref().and_then(|status| status.qos_class.clone());
        if class(self) != class(old) {
            errors.invalid(&FieldPath::new("status.qosClass"), class(self), "field is immutable");
        }
    }

    fn changes_generation(&self, old: &Self) -> bool {
        self.spec != old.spec
    }

    /// A Pod that runs nowhere, or no longer, has nobody to end it gracefully: it goes at once
    /// (`podStrategy.CheckGracefulDelete`).
    fn deletion_grace(&self, asked: Option<i64>) -> i64 {
        let own = self.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
        let mut grace = asked.or(own).unwrap_or(DEFAULT_GRACE_SECONDS);
        let node = self.spec.as_ref().and_then(|spec| spec.node_name.as_deref()).unwrap_or_default();
        let phase = self.status.as_ref().and_then(|status| status.phase.as_deref());
        if node.is_empty() || matches!(phase, Some("Succeeded" | "Failed")) {
            grace = 0;
        }
        if grace < 0 { 1 } else { grace }
    }

    fn fields(&self) -> Fields {
        let text = |text: Option<&String>| text.cloned().unwrap_or_default();
        let (spec, status) = (self.spec.as_ref(), self.status.as_ref());
        let of_spec = |field: fn(&k8s_openapi::api::core::v1::PodSpec) -> &Option<String>| {
            text(spec.and_then(|spec| field(spec).as_ref()))
        };
        let of_status =
            |field: fn(&PodStatus) -> &Option<String>| text(status.and_then(|status| field(status).as_ref()));
        let host_network = spec.and_then(|spec| spec.host_network).unwrap_or(false);
        vec![
            ("spec.nodeName", of_spec(|spec| &spec.node_name)),
            ("spec.restartPolicy", of_spec(|spec| &spec.restart_policy)),
            ("spec.schedulerName", of_spec(|spec| &spec.scheduler_name)),
            ("spec.serviceAccountName", of_spec(|spec| &spec.service_account_name)),
            ("spec.hostNetwork", host_network.to_string()),
            ("status.phase", of_status(|status| &status.phase)),
            ("status.podIP", of_status(|status| &status.pod_ip)),
            ("status.nominatedNodeName", of_status(|status| &status.nominated_node_name)),
        ]
    }
}

/// The class by what the Pod requests as it stands.
fn set_qos_class(pod: &mut Pod) {
    let class = pod.spec.as_ref().map_or(QosClass::BestEffort, QosClass::of_spec);
    pod.status.get_or_insert_default().qos_class = Some(class.to_string());
}
