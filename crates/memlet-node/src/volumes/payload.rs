//! What configMap, secret, downwardAPI and projected volumes show: their files, with what is in them. Pure.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use k8s_openapi::api::core::v1::{
    ConfigMap, DownwardAPIVolumeFile, KeyToPath, Pod, ProjectedVolumeSource, Secret, Volume,
};

use crate::downward::{self, NodeFigures};
use crate::objects::{NoObject, Objects};
use crate::tokens::{Tokens, Wanted};

/// `defaultMode` where there is none.
const DEFAULT_MODE: i32 = 0o644;
/// A token's mode where its reader is known, so that nobody else can read it.
const PRIVATE: u32 = 0o600;

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) contents: Vec<u8>,
    pub(crate) mode: u32,
    /// `None`: root's.
    pub(crate) owner: Option<u32>,
}

/// Files by their path within the volume.
pub(crate) type Files = BTreeMap<PathBuf, File>;

/// Where contents come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Context<'a> {
    pub(crate) pod: &'a Pod,
    pub(crate) objects: &'a Objects,
    pub(crate) tokens: &'a Tokens,
    pub(crate) node: NodeFigures<'a>,
}

/// Whether the volume is one of these kinds.
pub(crate) fn is_projected(volume: &Volume) -> bool {
    volume.config_map.is_some()
        || volume.secret.is_some()
        || volume.downward_api.is_some()
        || volume.projected.is_some()
}

/// Whether it is kept in memory alone, as kubelet keeps all but configMaps.
pub(crate) fn is_in_memory(volume: &Volume) -> bool {
    volume.config_map.is_none()
}

/// The folder of its kind below `volumes`.
pub(crate) fn folder(volume: &Volume) -> &'static str {
    if volume.config_map.is_some() {
        "kubernetes.io~configmap"
    } else if volume.secret.is_some() {
        "kubernetes.io~secret"
    } else if volume.downward_api.is_some() {
        "kubernetes.io~downward-api"
    } else {
        "kubernetes.io~projected"
    }
}

/// The volume's files.
///
/// # Errors
/// In kubelet's words; all that is wrong with a projected volume.
pub(crate) fn files(volume: &Volume, context: Context<'_>) -> Result<Files, String> {
    let mut files = Files::new();
    if let Some(source) = &volume.config_map {
        let object = object(context.objects.config_map(&source.name), source.optional)?;
        let optional = source.optional == Some(true);
        add_config_map(&mut files, object, source.items.as_deref(), source.default_mode, optional)?;
    } else if let Some(source) = &volume.secret {
        let name = source.secret_name.as_deref().unwrap_or_default();
        let object = object(context.objects.secret(name), source.optional)?;
        let optional = source.optional == Some(true);
        add_secret(&mut files, object, source.items.as_deref(), source.default_mode, optional)?;
    } else if let Some(source) = &volume.downward_api {
        let items = source.items.iter().flatten();
        all(items.map(|item| add_downward(&mut files, item, source.default_mode, context)))?;
    } else if let Some(source) = &volume.projected {
        add_projected(&mut files, source, context)?;
    }
    Ok(files)
}

/// All that went wrong, as Go prints an aggregate of errors.
fn all(results: impl Iterator<Item = Result<(), String>>) -> Result<(), String> {
    let mut errors: Vec<String> = results.filter_map(Result::err).collect();
    errors.dedup();
    match &errors[..] {
        [] => Ok(()),
        [error] => Err(error.clone()),
        errors => Err(format!("[{}]", errors.join(", "))),
    }
}

/// `None` for an object that may be missing and is.
fn object<T>(found: Result<&T, NoObject>, optional: Option<bool>) -> Result<Option<&T>, String> {
    match found {
        Ok(found) => Ok(Some(found)),
        Err(no) if no.is_missing && optional == Some(true) => Ok(None),
        Err(no) => Err(no.to_string()),
    }
}

fn add_config_map(
    files: &mut Files,
    object: Option<&ConfigMap>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
) -> Result<(), String> {
    let texts = object.and_then(|object| object.data.as_ref()).into_iter().flatten();
    let bytes = object.and_then(|object| object.binary_data.as_ref()).into_iter().flatten();
    let data: BTreeMap<&str, &[u8]> = texts
        .map(|(key, text)| (key.as_str(), text.as_bytes()))
        .chain(bytes.map(|(key, bytes)| (key.as_str(), bytes.0.as_slice())))
        .collect();
    let missing = |key: &str| format!("configmap references non-existent config key: {key}");
    add_keys(files, &data, items, default_mode, (!optional).then_some(&missing))
}

fn add_secret(
    files: &mut Files,
    object: Option<&Secret>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    optional: bool,
) -> Result<(), String> {
    let bytes = object.and_then(|object| object.data.as_ref()).into_iter().flatten();
    let data = bytes.map(|(key, bytes)| (key.as_str(), bytes.0.as_slice())).collect();
    let missing = |key: &str| format!("references non-existent secret key: {key}");
    add_keys(files, &data, items, default_mode, (!optional).then_some(&missing))
}

