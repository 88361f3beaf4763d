//! What makes a limit range refused (upstream's `ValidateLimitRange`).

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::api::core::v1::{LimitRange, LimitRangeItem};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity as ApiQuantity;
use memlet_policy::limit_range::{CONTAINER, POD};
use memlet_policy::quantity::{Format, Quantity};
use memlet_policy::resources::amount;

use crate::field::{FieldErrors, FieldPath};
use crate::names;
use crate::resources::pod::check_resource_name;
use crate::resources::resource_names;

const CLAIM: &str = "PersistentVolumeClaim";
/// From here on upstream divides whole units, because thousandths would overflow its integers.
const LARGEST_IN_THOUSANDTHS: i64 = i64::MAX / 1000;

type Table<'a> = Option<&'a BTreeMap<String, ApiQuantity>>;

pub(super) fn validate(range: &LimitRange, errors: &mut FieldErrors) {
    let path = FieldPath::new("spec.limits");
    let items = range.spec.as_ref().map(|spec| spec.limits.as_slice()).unwrap_or_default();
    for (index, item) in items.iter().enumerate() {
        let path = path.index(index);
        check_type(&item.type_, &path.child("type"), errors);
        if items.iter().take(index).any(|other| other.type_ == item.type_) {
            errors.duplicate(&path.child("type"), &item.type_);
        }
        check_tables(item, &path, errors);
        let bounds = [item.max.as_ref(), item.min.as_ref(), item.max_limit_request_ratio.as_ref()];
        let defaults = [item.default.as_ref(), item.default_request.as_ref()];
        // The defaults of a Pod are refused as such.
        let defaults = defaults.into_iter().filter(|_| item.type_ != POD);
        let names: BTreeSet<&String> =
            bounds.into_iter().chain(defaults).flatten().flat_map(BTreeMap::keys).collect();
        for name in names {
            Bounds::of(item, name).check(name, &path, errors);
        }
    }
}

fn check_type(of: &str, path: &FieldPath, errors: &mut FieldErrors) {
    let messages = names::qualified(of);
    if messages.is_empty() && !of.contains('/') && ![CONTAINER, POD, CLAIM].contains(&of) {
        errors.invalid(path, of, "must be a standard limit type or fully qualified");
    }
    errors.each_invalid(path, of, messages);
}

/// Which tables an item of its type may have, and what may be named in them.
fn check_tables(item: &LimitRangeItem, path: &FieldPath, errors: &mut FieldErrors) {
    let of = item.type_.as_str();
    let check_names = |field: &str, table: Table<'_>, errors: &mut FieldErrors| {
        for name in table.into_iter().flat_map(BTreeMap::keys) {
            let path = path.child(field).key(name);
            if [CONTAINER, POD].contains(&of) {
                check_resource_name(name, &path, errors);
            } else {
                resource_names::check(name, &path, errors);
            }
        }
    };
    check_names("max", item.max.as_ref(), errors);
    check_names("min", item.min.as_ref(), errors);
    for (field, table) in
        [("default", item.default.as_ref()), ("defaultRequest", item.default_request.as_ref())]
    {
        if of != POD {
            check_names(field, table, errors);
        } else if table.is_some_and(|table| !table.is_empty()) {
            errors.forbidden(&path.child(field), "may not be specified when `type` is 'Pod'");
        }
    }
    let has_storage = |table: Table<'_>| table.is_some_and(|table| table.contains_key("storage"));
    if of == CLAIM && !has_storage(item.min.as_ref()) && !has_storage(item.max.as_ref()) {
        let detail = "either minimum or maximum storage value is required, but neither was provided";
        errors.required(&path.child("limits"), detail);
    }
    check_names("maxLimitRequestRatio", item.max_limit_request_ratio.as_ref(), errors);
}

/// What an item says about one resource.
struct Bounds {
    min: Option<Quantity>,
    max: Option<Quantity>,
    default: Option<Quantity>,
    default_request: Option<Quantity>,
    ratio: Option<Quantity>,
}

