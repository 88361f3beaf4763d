//! One bound on one resource: what is wrong with what was observed, in upstream's words.

use crate::quantity::Quantity;
use crate::resources::Amounts;

/// From here on upstream compares whole units, because thousandths would overflow its integers.
const LARGEST_IN_THOUSANDTHS: i64 = i64::MAX / 1000;

/// The two sides of one container, or of a whole Pod.
pub(super) struct Observed {
    pub(super) requests: Amounts,
    pub(super) limits: Amounts,
}

impl Observed {
    fn of(&self, resource: &str) -> (Option<&Quantity>, Option<&Quantity>) {
        (self.requests.get(resource), self.limits.get(resource))
    }
}

/// Request, limit and bound as integers that can be compared; absent amounts are zero.
fn comparable(request: Option<&Quantity>, limit: Option<&Quantity>, bound: &Quantity) -> (i64, i64, i64) {
    let all = [request, limit, Some(bound)];
    let whole = all.map(|amount| amount.map_or(0, Quantity::value));
    let exact = whole.iter().all(|value| *value <= LARGEST_IN_THOUSANDTHS);
    let [request, limit, bound] =
        if exact { all.map(|amount| amount.map_or(0, Quantity::milli_value)) } else { whole };
    (request, limit, bound)
}

pub(super) fn smallest(of: &str, resource: &str, bound: &Quantity, observed: &Observed) -> Option<String> {
    let (request, limit) = observed.of(resource);
    let (requested, limited, least) = comparable(request, limit, bound);
    let rule = format!("minimum {resource} usage per {of} is {bound}");
    match (request, limit) {
        (None, _) => Some(format!("{rule}.  No request is specified")),
        (Some(request), _) if requested < least => Some(format!("{rule}, but request is {request}")),
        (_, Some(limit)) if limited < least => Some(format!("{rule}, but limit is {limit}")),
        _ => None,
    }
}

pub(super) fn largest(of: &str, resource: &str, bound: &Quantity, observed: &Observed) -> Option<String> {
    let (request, limit) = observed.of(resource);
    let (requested, limited, most) = comparable(request, limit, bound);
    let rule = format!("maximum {resource} usage per {of} is {bound}");
    match (limit, request) {
        (None, _) => Some(format!("{rule}.  No limit is specified")),
        (Some(limit), _) if limited > most => Some(format!("{rule}, but limit is {limit}")),
        (_, Some(request)) if requested > most => Some(format!("{rule}, but request is {request}")),
        _ => None,
    }
}

#[expect(clippy::cast_precision_loss, reason = "upstream divides floating-point numbers")]
pub(super) fn ratio(of: &str, resource: &str, bound: &Quantity, observed: &Observed) -> Option<String> {
    let (request, limit) = observed.of(resource);
    let (requested, limited, _) = comparable(request, limit, bound);
    let rule = format!("{resource} max limit to request ratio per {of} is {bound}");
    if requested == 0 {
        return Some(format!("{rule}, but no request is specified or request is 0"));
    }
    if limited == 0 {
        return Some(format!("{rule}, but no limit is specified or limit is 0"));
    }
    let found = limited as f64 / requested as f64;
    let exceeds = if bound.value() <= LARGEST_IN_THOUSANDTHS {
        found * 1000.0 > bound.milli_value() as f64
    } else {
        found > bound.value() as f64
    };
    exceeds.then(|| format!("{rule}, but provided ratio is {found:.6}"))
}