/// All keys, or those that are named; `missing` words the error about one that is not there, where that is one.
fn add_keys(
    files: &mut Files,
    data: &BTreeMap<&str, &[u8]>,
    items: Option<&[KeyToPath]>,
    default_mode: Option<i32>,
    missing: Option<&dyn Fn(&str) -> String>,
) -> Result<(), String> {
    let Some(items) = items.filter(|items| !items.is_empty()) else {
        return all(data.iter().map(|(key, contents)| put(files, key, contents, default_mode, None)));
    };
    all(items.iter().map(|item| match (data.get(item.key.as_str()), missing) {
        (Some(contents), _) => put(files, &item.path, contents, item.mode.or(default_mode), None),
        (None, Some(missing)) => Err(missing(&item.key)),
        (None, None) => Ok(()),
    }))
}

fn add_downward(
    files: &mut Files,
    item: &DownwardAPIVolumeFile,
    default_mode: Option<i32>,
    context: Context<'_>,
) -> Result<(), String> {
    let value = match (&item.field_ref, &item.resource_field_ref) {
        (Some(field), _) => downward::field(context.pod, &field.field_path, context.node),
        (None, Some(resource)) => downward::resource(context.pod, None, resource, context.node),
        // The API server lets neither through.
        (None, None) => Ok(String::new()),
    };
    let value = value.map_err(|error| error.to_string())?;
    put(files, &item.path, value.as_bytes(), item.mode.or(default_mode), None)
}

fn add_projected(
    files: &mut Files,
    volume: &ProjectedVolumeSource,
    context: Context<'_>,
) -> Result<(), String> {
    let mode = volume.default_mode;
    all(volume.sources.iter().flatten().map(|source| {
        if let Some(source) = &source.config_map {
            let object = object(context.objects.config_map(&source.name), source.optional)?;
            add_config_map(files, object, source.items.as_deref(), mode, source.optional == Some(true))?;
        }
        if let Some(source) = &source.secret {
            let object = object(context.objects.secret(&source.name), source.optional)?;
            add_secret(files, object, source.items.as_deref(), mode, source.optional == Some(true))?;
        }
        if let Some(source) = &source.downward_api {
            all(source.items.iter().flatten().map(|item| add_downward(files, item, mode, context)))?;
        }
        if let Some(source) = &source.service_account_token {
            let token = context.tokens.get(&Wanted::by(source))?;
            let reader = Reader::of(context.pod);
            let mode = if reader.is_known() { i32::try_from(PRIVATE).ok() } else { mode };
            put(files, &source.path, token.as_bytes(), mode, reader.user)?;
        }
        Ok(())
    }))
}

/// Who reads the Pod's token.
struct Reader {
    user: Option<u32>,
    group: Option<i64>,
}

impl Reader {
    /// The user of all containers, where they share one, and the Pod's group.
    fn of(pod: &Pod) -> Self {
        let Some(spec) = &pod.spec else { return Self { user: None, group: None } };
        let of_pod = spec.security_context.as_ref();
        let users: Vec<Option<i64>> = memlet_policy::resources::counted_containers(spec)
            .map(|container| {
                let own = container.security_context.as_ref().and_then(|context| context.run_as_user);
                own.or_else(|| of_pod.and_then(|context| context.run_as_user))
            })
            .collect();
        let first = users.first().copied().flatten();
        let user = first.filter(|first| users.iter().all(|user| *user == Some(*first)));
        let user = user.and_then(|user| u32::try_from(user).ok());
        Self { user, group: of_pod.and_then(|context| context.fs_group) }
    }

    fn is_known(&self) -> bool {
        self.user.is_some() || self.group.is_some()
    }
}

fn put(
    files: &mut Files,
    path: &str,
    contents: &[u8],
    mode: Option<i32>,
    owner: Option<u32>,
) -> Result<(), String> {
    let path = Path::new(path);
    let stays_within = path.components().all(|part| matches!(part, Component::Normal(_)));
    if !stays_within || path.as_os_str().is_empty() {
        return Err(format!("invalid path {path:?}: it must be relative and without .."));
    }
    // Only permissions: no API server lets more through.
    let mode = u32::try_from(mode.unwrap_or(DEFAULT_MODE)).unwrap_or_default() & 0o777;
    files.insert(path.to_owned(), File { contents: contents.to_vec(), mode, owner });
    Ok(())
}

#[cfg(test)]
#[allow(clippy::needless_pass_by_value, reason = "callers write json!(…)")]
mod tests {
    use super::*;
    use memlet_bytes::Bytes;
    use serde_json::{Value, json};

