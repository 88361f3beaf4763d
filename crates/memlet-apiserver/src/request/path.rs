//! The paths of the Kubernetes API.

use percent_encoding::percent_decode_str;

use crate::error::ApiError;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// `/`: the paths that there are.
    Index,
    /// `/healthz`, `/livez`, `/readyz`, and one check of them.
    Health {
        endpoint: String,
        check: Option<String>,
    },
    /// `/version`.
    Version,
    /// `/metrics`.
    Metrics,
    /// `/api`: the versions of the core group.
    CoreVersions,
    /// `/apis`: all other groups.
    Groups,
    /// `/apis/{group}`: the versions of one group.
    Group(String),
    /// `/api/{version}` and `/apis/{group}/{version}`: the resources of a version.
    Resources {
        group: String,
        version: String,
    },
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`: which documents there are.
    OpenApiIndex,
    /// `/openapi/v3/{path}`: the document of one group and version, by the path of its resources.
    OpenApiDocument(String),
    Resource(ResourcePath),
}

/// `/api/v1/namespaces/{namespace}/{resource}/{name}/{subresource}` and its shorter forms.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ResourcePath {
    /// Empty for the core group.
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) namespace: Option<String>,
    pub(crate) resource: String,
    pub(crate) name: Option<String>,
    pub(crate) subresource: Option<String>,
    /// What follows `nodes/{name}/proxy`: a path of the node's own server, without its first `/`.
    pub(crate) proxied: Option<String>,
}

impl Target {
    pub(crate) fn parse(path: &str) -> Result<Self, ApiError> {
        let segments: Option<Vec<String>> = path
            .trim_matches('/')
            .split('/')
            .map(|segment| percent_decode_str(segment).decode_utf8().ok().map(String::from))
            .collect();
        let segments = segments.ok_or_else(ApiError::no_such_path)?;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        let owned = |text: &str| text.to_owned();
        let (group, version, rest) = match &segments[..] {
            [""] => return Ok(Self::Index),
            [endpoint @ ("healthz" | "livez" | "readyz"), check @ ..] => {
                let check = (!check.is_empty()).then(|| check.join("/"));
                return Ok(Self::Health { endpoint: owned(endpoint), check });
            }
            ["version"] => return Ok(Self::Version),
            ["metrics"] => return Ok(Self::Metrics),
            ["openapi", "v2"] => return Ok(Self::OpenApiV2),
            ["openapi", "v3"] => return Ok(Self::OpenApiIndex),
            ["openapi", "v3", rest @ ..] => return Ok(Self::OpenApiDocument(rest.join("/"))),
            ["api"] => return Ok(Self::CoreVersions),
            ["apis"] => return Ok(Self::Groups),
            ["apis", group] => return Ok(Self::Group(owned(group))),
            ["api", version] => {
                return Ok(Self::Resources { group: String::new(), version: owned(version) });
            }
            ["apis", group, version] => {
                return Ok(Self::Resources { group: owned(group), version: owned(version) });
            }
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return Err(ApiError::no_such_path()),
        };
        let within =
            ResourcePath { group: group.to_owned(), version: version.to_owned(), ..Default::default() };
        within.complete(rest).map(Self::Resource).ok_or_else(ApiError::no_such_path)
    }
}

impl ResourcePath {
    fn complete(mut self, segments: &[&str]) -> Option<Self> {
        let owned = |text: &&str| Some((*text).to_owned());
        let rest = match segments {
            // The namespace object itself, and its own subresources.
            ["namespaces"] | ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => segments,
            ["namespaces", namespace, rest @ ..] => {
                self.namespace = owned(namespace);
                rest
            }
            _ => segments,
        };
        let (resource, name, subresource) = match rest {
            [resource] => (resource, None, None),
            [resource, name] => (resource, owned(name), None),
            [resource, name, subresource] => (resource, owned(name), owned(subresource)),
            [resource @ "nodes", name, subresource @ "proxy", proxied @ ..] => {
                self.proxied = Some(proxied.join("/"));
                (resource, owned(name), owned(subresource))
            }
            _ => return None,
        };
        (self.resource, self.name, self.subresource) = (owned(resource)?, name, subresource);
        let empty = |part: &Option<String>| part.as_deref() == Some("");
        let whole = !(self.resource.is_empty() || empty(&self.namespace) || empty(&self.name));
        whole.then_some(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_a_path() {
        for (path, expected) in [
            ("/api/v1/pods", ["", "v1", "-", "pods", "-", "-"]),
            ("/api/v1/namespaces/a/pods", ["", "v1", "a", "pods", "-", "-"]),
            ("/api/v1/namespaces/a/pods/b", ["", "v1", "a", "pods", "b", "-"]),
            ("/api/v1/namespaces/a/pods/b/status", ["", "v1", "a", "pods", "b", "status"]),
            ("/api/v1/namespaces", ["", "v1", "-", "namespaces", "-", "-"]),
            ("/api/v1/namespaces/a", ["", "v1", "-", "namespaces", "a", "-"]),
            ("/api/v1/namespaces/a/status", ["", "v1", "-", "namespaces", "a", "status"]),
            ("/api/v1/nodes/n%31", ["", "v1", "-", "nodes", "n1", "-"]),
            ("/apis/coordination.k8s.io/v1/leases", ["coordination.k8s.io", "v1", "-", "leases", "-", "-"]),
        ] {
            let Ok(Target::Resource(found)) = Target::parse(path) else { panic!("{path} is not a resource") };
            let parts = [
                Some(found.group),
                Some(found.version),
                found.namespace,
                Some(found.resource),
                found.name,
                found.subresource,
            ];
            assert_eq!(parts.map(|part| part.unwrap_or("-".to_owned())), expected, "{path}");
        }
    }

    #[test]
    fn a_path_of_a_node() {
        for (path, expected) in [
            ("/api/v1/nodes/n/proxy", None),
            ("/api/v1/nodes/n/proxy/", None),
            ("/api/v1/nodes/n/proxy/stats/summary", Some("stats/summary")),
            ("/api/v1/nodes/n/proxy/a%2fb", Some("a/b")),
        ] {
            let Ok(Target::Resource(found)) = Target::parse(path) else { panic!("{path} is not a resource") };
            assert_eq!(found.subresource.as_deref(), Some("proxy"), "{path}");
            assert_eq!(found.proxied.as_deref(), expected, "{path}");
        }
    }

    #[test]
    fn paths_about_the_server_itself() {
        let own = |text: &str| text.to_owned();
        for (path, expected) in [
            ("/", Target::Index),
            ("", Target::Index),
            ("/version/", Target::Version),
            ("/metrics", Target::Metrics),
            ("/livez", Target::Health { endpoint: own("livez"), check: None }),
            ("/readyz/a/b", Target::Health { endpoint: own("readyz"), check: Some(own("a/b")) }),
            ("/api", Target::CoreVersions),
            ("/api/v1", Target::Resources { group: own(""), version: own("v1") }),
            ("/apis/", Target::Groups),
            ("/apis/x", Target::Group(own("x"))),
            ("/apis/x/v1", Target::Resources { group: own("x"), version: own("v1") }),
            ("/openapi/v2", Target::OpenApiV2),
            ("/openapi/v3", Target::OpenApiIndex),
            ("/openapi/v3/apis/x/v1", Target::OpenApiDocument(own("apis/x/v1"))),
        ] {
            assert_eq!(Target::parse(path), Ok(expected), "{path}");
        }
    }

    #[test]
    fn other_paths_are_not_found() {
        for path in [
            "/api/v1/a/b/c/d",
            "/api/v1/nodes/n/status/x",
            "/api/v1/namespaces/a/pods/b/proxy/c",
            "/api/v1/namespaces//pods",
            "/x",
            "/api/v1/nodes/%ff",
        ] {
            assert!(Target::parse(path).is_err(), "{path}");
        }
    }
}
