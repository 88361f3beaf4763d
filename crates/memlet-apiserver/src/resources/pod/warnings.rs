//! What is legal in a Pod but hardly meant (upstream's `pkg/api/pod/warnings.go`, as far as it concerns what runs here).

use std::collections::BTreeSet;

use k8s_openapi::api::core::v1::PodSpec;
use memlet_policy::resources::fractional_memory_warnings;

pub(super) fn of(spec: &PodSpec) -> Vec<String> {
    let mut warnings: Vec<String> =
        fractional_memory_warnings(spec).iter().map(ToString::to_string).collect();
    if spec.termination_grace_period_seconds.is_some_and(|seconds| seconds < 0) {
        warnings.push(
            "spec.terminationGracePeriodSeconds: must be >= 0; negative values are invalid and will be treated as 1"
                .to_owned(),
        );
    }
    let lists = [("initContainers", spec.init_containers.as_ref()), ("containers", Some(&spec.containers))];
    for (list, containers) in lists {
        for (index, container) in containers.into_iter().flatten().enumerate() {
            let mut known = BTreeSet::new();
            for (place, variable) in container.env.iter().flatten().enumerate() {
                if !known.insert(&variable.name) {
                    warnings.push(format!(
                        "spec.{list}[{index}].env[{place}]: hides previous definition of {:?}, which may be dropped \
                         when using apply",
                        variable.name
                    ));
                }
            }
        }
    }
    warnings
}
