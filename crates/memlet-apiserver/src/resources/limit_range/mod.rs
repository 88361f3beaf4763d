//! Limit ranges: what Pods of a namespace get that say nothing, and what they may say. What a range does to a Pod is
//! `memlet-policy`'s; `pod::limits` asks for it.

mod validation;

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use memlet_policy::limit_range;
use serde_json::{Value, json};

use super::node::canonical_amounts;
use crate::field::FieldErrors;
use crate::kind::{Place, ServedKind};

impl ServedKind for LimitRange {
    const NAMESPACED: bool = true;
    const SHORT_NAMES: &'static [&'static str] = &["limits"];

    fn blank() -> Value {
        json!({ "metadata": {}, "spec": { "limits": null } })
    }

    fn quantity_places() -> &'static [Place] {
        &[
            &["spec", "limits", "*", "default", "*"],
            &["spec", "limits", "*", "defaultRequest", "*"],
            &["spec", "limits", "*", "max", "*"],
            &["spec", "limits", "*", "maxLimitRequestRatio", "*"],
            &["spec", "limits", "*", "min", "*"],
        ]
    }

    fn canonicalize(&mut self) -> Result<(), String> {
        for item in items(self) {
            canonical_amounts(&mut item.default)?;
            canonical_amounts(&mut item.default_request)?;
            canonical_amounts(&mut item.max)?;
            canonical_amounts(&mut item.max_limit_request_ratio)?;
            canonical_amounts(&mut item.min)?;
        }
        Ok(())
    }

    fn apply_defaults(&mut self) {
        items(self).for_each(limit_range::default_item);
    }

    fn validate(&self, errors: &mut FieldErrors) {
        validation::validate(self, errors);
    }
}

fn items(range: &mut LimitRange) -> impl Iterator<Item = &mut LimitRangeItem> {
    range.spec.iter_mut().flat_map(|spec| &mut spec.limits)
}
