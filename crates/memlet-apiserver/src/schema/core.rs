//! The table, for the kinds that are served (`staging/src/k8s.io/api/*/v1/types.go`).

use super::Shape::{Keyed, Map, Set, Struct, Whole};
use super::{Field, Key, PLAIN, Shape, Type, field, key};

static BY_NAME: [Key; 1] = [key("name")];
static BY_TYPE: [Key; 1] = [key("type")];
static BY_IP: [Key; 1] = [key("ip")];
static BY_UID: [Key; 1] = [key("uid")];
static BY_MOUNT_PATH: [Key; 1] = [key("mountPath")];
static BY_DEVICE_PATH: [Key; 1] = [key("devicePath")];
static BY_CLAIM: [Key; 1] = [key("resourceClaimName")];
static BY_STATUS: [Key; 1] = [key("status")];
static BY_PORT: [Key; 2] = [key("containerPort"), Key { name: "protocol", default: Some("TCP") }];
static BY_TOPOLOGY: [Key; 2] = [key("topologyKey"), key("whenUnsatisfiable")];

static PLAIN_ITEM: Shape = Struct(&PLAIN);
static WHOLE_ITEM: Shape = Whole;

const fn of(fields: &'static [Field]) -> Type {
    Type { fields, other: None }
}

/// The struct that upstream calls so.
pub(crate) fn of_definition(name: &str) -> &'static Type {
    match name {
        "ObjectMeta" => &OBJECT_META,
        "ConfigMap" => &CONFIG_MAP,
        "Secret" => &SECRET,
        "ServiceAccount" => &SERVICE_ACCOUNT,
        "Event" => &EVENT,
        "NamespaceStatus" => &NAMESPACE_STATUS,
        "NodeSpec" => &NODE_SPEC,
        "NodePodPreemptionPolicy" => &NODE_POD_PREEMPTION_POLICY,
        "NodeStatus" => &NODE_STATUS,
        "PodSpec" => &POD_SPEC,
        "PodStatus" => &POD_STATUS,
        "Container" | "EphemeralContainer" => &CONTAINER,
        "VolumeMount" => &MOUNT,
        "ResourceRequirements" => &RESOURCES,
        "ResourceQuotaSpec" => &QUOTA_SPEC,
        "ResourceQuotaStatus" => &QUOTA_STATUS,
        "NodeAllocatableResourceClaimStatus" => &CLAIM_STATUS,
        "PodVolumeHealth" => &VOLUME_HEALTH,
        _ => &PLAIN,
    }
}

const METADATA: Field = field("metadata", Struct(&OBJECT_META));

static OBJECT_META: Type = of(&[
    field("labels", Map),
    field("annotations", Map),
    field("finalizers", Set).patched_as_set(),
    field("ownerReferences", Keyed(&BY_UID, &WHOLE_ITEM)).patched_by("uid"),
    field("managedFields", Whole),
]);

/// A kind of which nothing is special but its metadata.
pub(crate) static OBJECT: Type = of(&[METADATA]);

pub(crate) static CONFIG_MAP: Type = of(&[METADATA, field("data", Map), field("binaryData", Map)]);

pub(crate) static SECRET: Type = of(&[METADATA, field("data", Map), field("stringData", Map)]);

pub(crate) static SERVICE_ACCOUNT: Type =
    of(&[METADATA, field("secrets", Keyed(&BY_NAME, &WHOLE_ITEM)).patched_by("name")]);

pub(crate) static LEASE: Type = of(&[METADATA, field("spec", Struct(&PLAIN))]);

/// Events of both groups.
pub(crate) static EVENT: Type = of(&[
    METADATA,
    field("involvedObject", Whole),
    field("regarding", Whole),
    field("related", Whole),
    field("source", Struct(&PLAIN)),
]);

pub(crate) static NAMESPACE: Type =
    of(&[METADATA, field("spec", Struct(&PLAIN)), field("status", Struct(&NAMESPACE_STATUS))]);

static NAMESPACE_STATUS: Type = of(&[field("conditions", Keyed(&BY_TYPE, &PLAIN_ITEM)).patched_by("type")]);

pub(crate) static NODE: Type =
    of(&[METADATA, field("spec", Struct(&NODE_SPEC)), field("status", Struct(&NODE_STATUS))]);

static NODE_SPEC: Type = of(&[
    field("podCIDRs", Set).patched_as_set(),
    field("podPreemptionPolicy", Struct(&NODE_POD_PREEMPTION_POLICY)),
]);

static NODE_POD_PREEMPTION_POLICY: Type = of(&[field("disableResizePreemption", Set)]);

static NODE_STATUS: Type = of(&[
    field("capacity", Map),
    field("allocatable", Map),
    field("conditions", Keyed(&BY_TYPE, &PLAIN_ITEM)).patched_by("type"),
    field("addresses", Keyed(&BY_TYPE, &PLAIN_ITEM)).patched_by("type"),
]);

pub(crate) static RESOURCE_QUOTA: Type =
    of(&[METADATA, field("spec", Struct(&QUOTA_SPEC)), field("status", Struct(&QUOTA_STATUS))]);

static QUOTA_SPEC: Type = of(&[field("hard", Map), field("scopeSelector", Whole)]);

static QUOTA_STATUS: Type = of(&[field("hard", Map), field("used", Map)]);

pub(crate) static POD: Type =
    of(&[METADATA, field("spec", Struct(&POD_SPEC)), field("status", Struct(&POD_STATUS))]);

