//! A new Pod's service account: that it exists, and its token as a volume (upstream's `ServiceAccount` admission).

use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{
    ConfigMapProjection, DownwardAPIProjection, DownwardAPIVolumeFile, KeyToPath, ObjectFieldSelector, Pod,
    PodSpec, ProjectedVolumeSource, ServiceAccount, ServiceAccountTokenProjection, Volume, VolumeMount,
    VolumeProjection,
};

use super::defaults::FILE_MODE;
use crate::accounts::{DEFAULT, PodTokens, ROOT_KEY, ROOT_MAP};
use crate::error::ApiError;
use crate::storage::Key;
use crate::verbs::{Core, generate_name, typed};

const VOLUME: &str = "kube-api-access-";
/// Where clients in containers look for it.
const MOUNTED_AT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// An hour and a few seconds, by which upstream recognises the volumes that it made itself.
const TOKEN_SECONDS: i64 = 3607;
const MIRROR: &str = "kubernetes.io/config.mirror";

pub(super) fn admit(pod: &mut Pod, core: &Core) -> Result<(), ApiError> {
    // The mirror of a static Pod stands for a Pod that never asked this server for anything.
    if pod.metadata.annotations.as_ref().is_some_and(|annotations| annotations.contains_key(MIRROR)) {
        return Ok(());
    }
    let namespace = pod.metadata.namespace.clone().unwrap_or_default();
    let name = pod.metadata.name.clone().unwrap_or_default();
    let spec = pod.spec.get_or_insert_default();
    let account = set_account(spec);
    let Some(accounts) = core.accounts.get() else { return Ok(()) };
    let Some(stored) = core.storage.get(ServiceAccount::URL_PATH_SEGMENT, &Key::new(&namespace, &account))
    else {
        let why = format!(
            "error looking up service account {namespace}/{account}: serviceaccount {account:?} not found"
        );
        return Err(ApiError::forbidden(Pod::URL_PATH_SEGMENT, &name, &why));
    };
    let account = typed::<ServiceAccount>(&stored)?;
    let wanted =
        spec.automount_service_account_token.or(account.automount_service_account_token).unwrap_or(true);
    if wanted && accounts.pod_tokens == PodTokens::Mounted {
        mount_token(spec);
    }
    if spec.image_pull_secrets.as_ref().is_none_or(Vec::is_empty) {
        spec.image_pull_secrets = account.image_pull_secrets;
    }
    Ok(())
}

/// The two fields for the account are one; the older one mirrors the other.
fn set_account(spec: &mut PodSpec) -> String {
    let stated = |account: &Option<String>| account.clone().filter(|account| !account.is_empty());
    let account = stated(&spec.service_account_name).or_else(|| stated(&spec.service_account));
    let account = account.unwrap_or_else(|| DEFAULT.to_owned());
    spec.service_account = Some(account.clone());
    spec.service_account_name = Some(account.clone());
    account
}

/// Gives each container the token where it mounts nothing else there.
fn mount_token(spec: &mut PodSpec) {
    let present = spec.volumes.iter().flatten().find(|volume| volume.name.starts_with(VOLUME));
    let (volume, is_new) = match present {
        Some(volume) => (volume.name.clone(), false),
        None => (generate_name(VOLUME), true),
    };
    let mut used = false;
    for container in spec.init_containers.iter_mut().flatten().chain(&mut spec.containers) {
        let mounts = container.volume_mounts.get_or_insert_default();
        if mounts.iter().all(|mount| mount.mount_path != MOUNTED_AT) {
            used = true;
            mounts.push(VolumeMount {
                name: volume.clone(),
                read_only: Some(true),
                mount_path: MOUNTED_AT.to_owned(),
                ..VolumeMount::default()
            });
        }
    }
    if used && is_new {
        spec.volumes.get_or_insert_default().push(token_volume(volume));
    }
}

fn token_volume(name: String) -> Volume {
    let token = ServiceAccountTokenProjection {
        path: "token".to_owned(),
        expiration_seconds: Some(TOKEN_SECONDS),
        ..ServiceAccountTokenProjection::default()
    };
    let authority = ConfigMapProjection {
        name: ROOT_MAP.to_owned(),
        items: Some(vec![KeyToPath {
            key: ROOT_KEY.to_owned(),
            path: ROOT_KEY.to_owned(),
            ..KeyToPath::default()
        }]),
        optional: None,
    };
    let namespace = DownwardAPIVolumeFile {
        path: "namespace".to_owned(),
        field_ref: Some(ObjectFieldSelector {
            api_version: Some("v1".to_owned()),
            field_path: "metadata.namespace".to_owned(),
        }),
        ..DownwardAPIVolumeFile::default()
    };
    let sources = vec![
        VolumeProjection { service_account_token: Some(token), ..VolumeProjection::default() },
        VolumeProjection { config_map: Some(authority), ..VolumeProjection::default() },
        VolumeProjection {
            downward_api: Some(DownwardAPIProjection { items: Some(vec![namespace]) }),
            ..VolumeProjection::default()
        },
    ];
    let projected = ProjectedVolumeSource {
        default_mode: Some(FILE_MODE),
        sources: Some(sources),
        ..ProjectedVolumeSource::default()
    };
    Volume { name, projected: Some(projected), ..Volume::default() }
}
