//! A file's Pod, as kubelet names and marks it. Pure.

use std::io;
use std::path::Path;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Pod, PodSpec, Toleration};
use memlet_policy::resources;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::objects::Names;

/// Annotations of a static Pod.
pub(crate) const HASH: &str = "kubernetes.io/config.hash";
const SOURCE: &str = "kubernetes.io/config.source";
const SEEN: &str = "kubernetes.io/config.seen";

/// Why a file makes no Pod.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error("cannot be read: {0}")]
    Read(#[source] io::Error),
    #[error("is no YAML or JSON document: {0}")]
    Syntax(String),
    #[error("is no Pod: {0}")]
    NoPod(String),
    #[error("has no metadata.name")]
    NoName,
    #[error(
        "names {0}, and a static Pod may name no object of the API: it runs without one; leave that out, or create the Pod through the API"
    )]
    NamesObject(&'static str),
}

/// Whether a file of this name is looked at.
pub(crate) fn is_manifest(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let known = path.extension().and_then(|extension| extension.to_str());
    !hidden && matches!(known, Some("yaml" | "yml" | "json"))
}

/// The Pod of one file: its name ends in the node's, its uid is made from what it says and where.
pub(crate) fn pod(text: &str, file: &Path, node: &str) -> Result<Pod, ManifestError> {
    // JSON is YAML.
    let value: Value = serde_saphyr::from_str(text).map_err(|error| {
        // The first line says it; what follows is a picture of the place.
        let text = error.to_string();
        ManifestError::Syntax(text.lines().next().unwrap_or_default().to_owned())
    })?;
    let kind = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    if (kind("apiVersion"), kind("kind")) != ("v1", "Pod") {
        let found = format!("it has apiVersion {:?} and kind {:?}", kind("apiVersion"), kind("kind"));
        return Err(ManifestError::NoPod(found));
    }
    let digest = Sha256::new()
        .chain_update(node)
        .chain_update([0])
        .chain_update(file.as_os_str().as_encoded_bytes())
        .chain_update([0])
        .chain_update(value.to_string())
        .finalize();
    // As long as kubelet's.
    let hash: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let mut pod: Pod =
        serde_json::from_value(value).map_err(|error| ManifestError::NoPod(error.to_string()))?;
    let metadata = &mut pod.metadata;
    let name = metadata.name.take().filter(|name| !name.is_empty()).ok_or(ManifestError::NoName)?;
    metadata.name = Some(format!("{name}-{}", node.to_lowercase()));
    metadata.namespace.get_or_insert_with(|| "default".to_owned());
    metadata.deletion_timestamp = None;
    metadata.uid = Some(hash.clone());
    let annotations = metadata.annotations.get_or_insert_default();
    annotations.insert(HASH.to_owned(), hash);
    annotations.insert(SOURCE.to_owned(), "file".to_owned());
    annotations.insert(SEEN.to_owned(), Timestamp::now().to_string());
    pod.status = None;
    let spec = pod.spec.get_or_insert_default();
    if let Some(named) = names_object(spec) {
        return Err(ManifestError::NamesObject(named));
    }
    spec.node_name = Some(node.to_owned());
    // It has no account, so there is no token to be mounted.
    spec.automount_service_account_token = Some(false);
    // No taint drives it away.
    spec.tolerations.get_or_insert_default().push(Toleration {
        operator: Some("Exists".to_owned()),
        effect: Some("NoExecute".to_owned()),
        ..Toleration::default()
    });
    Ok(pod)
}

/// Which object of the API a Pod names.
fn names_object(spec: &PodSpec) -> Option<&'static str> {
    let mut names = Names::of_volumes(spec);
    for container in resources::counted_containers(spec) {
        let own = Names::of_environment(container);
        names.config_maps.extend(own.config_maps);
        names.secrets.extend(own.secrets);
    }
    let account = spec.service_account_name.as_deref().or(spec.service_account.as_deref());
    if !names.secrets.is_empty() {
        Some("a secret")
    } else if !names.config_maps.is_empty() {
        Some("a configMap")
    } else if account.is_some_and(|account| !account.is_empty())
        || !crate::tokens::Wanted::of_volumes(spec).is_empty()
    {
        Some("a service account")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Pod, ManifestError> {
        pod(text, Path::new("/manifests/web.yaml"), "Node-1")
    }

    const WEB: &str =
        "apiVersion: v1\nkind: Pod\nmetadata: {name: web}\nspec: {containers: [{name: a, image: x}]}\n";

    #[test]
    fn named_and_marked_as_kubelet_does() {
        let pod = of(WEB).unwrap();
        let metadata = &pod.metadata;
        assert_eq!(names(&pod), ("default", "web-node-1"));
        let hash = metadata.uid.clone().unwrap();
        assert_eq!((hash.len(), hash.bytes().all(|byte| byte.is_ascii_hexdigit())), (32, true));
        let annotations = metadata.annotations.clone().unwrap();
        assert_eq!((&annotations[HASH], annotations[SOURCE].as_str()), (&hash, "file"));
        assert!(annotations[SEEN].parse::<Timestamp>().is_ok());
        assert_eq!(pod.spec.as_ref().unwrap().node_name.as_deref(), Some("Node-1"));
        assert_eq!(of(&format!("# a comment\n{WEB}")).unwrap().metadata.uid, Some(hash.clone()));
        assert_ne!(of(&WEB.replace("image: x", "image: z")).unwrap().metadata.uid, Some(hash.clone()));
        let elsewhere = super::pod(WEB, Path::new("/manifests/other.yaml"), "Node-1").unwrap();
        assert_ne!(elsewhere.metadata.uid, Some(hash));
        let json = r#"{"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "j", "namespace": "shop"}}"#;
        assert_eq!(names(&of(json).unwrap()), ("shop", "j-node-1"));
    }

    fn names(pod: &Pod) -> (&str, &str) {
        (pod.metadata.namespace.as_deref().unwrap(), pod.metadata.name.as_deref().unwrap())
    }

    #[test]
    fn what_is_wrong_is_said() {
        let with = |more: &str| WEB.replace("spec: {", &format!("spec: {{{more}, "));
        for (text, message) in [
            (
                "kind: Service\napiVersion: v1".to_owned(),
                "is no Pod: it has apiVersion \"v1\" and kind \"Service\"",
            ),
            ("hello".to_owned(), "is no Pod: it has apiVersion \"\" and kind \"\""),
            (WEB.replace("name: web", ""), "has no metadata.name"),
            (with("serviceAccountName: clerk"), "names a service account, and"),
            (with("volumes: [{name: v, configMap: {name: c}}]"), "names a configMap, and"),
            (WEB.replace("image: x", "image: x, envFrom: [{secretRef: {name: s}}]"), "names a secret, and"),
            (WEB.replace("containers: [{name: a, image: x}]", "containers: 5"), "is no Pod: invalid type"),
            ("a: [".to_owned(), "is no YAML or JSON document: "),
        ] {
            let error = of(&text).unwrap_err().to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }

    #[test]
    fn only_manifests_are_read() {
        for (name, is) in [
            ("a.yaml", true),
            ("a.yml", true),
            ("a.json", true),
            (".a.yaml", false),
            ("a.yaml~", false),
            ("a", false),
        ] {
            assert_eq!(is_manifest(&Path::new("/m").join(name)), is, "{name}");
        }
    }
}
