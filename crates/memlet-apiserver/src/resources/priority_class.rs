//! Priority classes: the names under which Pods ask for a priority.

use k8s_openapi::Resource as _;
use k8s_openapi::api::scheduling::v1::PriorityClass;
use serde_json::{Value, json};

use crate::error::ApiError;
use crate::field::{FieldErrors, FieldPath};
use crate::kind::ServedKind;
use crate::storage::{Fields, Key};
use crate::verbs::{Core, typed};

/// Upstream's bound on what users may ask for; what is above is the system's.
const HIGHEST_OF_USERS: i32 = 1_000_000_000;
const RESERVED_PREFIX: &str = "system-";
/// What a class does that does not say.
const PREEMPTS: &str = "PreemptLowerPriority";

/// The class's entry among the fields that are kept beside a stored object.
const GLOBAL_DEFAULT: &str = "globalDefault";

/// A class that every cluster has from the start.
struct SystemClass {
    name: &'static str,
    value: i32,
    description: &'static str,
}

const SYSTEM_CLASSES: [SystemClass; 2] = [
    SystemClass {
        name: "system-cluster-critical",
        value: 2_000_000_000,
        description: "Used for system critical pods that must run in the cluster, but can be moved to another node if \
                      necessary.",
    },
    SystemClass {
        name: "system-node-critical",
        value: 2_000_001_000,
        description: "Used for system critical pods that must not be moved from their current node.",
    },
];

/// The classes that every cluster has, by name.
pub(crate) fn system_classes() -> impl Iterator<Item = (&'static str, Value)> {
    SYSTEM_CLASSES.iter().map(|class| {
        let object = json!({
            "metadata": { "name": class.name }, "value": class.value, "description": class.description,
        });
        (class.name, object)
    })
}

impl ServedKind for PriorityClass {
    const NAMESPACED: bool = false;
    const SHORT_NAMES: &'static [&'static str] = &["pc"];

    fn blank() -> Value {
        json!({ "metadata": {}, "value": 0 })
    }

    fn apply_defaults(&mut self) {
        self.preemption_policy.get_or_insert_with(|| PREEMPTS.to_owned());
    }

    fn admit(&mut self, core: &Core) -> Result<(), ApiError> {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        match default_class(core)? {
            Some(other)
                if self.global_default == Some(true) && other.metadata.name.as_deref() != Some(name) =>
            {
                let other = other.metadata.name.unwrap_or_default();
                let why = format!(
                    "PriorityClass {other} has already been marked as default. Only one default can exist"
                );
                Err(ApiError::forbidden(Self::URL_PATH_SEGMENT, name, &why))
            }
            _ => Ok(()),
        }
    }

    fn validate(&self, errors: &mut FieldErrors) {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        if name.starts_with(RESERVED_PREFIX) {
            let known = SYSTEM_CLASSES.iter().any(|class| class.name == name && class.value == value(self));
            if !known {
                let detail = "priority class names with 'system-' prefix are reserved for system use only";
                errors.forbidden(&FieldPath::new("metadata.name"), detail);
            }
        } else if value(self) > HIGHEST_OF_USERS {
            let detail = format!("maximum allowed value of a user defined priority is {HIGHEST_OF_USERS}");
            errors.forbidden(&FieldPath::new("value"), detail);
        }
        let policy = self.preemption_policy.as_deref().unwrap_or(PREEMPTS);
        if !matches!(policy, "Never" | PREEMPTS) {
            errors.not_supported(&FieldPath::new("preemptionPolicy"), policy, &["Never", PREEMPTS]);
        }
    }

    fn validate_update(&self, old: &Self, errors: &mut FieldErrors) {
        const FIXED: &str = "may not be changed in an update.";
        if self.value != old.value {
            errors.forbidden(&FieldPath::new("value"), FIXED);
        }
        if self.preemption_policy != old.preemption_policy {
            errors.invalid(
                &FieldPath::new("preemptionPolicy"),
                &self.preemption_policy,
                "field is immutable",
            );
        }
    }

    fn check_deletion(&self) -> Result<(), ApiError> {
        match self.metadata.name.as_deref() {
            Some(name) if SYSTEM_CLASSES.iter().any(|class| class.name == name) => Err(ApiError::forbidden(
                Self::URL_PATH_SEGMENT,
                name,
                "this is a system priority class and cannot be deleted",
            )),
            _ => Ok(()),
        }
    }

    fn fields(&self) -> Fields {
        vec![(GLOBAL_DEFAULT, self.global_default.unwrap_or_default().to_string())]
    }
}

/// The class of this name.
pub(super) fn class(core: &Core, name: &str) -> Result<Option<PriorityClass>, ApiError> {
    let stored = core.storage.get(PriorityClass::URL_PATH_SEGMENT, &Key::new("", name));
    stored.map(|stored| typed::<PriorityClass>(&stored)).transpose()
}

/// The class of Pods that name none: of several that say so, the lowest.
pub(super) fn default_class(core: &Core) -> Result<Option<PriorityClass>, ApiError> {
    let mut lowest: Option<PriorityClass> = None;
    for stored in core.storage.list(PriorityClass::URL_PATH_SEGMENT, None, None).objects {
        if stored.fields.iter().any(|(field, value)| *field == GLOBAL_DEFAULT && value == "true") {
            let class = typed::<PriorityClass>(&stored)?;
            if lowest.as_ref().is_none_or(|lowest| value(&class) < value(lowest)) {
                lowest = Some(class);
            }
        }
    }
    Ok(lowest)
}

/// What a class stands for.
pub(super) fn value(class: &PriorityClass) -> i32 {
    class.value.unwrap_or_default()
}

/// What a class says of preemption.
pub(super) fn preemption_policy(class: &PriorityClass) -> &str {
    class.preemption_policy.as_deref().unwrap_or(PREEMPTS)
}
