//! Image names, normalised as container runtimes do (the grammar of github.com/distribution/reference).
//!
//! `busybox` means `docker.io/library/busybox:latest`. A name with both tag and digest keeps the digest
//! alone, as containerd's CRI does, since the digest already says which image is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const OFFICIAL: &str = "library/";
const LONGEST_REPOSITORY: usize = 255;
const LONGEST_TAG: usize = 128;

/// A full image name: registry, repository, and a tag or a digest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct ImageName {
    registry: String,
    repository: String,
    version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Version {
    Tag(String),
    Digest(Digest),
}

/// Why a text is no image name.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not an image name: {reason}")]
pub struct BadName {
    name: String,
    reason: &'static str,
}

impl ImageName {
    /// The registry's host, `docker.io` where the name left it out.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path within the registry, as in `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, unless the name gives a digest.
    pub fn tag(&self) -> Option<&str> {
        match &self.version {
            Version::Tag(tag) => Some(tag),
            Version::Digest(_) => None,
        }
    }

    /// The digest, where the name gives one.
    pub fn digest(&self) -> Option<Digest> {
        match &self.version {
            Version::Tag(_) => None,
            Version::Digest(digest) => Some(*digest),
        }
    }

    /// The name as people write it: without `docker.io/`, `library/` and `:latest`.
    pub fn familiar(&self) -> String {
        let repository = match self.registry.as_str() {
            DEFAULT_REGISTRY => {
                let official = self.repository.strip_prefix(OFFICIAL).filter(|rest| !rest.contains('/'));
                official.unwrap_or(&self.repository).to_owned()
            }
            registry => format!("{registry}/{}", self.repository),
        };
        match &self.version {
            Version::Tag(tag) if tag == "latest" => repository,
            Version::Tag(tag) => format!("{repository}:{tag}"),
            Version::Digest(digest) => format!("{repository}@{digest}"),
        }
    }
}

impl FromStr for ImageName {
    type Err = BadName;

    fn from_str(name: &str) -> Result<Self, BadName> {
        let bad = |reason| BadName { name: name.to_owned(), reason };
        if name.is_empty() {
            return Err(bad("it is empty"));
        }
        if Digest::from_hex(name).is_some() {
            return Err(bad("64 hex digits are an image's id"));
        }
        let (rest, digest) = match name.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| bad("after @ it wants sha256:<64 hex digits>"))?;
                (rest, Some(digest))
            }
            None => (name, None),
        };
        let (registry, path) = split_registry(rest);
        // A colon before the last slash belongs to the registry's port, which is already cut off.
        let (path, tag) = match path.rsplit_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (path, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(bad(
                "a tag is 1 to 128 letters, digits, '_', '.' and '-', not starting with '.' or '-'",
            ));
        }
        if !is_registry(registry) {
            return Err(bad("its registry is not a host name with an optional port"));
        }
        if path.bytes().any(|b| b.is_ascii_uppercase()) {
            return Err(bad("a repository is written in lower case"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(bad(
                "a repository is lower-case letters and digits, joined by '.', '_', '__', '-' or '/'",
            ));
        }
        let repository = match registry {
            DEFAULT_REGISTRY if !path.contains('/') => format!("{OFFICIAL}{path}"),
            _ => path.to_owned(),
        };
        if registry.len() + 1 + repository.len() > LONGEST_REPOSITORY {
            return Err(bad("it is longer than 255 characters"));
        }
        let version = match digest {
            Some(digest) => Version::Digest(digest),
            None => Version::Tag(tag.unwrap_or("latest").to_owned()),
        };
        Ok(Self { registry: registry.to_owned(), repository, version })
    }
}

/// The first component is a registry if it could not be the start of a Docker Hub repository.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first == "localhost"
                || first.contains(['.', ':'])
                || first.bytes().any(|b| b.is_ascii_uppercase()) =>
        {
            (if first == "index.docker.io" { DEFAULT_REGISTRY } else { first }, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_registry(registry: &str) -> bool {
    let (host, port) = match registry.rsplit_once(':') {
        // An IPv6 address keeps its colons inside brackets.
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (registry, None),
    };
    let port_ok = port.is_none_or(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()));
    let host_ok = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<std::net::Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            let bytes = label.as_bytes();
            let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
            edge(bytes.first())
                && edge(bytes.last())
                && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-')
        }),
    };
    port_ok && host_ok
}