    fn shown_in(pod_spec: Value, volume: Value) -> Result<String, String> {
        let pod = json!({
            "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "x", "tier": "y"}},
            "spec": pod_spec,
        });
        let pod: Pod = serde_json::from_value(pod).unwrap();
        let objects = Objects::default().with(&[
            json!({
                "kind": "ConfigMap", "metadata": {"name": "colours"},
                "data": {"sky": "blue", "grass": "green"}, "binaryData": {"raw": "AAE="},
            }),
            json!({"kind": "Secret", "metadata": {"name": "door"}, "data": {"key": "c2VzYW1l"}}),
        ]);
        let tokens = Tokens::of_test("the-token");
        let node = NodeFigures {
            host_ip: None,
            allocatable_memory: Bytes::from_mib(924),
            allocatable_storage: Bytes::ZERO,
            allocatable_cpu: 2000,
        };
        let context = Context { pod: &pod, objects: &objects, tokens: &tokens, node };
        let files = files(&serde_json::from_value(volume).unwrap(), context)?;
        let line = |(path, file): (&PathBuf, &File)| {
            let owner = file.owner.map(|owner| format!(" {owner}")).unwrap_or_default();
            format!("{} {:o}{owner} {}", path.display(), file.mode, file.contents.escape_ascii())
        };
        Ok(files.iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    fn shown(volume: Value) -> Result<String, String> {
        shown_in(json!({"containers": [{"name": "main"}]}), volume)
    }

    #[test]
    fn whole_objects_and_single_keys() {
        let whole = shown(json!({"name": "v", "configMap": {"name": "colours"}})).unwrap();
        insta::assert_snapshot!(whole, @r"
        grass 644 green
        raw 644 \x00\x01
        sky 644 blue
        ");
        let items = json!([{"key": "sky", "path": "up/sky.txt", "mode": 256}, {"key": "raw", "path": "raw"}]);
        let items =
            shown(json!({"name": "v", "configMap": {"name": "colours", "items": items, "defaultMode": 416}}));
        insta::assert_snapshot!(items.unwrap(), @r"
        raw 640 \x00\x01
        up/sky.txt 400 blue
        ");
        assert_eq!(shown(json!({"name": "v", "secret": {"secretName": "door"}})).unwrap(), "key 644 sesame");
    }

    #[test]
    fn what_is_missing() {
        let items = json!([{"key": "sea", "path": "sea"}]);
        for (volume, message) in [
            (json!({"configMap": {"name": "shapes"}}), "configmap \"shapes\" not found"),
            (
                json!({"configMap": {"name": "colours", "items": items}}),
                "configmap references non-existent config key: sea",
            ),
            (json!({"secret": {"secretName": "window"}}), "secret \"window\" not found"),
            (
                json!({"secret": {"secretName": "door", "items": items}}),
                "references non-existent secret key: sea",
            ),
            (
                json!({"projected": {"sources": [
                    {"configMap": {"name": "shapes"}}, {"configMap": {"name": "colours"}}, {"secret": {"name": "window"}},
                ]}}),
                "[configmap \"shapes\" not found, secret \"window\" not found]",
            ),
            (
                json!({"downwardAPI": {"items": [{"path": "../x", "fieldRef": {"fieldPath": "metadata.name"}}]}}),
                "invalid path \"../x\": it must be relative and without ..",
            ),
        ] {
            let mut volume = volume;
            volume["name"] = json!("v");
            assert_eq!(shown(volume).unwrap_err(), message);
        }
        for volume in [
            json!({"name": "v", "configMap": {"name": "shapes", "optional": true}}),
            json!({"name": "v", "configMap": {"name": "colours", "items": items, "optional": true}}),
            json!({"name": "v", "secret": {"secretName": "window", "optional": true}}),
            json!({"name": "v", "projected": {"sources": [{"secret": {"name": "window", "optional": true}}]}}),
        ] {
            assert_eq!(shown(volume).unwrap(), "");
        }
    }

    /// What the API server mounts into every Pod.
    fn service_account() -> Value {
        json!({"name": "kube-api-access-x", "projected": {"defaultMode": 420, "sources": [
            {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            {"configMap": {"name": "colours", "items": [{"key": "sky", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [
                {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
                {"path": "heap", "resourceFieldRef":
                    {"containerName": "main", "resource": "limits.memory", "divisor": "1Mi"}},
            ]}},
        ]}})
    }

    #[test]
    fn sources_are_projected_into_one_folder() {
        insta::assert_snapshot!(shown(service_account()).unwrap(), @r#"
        ca.crt 644 blue
        heap 644 924
        labels 644 app=\"x\"\ntier=\"y\"
        namespace 644 shop
        token 644 the-token
        "#);
    }

    #[test]
    fn a_token_is_for_its_reader_alone() {
        for (context, own, line) in [
            (json!({"fsGroup": 7}), json!({}), "token 600 the-token"),
            (json!({"runAsUser": 7}), json!({}), "token 600 7 the-token"),
            (json!({}), json!({"runAsUser": 8}), "token 644 the-token"),
            (json!({"runAsUser": 8}), json!({"runAsUser": 8}), "token 600 8 the-token"),
            (json!({"runAsUser": 7}), json!({"runAsUser": 8}), "token 644 the-token"),
        ] {
            let containers = json!([{"name": "main", "securityContext": own}, {"name": "other"}]);
            let spec = json!({"securityContext": context, "containers": containers});
            let all = shown_in(spec, service_account()).unwrap();
            assert_eq!(all.lines().last().unwrap(), line);
        }
    }
}
