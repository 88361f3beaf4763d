//! A group's place within the hierarchy.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// An absolute path within the hierarchy, such as `/kubepods/burstable/pod…`; `/` is the visible root.
///
/// It can only be a place below the mount point: no `..`, no `.`, no empty piece.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CgroupPath(String);

/// Why a text is no [`CgroupPath`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{path:?} is not a cgroup path: {reason}; write it like /kubepods/pod1")]
pub struct ParsePathError {
    path: String,
    reason: &'static str,
}

impl CgroupPath {
    /// The root of the visible hierarchy, `/`.
    pub fn root() -> Self {
        Self("/".to_owned())
    }

    /// Whether this is `/`.
    pub fn is_root(&self) -> bool {
        self.0 == "/"
    }

    /// The place `below` this one: one piece (`pod1`) or more (`burstable/pod1`).
    ///
    /// # Errors
    /// Where `below` is absolute, empty, or has a piece no path may have.
    pub fn join(&self, below: &str) -> Result<Self, ParsePathError> {
        let parent = if self.is_root() { "" } else { &self.0 };
        format!("{parent}/{below}").parse()
    }

    /// The group above; `None` for `/`.
    pub fn parent(&self) -> Option<Self> {
        let (above, name) = self.0.rsplit_once('/')?;
        match (above, name) {
            (_, "") => None,
            ("", _) => Some(Self::root()),
            _ => Some(Self(above.to_owned())),
        }
    }

    /// The last piece; empty for `/`.
    pub fn name(&self) -> &str {
        self.0.rsplit('/').next().unwrap_or_default()
    }

    /// The pieces from the top down; none for `/`.
    pub fn pieces(&self) -> impl Iterator<Item = &str> {
        self.0.split('/').filter(|piece| !piece.is_empty())
    }

    /// Whether this is `ancestor` or below it.
    pub fn starts_with(&self, ancestor: &Self) -> bool {
        ancestor.is_root()
            || self.0.strip_prefix(&ancestor.0).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Where this is in the filesystem, given where the hierarchy is mounted.
    pub(crate) fn below(&self, mount_point: &Path) -> PathBuf {
        mount_point.join(self.0.trim_start_matches('/'))
    }
}

impl FromStr for CgroupPath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, ParsePathError> {
        let refused = |reason| Err(ParsePathError { path: text.to_owned(), reason });
        let Some(rest) = text.strip_prefix('/') else {
            return refused("it does not begin with /");
        };
        if rest.is_empty() {
            return Ok(Self::root());
        }
        for piece in rest.split('/') {
            match piece {
                "" => return refused("it has an empty piece"),
                "." | ".." => return refused("it has a . or .. piece"),
                // The kernel refuses a newline because its own files are lines of paths.
                _ if piece.contains(['\0', '\n']) => return refused("it has a NUL or a newline"),
                _ if piece.len() > 255 => return refused("a piece is longer than 255 bytes"),
                _ => {}
            }
        }
        Ok(Self(text.to_owned()))
    }
}

impl TryFrom<String> for CgroupPath {
    type Error = ParsePathError;

    fn try_from(text: String) -> Result<Self, ParsePathError> {
        text.parse()
    }
}

impl From<CgroupPath> for String {
    fn from(path: CgroupPath) -> Self {
        path.0
    }
}

impl fmt::Display for CgroupPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl AsRef<str> for CgroupPath {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn only_places_below_the_mount_point() {
        for good in ["/", "/a", "/kubepods/burstable/pod1", "/a b/...", "/system.slice/x@y.service"] {
            assert_eq!(good.parse::<CgroupPath>().unwrap().to_string(), good);
        }
        for bad in ["", "a", "a/b", "//", "/a/", "/a//b", "/..", "/a/../b", "/./a", "/a\nb", "/a\0"] {
            assert!(bad.parse::<CgroupPath>().is_err(), "{bad:?}");
        }
        assert!(format!("/{}", "x".repeat(256)).parse::<CgroupPath>().is_err());
        insta::assert_snapshot!("/a/..".parse::<CgroupPath>().unwrap_err(),
            @r#""/a/.." is not a cgroup path: it has a . or .. piece; write it like /kubepods/pod1"#);
    }

    #[test]
    fn goes_up_and_down() {
        let pod = CgroupPath::root().join("kubepods").unwrap().join("burstable/pod1").unwrap();
        assert_eq!(pod.as_str(), "/kubepods/burstable/pod1");
        assert_eq!(pod.name(), "pod1");
        assert_eq!(pod.parent().unwrap().as_str(), "/kubepods/burstable");
        assert_eq!("/a".parse::<CgroupPath>().unwrap().parent(), Some(CgroupPath::root()));
        assert_eq!(CgroupPath::root().parent(), None);
        for bad in ["", "/x", "..", "a/", "../../etc"] {
            assert!(pod.join(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn starts_with_whole_pieces_only() {
        let [kube, pod, other] =
            ["/kube", "/kube/pod", "/kubepods"].map(|p| p.parse::<CgroupPath>().unwrap());
        assert!(pod.starts_with(&kube) && kube.starts_with(&kube) && pod.starts_with(&CgroupPath::root()));
        assert!(!other.starts_with(&kube) && !kube.starts_with(&pod));
    }

    #[test]
    fn serialises_as_a_string_and_refuses_what_parse_refuses() {
        let path: CgroupPath = serde_json::from_str("\"/a/b\"").unwrap();
        assert_eq!(serde_json::to_string(&path).unwrap(), "\"/a/b\"");
        assert!(serde_json::from_str::<CgroupPath>("\"../b\"").is_err());
    }

    proptest! {
        #[test]
        fn never_leaves_the_mount_point(text in "[/.a]{0,12}") {
            if let Ok(path) = text.parse::<CgroupPath>() {
                let mount = Path::new("/mnt");
                prop_assert!(path.below(mount).starts_with(mount));
                prop_assert!(!text.split('/').any(|piece| piece == ".."));
            }
        }
    }
}
