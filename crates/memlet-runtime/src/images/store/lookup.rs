//! What a person or a Pod may call an image.

use super::super::digest::Digest;
use super::super::error::Error;
use super::super::name::ImageName;
use super::Names;

/// An image found.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: Digest,
    /// The name by which it was found, if it was by name.
    pub(super) by_name: Option<ImageName>,
}

/// Names win over starts of ids, as in Docker: an image may well be called `cafe`.
pub(super) fn find(
    wanted: &str,
    names: &Names,
    ids: &[Digest],
    manifest_of: impl Fn(Digest) -> Result<Option<Digest>, Error>,
) -> Result<Option<Found>, Error> {
    let by_digest = |digest: Digest| -> Result<Option<Found>, Error> {
        for id in ids {
            if *id == digest || manifest_of(*id)? == Some(digest) {
                return Ok(Some(Found { id: *id, by_name: None }));
            }
        }
        Ok(None)
    };
    if let Ok(digest) = wanted.parse::<Digest>() {
        return by_digest(digest);
    }
    if let Ok(name) = wanted.parse::<ImageName>() {
        if let Some(id) = names.get(&name).filter(|id| ids.contains(id)) {
            return Ok(Some(Found { id: *id, by_name: Some(name) }));
        }
        if let Some(digest) = name.digest() {
            return by_digest(digest);
        }
    }
    let start = wanted.strip_prefix("sha256:").unwrap_or(wanted);
    let is_start = !start.is_empty() && start.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    if !is_start {
        return Ok(None);
    }
    let fitting: Vec<Digest> = ids.iter().copied().filter(|id| id.hex().starts_with(start)).collect();
    match fitting[..] {
        [] => Ok(None),
        [id] => Ok(Some(Found { id, by_name: None })),
        _ => Err(Error::AmbiguousId { prefix: wanted.to_owned(), count: fitting.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(first: &str) -> Digest {
        Digest::from_hex(&format!("{first}{}", "0".repeat(64 - first.len()))).unwrap()
    }

    #[test]
    fn finds_by_name_digest_and_start_of_id() {
        let (a, b, manifest) = (digest("cafe1"), digest("cafe2"), digest("77"));
        let mut names = Names::new();
        names.insert("busybox".parse().unwrap(), a);
        names.insert("cafe2".parse().unwrap(), a);
        names.insert("gone".parse().unwrap(), digest("99"));
        let manifest_of = |id| Ok((id == b).then_some(manifest));
        let find = |wanted: &str| find(wanted, &names, &[a, b], manifest_of).map(|found| found.map(|f| f.id));
        let table = [
            ("busybox", Some(a)),
            ("docker.io/library/busybox:latest", Some(a)),
            ("busybox:1", None),
            ("cafe2", Some(a)),
            ("cafe1", Some(a)),
            ("cafe20", Some(b)),
            ("sha256:cafe20", Some(b)),
            (&b.hex(), Some(b)),
            (&b.to_string(), Some(b)),
            (&manifest.to_string(), Some(b)),
            (&format!("any/name@{manifest}"), Some(b)),
            ("gone", None),
            ("", None),
            ("sha256:", None),
            ("../cafe1", None),
        ];
        for (wanted, expected) in table {
            assert_eq!(find(wanted).unwrap(), expected, "{wanted:?}");
        }
        assert!(matches!(find("cafe"), Err(Error::AmbiguousId { count: 2, .. })));
    }
}