static POD_SPEC: Type = of(&[
    field("containers", Keyed(&BY_NAME, &CONTAINER_ITEM)).patched_by("name"),
    field("initContainers", Keyed(&BY_NAME, &CONTAINER_ITEM)).patched_by("name"),
    field("ephemeralContainers", Keyed(&BY_NAME, &CONTAINER_ITEM)).patched_by("name"),
    field("volumes", Keyed(&BY_NAME, &VOLUME_ITEM)).patched_by("name"),
    field("imagePullSecrets", Keyed(&BY_NAME, &WHOLE_ITEM)).patched_by("name"),
    field("hostAliases", Keyed(&BY_IP, &PLAIN_ITEM)).patched_by("ip"),
    field("resourceClaims", Keyed(&BY_NAME, &PLAIN_ITEM)).patched_by("name"),
    field("schedulingGates", Keyed(&BY_NAME, &PLAIN_ITEM)).patched_by("name"),
    field("evictionResponders", Keyed(&BY_NAME, &PLAIN_ITEM)).patched_by("name"),
    field("topologySpreadConstraints", Keyed(&BY_TOPOLOGY, &SPREAD_ITEM)).patched_by("topologyKey"),
    field("nodeSelector", Whole),
    field("overhead", Map),
    field("resources", Struct(&RESOURCES)),
    field("affinity", Struct(&AFFINITY)),
]);

static AFFINITY: Type = of(&[field("nodeAffinity", Struct(&NODE_AFFINITY))]);

static NODE_AFFINITY: Type = of(&[field("requiredDuringSchedulingIgnoredDuringExecution", Whole)]);

static SPREAD_ITEM: Shape = Struct(&SPREAD);
static SPREAD: Type = of(&[field("labelSelector", Whole)]);

static CONTAINER_ITEM: Shape = Struct(&CONTAINER);
static CONTAINER: Type = of(&[
    field("env", Keyed(&BY_NAME, &VARIABLE_ITEM)).patched_by("name"),
    field("ports", Keyed(&BY_PORT, &PLAIN_ITEM)).patched_by("containerPort"),
    field("volumeMounts", Keyed(&BY_MOUNT_PATH, &MOUNT_ITEM)).patched_by("mountPath"),
    field("volumeDevices", Keyed(&BY_DEVICE_PATH, &PLAIN_ITEM)).patched_by("devicePath"),
    field("resources", Struct(&RESOURCES)),
]);

static MOUNT_ITEM: Shape = Struct(&MOUNT);
static MOUNT: Type = of(&[field("bindMountOptions", Set)]);

static RESOURCES: Type =
    of(&[field("limits", Map), field("requests", Map), field("claims", Keyed(&BY_NAME, &PLAIN_ITEM))]);

static VARIABLE_ITEM: Shape = Struct(&VARIABLE);
static VARIABLE: Type = of(&[field("valueFrom", Struct(&VARIABLE_SOURCE))]);

static VARIABLE_SOURCE: Type = of(&[
    field("fieldRef", Whole),
    field("resourceFieldRef", Whole),
    field("configMapKeyRef", Whole),
    field("secretKeyRef", Whole),
    field("fileKeyRef", Whole),
]);

static VOLUME_ITEM: Shape = Struct(&VOLUME);
static VOLUME: Type =
    Type { fields: &[field("ephemeral", Struct(&EPHEMERAL_VOLUME))], other: Some(&VOLUME_SOURCE) };

/// What volume sources have that is special, of all of them together.
static VOLUME_SOURCE: Type = of(&[
    field("secretRef", Whole),
    field("nodePublishSecretRef", Whole),
    field("volumeAttributes", Map),
    field("options", Map),
]);

static EPHEMERAL_VOLUME: Type = of(&[field("volumeClaimTemplate", Struct(&CLAIM_TEMPLATE))]);

static CLAIM_TEMPLATE: Type = of(&[METADATA, field("spec", Struct(&CLAIM_SPEC))]);

static CLAIM_SPEC: Type =
    of(&[field("dataSource", Whole), field("selector", Whole), field("resources", Struct(&RESOURCES))]);

static POD_STATUS: Type = of(&[
    field("conditions", Keyed(&BY_TYPE, &PLAIN_ITEM)).patched_by("type"),
    field("podIPs", Keyed(&BY_IP, &PLAIN_ITEM)).patched_by("ip"),
    // Applied as a whole, but patched by address.
    field("hostIPs", Whole).patched_by("ip"),
    field("resourceClaimStatuses", Keyed(&BY_NAME, &PLAIN_ITEM)).patched_by("name"),
    field("nodeAllocatableResourceClaimStatuses", Keyed(&BY_CLAIM, &CLAIM_STATUS_ITEM)),
    field("volumeHealth", Keyed(&BY_NAME, &VOLUME_HEALTH_ITEM)),
    field("allocatedResources", Map),
    field("resources", Struct(&RESOURCES)),
]);

static CLAIM_STATUS_ITEM: Shape = Struct(&CLAIM_STATUS);
static CLAIM_STATUS: Type = of(&[
    field("containers", Set),
    field("mapping", Keyed(&BY_NAME, &PLAIN_ITEM)),
    field("overhead", Keyed(&BY_NAME, &PLAIN_ITEM)),
]);

static VOLUME_HEALTH_ITEM: Shape = Struct(&VOLUME_HEALTH);
static VOLUME_HEALTH: Type = of(&[field("healthConditions", Keyed(&BY_STATUS, &PLAIN_ITEM))]);