/// `[a-z0-9]+` runs joined by one `.`, one or two `_`, or any number of `-`.
fn is_path_component(component: &str) -> bool {
    let is_alphanumeric = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let edge = |b: Option<&u8>| b.is_some_and(|b| is_alphanumeric(*b));
    edge(component.as_bytes().first())
        && edge(component.as_bytes().last())
        && component.split(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit()).all(|separator| {
            matches!(separator, "" | "." | "_" | "__") || separator.bytes().all(|b| b == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    tag.len() <= LONGEST_TAG
        && tag.bytes().next().is_some_and(word)
        && tag.bytes().all(|b| word(b) || b == b'.' || b == b'-')
}

impl TryFrom<String> for ImageName {
    type Error = BadName;

    fn try_from(name: String) -> Result<Self, BadName> {
        name.parse()
    }
}

impl From<ImageName> for String {
    fn from(name: ImageName) -> Self {
        name.to_string()
    }
}

impl fmt::Display for ImageName {
    /// The full form, as in `docker.io/library/busybox:latest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.repository)?;
        match &self.version {
            Version::Tag(tag) => write!(f, ":{tag}"),
            Version::Digest(digest) => write!(f, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HEX: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn normalises_as_container_runtimes_do() {
        let by_digest = format!("docker.io/library/busybox@sha256:{HEX}");
        let table = [
            ("busybox", "docker.io/library/busybox:latest", "busybox"),
            ("busybox:1.36", "docker.io/library/busybox:1.36", "busybox:1.36"),
            ("library/busybox", "docker.io/library/busybox:latest", "busybox"),
            ("docker.io/busybox", "docker.io/library/busybox:latest", "busybox"),
            ("index.docker.io/busybox", "docker.io/library/busybox:latest", "busybox"),
            ("team/app", "docker.io/team/app:latest", "team/app"),
            ("localhost/app", "localhost/app:latest", "localhost/app"),
            ("localhost:5000/app:v1", "localhost:5000/app:v1", "localhost:5000/app:v1"),
            ("app:5000", "docker.io/library/app:5000", "app:5000"),
            ("memlet.dev/memory-eater", "memlet.dev/memory-eater:latest", "memlet.dev/memory-eater"),
            ("ghcr.io/a/b/c__d-e.f:V_1.2-x", "ghcr.io/a/b/c__d-e.f:V_1.2-x", "ghcr.io/a/b/c__d-e.f:V_1.2-x"),
            ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app"),
            ("MyHost/app", "MyHost/app:latest", "MyHost/app"),
            (&by_digest, &by_digest, &format!("busybox@sha256:{HEX}")),
            (&format!("busybox:1.36@sha256:{HEX}"), &by_digest, &format!("busybox@sha256:{HEX}")),
        ];
        for (name, full, familiar) in table {
            let parsed: ImageName = name.parse().unwrap_or_else(|bad| panic!("{bad}"));
            assert_eq!(parsed.to_string(), full, "{name}");
            assert_eq!(parsed.familiar(), familiar, "{name}");
        }
    }

    #[test]
    fn refuses_what_is_no_name() {
        let long = "a".repeat(256);
        let long_tag = format!("a:{}", "t".repeat(129));
        for name in [
            "",
            HEX,
            "Busybox",
            "a//b",
            "/a",
            "a/",
            "a:",
            "a:-x",
            "a:b:c",
            "a@sha256:00",
            "a@",
            "a b",
            "a..b",
            "a___b",
            "-a",
            "a-",
            "host.:5000/a",
            "host:port/a",
            "a.b/",
            "../etc/passwd",
            "a/../b",
            "ä",
            &long,
            &long_tag,
        ] {
            assert!(name.parse::<ImageName>().is_err(), "{name:?} was taken for a name");
        }
    }

    proptest! {
        #[test]
        fn the_full_form_reads_back_as_itself(name in "([a-z0-9.:-]{1,12}/)?[a-z0-9._/-]{1,20}(:[A-Za-z0-9._-]{1,8})?") {
            if let Ok(parsed) = name.parse::<ImageName>() {
                prop_assert_eq!(parsed.to_string().parse::<ImageName>().unwrap(), parsed.clone());
                prop_assert_eq!(parsed.familiar().parse::<ImageName>().unwrap(), parsed);
            }
        }
    }
}
