//! `/healthz`, `/livez`, `/readyz`: whether the server can serve, check by check.

use bytes::Bytes;
use http::StatusCode;

use crate::error::ApiError;
use crate::reply::Reply;
use crate::request::Query;
use crate::resources;
use crate::storage::Key;
use crate::verbs::Core;

const ENDPOINTS: [&str; 3] = ["healthz", "livez", "readyz"];

struct Check {
    name: &'static str,
    holds: fn(&Core) -> bool,
}

/// By upstream's names, where the check is upstream's.
const CHECKS: &[Check] = &[
    Check { name: "ping", holds: |_| true },
    Check { name: "storage-readiness", holds: |core| core.storage.revision() > 0 },
    Check { name: "poststarthook/start-system-namespaces-controller", holds: has_namespaces },
    Check { name: "poststarthook/scheduling/bootstrap-system-priority-classes", holds: has_system_classes },
];

fn has_namespaces(core: &Core) -> bool {
    resources::INITIAL_NAMESPACES
        .iter()
        .all(|name| core.storage.get("namespaces", &Key::new("", *name)).is_some())
}

fn has_system_classes(core: &Core) -> bool {
    resources::system_classes()
        .all(|(name, _)| core.storage.get("priorityclasses", &Key::new("", name)).is_some())
}

/// All paths of health, for the index.
pub(crate) fn paths() -> impl Iterator<Item = String> {
    ENDPOINTS.into_iter().flat_map(|endpoint| {
        let checks = CHECKS.iter().map(move |check| format!("/{endpoint}/{}", check.name));
        std::iter::once(format!("/{endpoint}")).chain(checks)
    })
}

/// `/readyz`, or one check of it, `?verbose` and `?exclude=…` included.
pub(crate) fn answer(
    core: &Core,
    endpoint: &str,
    check: Option<&str>,
    query: &Query,
) -> Result<Reply, ApiError> {
    if let Some(name) = check {
        let check = CHECKS.iter().find(|check| check.name == name).ok_or_else(ApiError::no_such_path)?;
        return Ok(if (check.holds)(core) {
            Reply::text(StatusCode::OK, "ok")
        } else {
            Reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{name} does not hold\n"))
        });
    }
    let excluded: Vec<&str> = query.all("exclude").collect();
    let mut text = String::new();
    let mut healthy = true;
    for check in CHECKS {
        if excluded.contains(&check.name) {
            text.push_str(&format!("[+]{} excluded: ok\n", check.name));
        } else if (check.holds)(core) {
            text.push_str(&format!("[+]{} ok\n", check.name));
        } else {
            healthy = false;
            text.push_str(&format!("[-]{} failed: reason withheld\n", check.name));
        }
    }
    let (status, body): (_, Bytes) = match (healthy, query.flag("verbose")) {
        (true, false) => (StatusCode::OK, "ok".into()),
        (true, true) => (StatusCode::OK, format!("{text}{endpoint} check passed\n").into()),
        (false, _) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{text}{endpoint} check failed\n").into()),
    };
    Ok(Reply::text(status, body))
}