impl Bounds {
    fn of(item: &LimitRangeItem, name: &str) -> Self {
        let default = |table: Table<'_>| amount(table, name).filter(|_| item.type_ != POD);
        Self {
            min: amount(item.min.as_ref(), name),
            max: amount(item.max.as_ref(), name),
            default: default(item.default.as_ref()),
            default_request: default(item.default_request.as_ref()),
            ratio: amount(item.max_limit_request_ratio.as_ref(), name),
        }
    }

    fn check(&self, name: &str, path: &FieldPath, errors: &mut FieldErrors) {
        let Self { min, max, default, default_request, .. } = self;
        let mut in_order = |lower: &Option<Quantity>, upper: &Option<Quantity>, rule: Rule| {
            let (Some(low), Some(high)) = (lower, upper) else { return };
            if low > high {
                let value = if rule.names_upper { high } else { low };
                let detail =
                    format!("{} value {low} is greater than {} value {high}", rule.lower, rule.upper);
                errors.invalid(&path.child(rule.field).key(name), value.to_string(), detail);
            }
        };
        in_order(min, max, Rule::new("min", "min", "max"));
        in_order(min, default_request, Rule::new("defaultRequest", "min", "default request").naming_upper());
        in_order(default_request, max, Rule::new("defaultRequest", "default request", "max"));
        in_order(default_request, default, Rule::new("defaultRequest", "default request", "default limit"));
        // The values that upstream names for these two are not those of the field.
        in_order(min, default, Rule::new("default", "min", "default"));
        in_order(default, max, Rule::new("default", "default", "max").naming_upper());
        self.check_ratio(&path.child("maxLimitRequestRatio").key(name), errors);
        if let (Some(default), Some(request)) = (default, default_request)
            && default != request
            && !resource_names::may_be_overcommitted(name)
        {
            let detail =
                format!("default value {default} must equal to defaultRequest value {request} in {name}");
            errors.invalid(&path.child("defaultRequest").key(name), request.to_string(), detail);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "upstream divides floating-point numbers")]
    fn check_ratio(&self, path: &FieldPath, errors: &mut FieldErrors) {
        let Some(ratio) = &self.ratio else { return };
        if *ratio < Quantity::from_integer(1, Format::DecimalSi) {
            errors.invalid(path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
        }
        let (Some(min), Some(max)) = (&self.min, &self.max) else { return };
        let exact = [ratio, min, max].iter().all(|amount| amount.value() < LARGEST_IN_THOUSANDTHS);
        let (most, stated) = if exact {
            (max.milli_value() as f64 / min.milli_value() as f64, ratio.milli_value() as f64 / 1000.0)
        } else {
            (max.value() as f64 / min.value() as f64, ratio.value() as f64)
        };
        if stated > most {
            let detail = format!("ratio {ratio} is greater than max/min = {most:.6}");
            errors.invalid(path, ratio.to_string(), detail);
        }
    }
}

/// How upstream tells that two amounts are in the wrong order.
struct Rule {
    field: &'static str,
    lower: &'static str,
    upper: &'static str,
    /// Whether the value that is told is the upper one.
    names_upper: bool,
}

impl Rule {
    fn new(field: &'static str, lower: &'static str, upper: &'static str) -> Self {
        Self { field, lower, upper, names_upper: false }
    }

