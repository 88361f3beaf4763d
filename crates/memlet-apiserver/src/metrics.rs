//! `/metrics`: what this server did, in upstream's names.
//!
//! Labels come only from what is served, never from what a client sent, so that no client can make the server remember
//! names without end.

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{Method, StatusCode};
use jiff::Timestamp;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric, prometheus_text};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::discovery::ServedResource;
use crate::reply::Reply;
use crate::request::{Query, ResourcePath};
use crate::storage::Storage;
use crate::{resources, version};

/// The bounds of durations, in seconds.
const BOUNDS: [f64; 12] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Asked {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
}

/// What was asked, and how it was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    verb: &'static str,
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    subresource: &'static str,
    scope: &'static str,
    component: &'static str,
    dry_run: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfResource {
    group: &'static str,
    resource: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Build {
    git_version: &'static str,
    major: &'static str,
    minor: &'static str,
}

/// The server's own figures. Cheap to clone; all clones count together.
#[derive(Clone)]
pub(crate) struct Metrics(Arc<Figures>);

struct Figures {
    registry: Registry,
    requests: Family<Answered, Counter>,
    durations: Family<Asked, Histogram, fn() -> Histogram>,
}

impl Asked {
    /// Something about a resource.
    pub(crate) fn of_resource(method: &Method, path: &ResourcePath, query: &Query) -> Self {
        let served = resources::described();
        let known = served.iter().find(|resource| {
            (resource.kind.group, resource.kind.version, resource.plural)
                == (path.group.as_str(), path.version.as_str(), path.resource.as_str())
        });
        let subresource = path.subresource.as_deref().and_then(|name| {
            known?.subresources.iter().find(|known| known.name == name).map(|known| known.name)
        });
        let scope = match (&path.name, &path.namespace) {
            (Some(_), _) => "resource",
            (None, Some(_)) => "namespace",
            (None, None) => "cluster",
        };
        let verb = verb(method, path.name.is_none(), query);
        Self { scope, subresource: subresource.unwrap_or_default(), ..Self::unserved(verb, known) }
    }

    /// Something about the server itself.
    pub(crate) fn of_server(method: &Method) -> Self {
        Self::unserved(verb(method, false, &Query::default()), None)
    }

    fn unserved(verb: &'static str, known: Option<&ServedResource>) -> Self {
        Self {
            verb,
            group: known.map_or("", |resource| resource.kind.group),
            version: known.map_or("", |resource| resource.kind.version),
            resource: known.map_or("", |resource| resource.plural),
            subresource: "",
            scope: "",
            component: "apiserver",
        }
    }
}

fn verb(method: &Method, collection: bool, query: &Query) -> &'static str {
    match *method {
        Method::GET if query.flag("watch") => "WATCH",
        Method::GET if collection => "LIST",
        Method::GET | Method::HEAD => "GET",
        Method::DELETE if collection => "DELETECOLLECTION",
        Method::DELETE => "DELETE",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        _ => "other",
    }
}

impl Metrics {
    pub(crate) fn new(storage: Arc<Storage>) -> Self {
        let mut registry = Registry::default();
        let requests = Family::<Answered, Counter>::default();
        registry.register(
            "apiserver_request",
            "Requests that were answered, by what was asked and the code of the answer",
            requests.clone(),
        );
        let durations: Family<Asked, Histogram, fn() -> Histogram> =
            Family::new_with_constructor(|| Histogram::new(BOUNDS));
        registry.register(
            "apiserver_request_duration_seconds",
            "Time to the start of the answer",
            durations.clone(),
        );
        let build = Family::<Build, Gauge>::default();
        build.get_or_create(&Build { git_version: version::GIT_VERSION, major: "1", minor: "37" }).set(1);
        registry.register("kubernetes_build_info", "The Kubernetes release whose API this is", build);
        registry.register(
            "process_start_time_seconds",
            "When this process started, in seconds since 1970",
            ConstGauge::new(started()),
        );
        registry.register_collector(Box::new(StoredObjects(storage)));
        Self(Arc::new(Figures { registry, requests, durations }))
    }

