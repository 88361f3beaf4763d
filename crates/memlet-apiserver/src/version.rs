//! `/version`: the Kubernetes release whose API this is.

use http::StatusCode;
use serde_json::json;

use crate::reply::Reply;

/// The major and minor number of that release.
const RELEASE: (&str, &str) = ("1", "37");
/// The oldest minor release whose behaviour could be asked for.
const OLDEST_COMPATIBLE: &str = "36";
/// The version by which clients judge what the server can do.
pub(crate) const GIT_VERSION: &str = "v1.37.0+memlet";

/// `/version`, with all the fields that upstream answers.
pub(crate) fn answer() -> Reply {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let version = json!({
        "major": RELEASE.0,
        "minor": RELEASE.1,
        "emulationMajor": RELEASE.0,
        "emulationMinor": RELEASE.1,
        "minCompatibilityMajor": RELEASE.0,
        "minCompatibilityMinor": OLDEST_COMPATIBLE,
        "gitVersion": GIT_VERSION,
        "gitCommit": "unknown",
        "gitTreeState": "clean",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "none",
        "compiler": "rustc",
        "platform": format!("linux/{architecture}"),
    });
    let json = serde_json::to_vec_pretty(&version).unwrap_or_default();
    Reply::document(StatusCode::OK, json.into())
}