    fn naming_upper(self) -> Self {
        Self { names_upper: true, ..self }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::error::ApiError;
    use crate::kind::ServedKind as _;

    fn refused(items: &Value) -> String {
        let object = json!({"metadata": {"name": "r"}, "spec": {"limits": items}});
        let mut range: LimitRange = serde_json::from_value(object).unwrap();
        range.canonicalize().unwrap();
        range.apply_defaults();
        let mut errors = FieldErrors::default();
        validate(&range, &mut errors);
        if errors.is_empty() {
            return "good".to_owned();
        }
        let error = ApiError::invalid("LimitRange", "r", errors);
        error.status().message.clone().unwrap().replace("LimitRange \"r\" is invalid: ", "")
    }

    #[test]
    fn what_is_refused_in_upstreams_words() {
        let cases = [
            json!([{"type": "Container", "default": {"memory": "512Mi"}, "defaultRequest": {"memory": "256Mi"}}]),
            json!([{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]),
            json!([{"type": "Container", "min": {"memory": "2Gi"}, "max": {"memory": "1Gi"}}]),
            json!([{"type": "Pod", "min": {"memory": "2Gi"}, "max": {"memory": "1Gi"}}]),
            json!([{"type": "Container", "min": {"memory": "2Gi"}, "defaultRequest": {"memory": "1Gi"}}]),
            json!([{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "500m"}, "defaultRequest": {"cpu": "2"}}]),
            json!([{"type": "Container", "max": {"cpu": "1"}, "default": {"cpu": "2"}, "defaultRequest": {"cpu": "1"}}]),
            json!([{"type": "Container", "min": {"cpu": "2"}, "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}}]),
            json!([{"type": "Pod", "maxLimitRequestRatio": {"cpu": "800m"}}]),
            json!([{"type": "Pod", "max": {"memory": "2Gi"}, "min": {"memory": "512Mi"}, "maxLimitRequestRatio": {"memory": "10"}}]),
            json!([{"type": "Pod", "default": {"memory": "1Gi"}, "defaultRequest": {"memory": "1Gi"}}]),
            json!([{"type": "Pod"}, {"type": "Pod"}]),
            json!([{"type": "Node"}, {"type": "example.com/Thing"}]),
            json!([{"type": "Container", "max": {"foo": "1"}}]),
            json!([{"type": "PersistentVolumeClaim", "max": {"memory": "1Gi", "foo": "1"}}]),
            json!([{"type": "Container", "default": {"hugepages-2Mi": "4Mi"}, "defaultRequest": {"hugepages-2Mi": "2Mi"}}]),
        ];
        insta::assert_snapshot!(cases.iter().map(refused).collect::<Vec<_>>().join("\n"), @r#"
        good
        good
        [spec.limits[0].min[memory]: Invalid value: "2Gi": min value 2Gi is greater than max value 1Gi, spec.limits[0].defaultRequest[memory]: Invalid value: "1Gi": min value 2Gi is greater than default request value 1Gi, spec.limits[0].default[memory]: Invalid value: "2Gi": min value 2Gi is greater than default value 1Gi]
        spec.limits[0].min[memory]: Invalid value: "2Gi": min value 2Gi is greater than max value 1Gi
        spec.limits[0].defaultRequest[memory]: Invalid value: "1Gi": min value 2Gi is greater than default request value 1Gi
        [spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than max value 1, spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default limit value 500m]
        spec.limits[0].default[cpu]: Invalid value: "1": default value 2 is greater than max value 1
        [spec.limits[0].defaultRequest[cpu]: Invalid value: "2": default request value 2 is greater than default limit value 1, spec.limits[0].default[cpu]: Invalid value: "2": min value 2 is greater than default value 1]
        spec.limits[0].maxLimitRequestRatio[cpu]: Invalid value: "800m": ratio 800m is less than 1
        spec.limits[0].maxLimitRequestRatio[memory]: Invalid value: "10": ratio 10 is greater than max/min = 4.000000
        [spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod', spec.limits[0].defaultRequest: Forbidden: may not be specified when `type` is 'Pod']
        spec.limits[1].type: Duplicate value: "Pod"
        spec.limits[0].type: Invalid value: "Node": must be a standard limit type or fully qualified
        [spec.limits[0].max[foo]: Invalid value: "foo": must be a standard resource type or fully qualified, spec.limits[0].max[foo]: Invalid value: "foo": must be a standard resource for containers, spec.limits[0].default[foo]: Invalid value: "foo": must be a standard resource type or fully qualified, spec.limits[0].default[foo]: Invalid value: "foo": must be a standard resource for containers, spec.limits[0].defaultRequest[foo]: Invalid value: "foo": must be a standard resource type or fully qualified, spec.limits[0].defaultRequest[foo]: Invalid value: "foo": must be a standard resource for containers]
        [spec.limits[0].max[foo]: Invalid value: "foo": must be a standard resource type or fully qualified, spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided]
        spec.limits[0].defaultRequest[hugepages-2Mi]: Invalid value: "2Mi": default value 4Mi must equal to defaultRequest value 2Mi in hugepages-2Mi
        "#);
    }
}