    /// Counts an answer.
    pub(crate) fn record(&self, asked: &Asked, dry_run: bool, code: StatusCode, since: Instant) {
        let Asked { verb, group, version, resource, subresource, scope, component } = *asked;
        let dry_run = if dry_run { "All" } else { "" };
        let code = code.as_u16();
        let answered =
            Answered { verb, group, version, resource, subresource, scope, component, dry_run, code };
        self.0.requests.get_or_create(&answered).inc();
        // A watch is answered for as long as the client likes: its duration says nothing.
        if verb != "WATCH" {
            self.0.durations.get_or_create(asked).observe(since.elapsed().as_secs_f64());
        }
    }

    /// `/metrics`.
    pub(crate) fn answer(&self) -> Reply {
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = prometheus_text::encode(&mut text, &self.0.registry);
        Reply::text(StatusCode::OK, Bytes::from(text)).with_media_type(prometheus_text::CONTENT_TYPE)
    }
}

/// When this process started, as `/proc` tells it to the hundredth of a second; now, if it does not.
fn started() -> f64 {
    let ticks = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| {
        // The name of the program, in brackets, may hold anything; the start is the 20th field behind it.
        stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse::<u32>().ok()
    });
    let boot = std::fs::read_to_string("/proc/stat").ok().and_then(|stat| {
        stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u32>().ok()
    });
    match (ticks, boot) {
        // The kernel shows users 100 ticks a second on every architecture that this runs on.
        (Some(ticks), Some(boot)) => f64::from(boot) + f64::from(ticks) / 100.0,
        _ => Timestamp::now().duration_since(Timestamp::UNIX_EPOCH).as_secs_f64(),
    }
}

/// Counts the stored objects when it is asked.
#[derive(Clone)]
struct StoredObjects(Arc<Storage>);

impl std::fmt::Debug for StoredObjects {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("StoredObjects")
    }
}

impl Collector for StoredObjects {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let counts = Family::<OfResource, Gauge>::default();
        for served in resources::described().into_iter().filter(|served| served.stored) {
            let labels = OfResource { group: served.kind.group, resource: served.plural };
            let count = self.0.list(served.plural, None, None).objects.len();
            counts.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        let metric = encoder.encode_descriptor(
            "apiserver_resource_objects",
            "Objects that are stored",
            None,
            prometheus_client::metrics::MetricType::Gauge,
        )?;
        counts.encode(metric)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::storage::HistoryLimits;

    #[test]
    fn labels_are_names_of_what_is_served() {
        let path = |resource: &str, subresource: Option<&str>| ResourcePath {
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            name: Some("a".to_owned()),
            subresource: subresource.map(str::to_owned),
            ..ResourcePath::default()
        };
        let asked =
            |path: &ResourcePath| Asked::of_resource(&Method::GET, path, &Query::parse("watch=false"));
        let status = asked(&path("pods", Some("status")));
        assert_eq!((status.resource, status.subresource, status.verb), ("pods", "status", "GET"));
        assert_eq!(asked(&path("pods", Some("made-up"))).subresource, "");
        assert_eq!(asked(&path("made-up", None)).resource, "");
    }

    #[test]
    fn answers_are_counted() {
        let storage = Storage::in_memory(["pods", "nodes"], HistoryLimits::default());
        let metrics = Metrics::new(Arc::new(storage));
        let asked = Asked::of_server(&Method::GET);
        metrics.record(&asked, false, StatusCode::OK, Instant::now());
        let earlier = Instant::now().checked_sub(Duration::from_millis(20)).unwrap();
        metrics.record(&asked, false, StatusCode::OK, earlier);
        let mut text = String::new();
        prometheus_text::encode(&mut text, &metrics.0.registry).unwrap();
        for line in [
            "# TYPE apiserver_request_total counter",
            r#"apiserver_request_total{verb="GET",group="",version="",resource="",subresource="",scope="",component="apiserver",dry_run="",code="200"} 2"#,
            r#"apiserver_resource_objects{group="",resource="pods"} 0"#,
            r#"kubernetes_build_info{git_version="v1.37.0+memlet",major="1",minor="37"} 1"#,
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let now = Timestamp::now().duration_since(Timestamp::UNIX_EPOCH).as_secs_f64();
        assert!((0.0..3600.0).contains(&(now - started())), "{}", started());
    }
}
