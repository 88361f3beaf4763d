//! The configMaps and secrets a Pod names, fetched when a container starts and when volumes are made or looked after.
//!
//! Plain reads, each time: what is read is what is used, and nothing has to be kept in step.

use std::collections::{BTreeMap, BTreeSet};

use futures::future;
use k8s_openapi::api::core::v1::{ConfigMap, Container, PodSpec, Secret};
use kube::Api;

/// Names of objects in the Pod's namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Names {
    pub(crate) config_maps: BTreeSet<String>,
    pub(crate) secrets: BTreeSet<String>,
}

impl Names {
    /// What a container's environment takes from.
    pub(crate) fn of_environment(container: &Container) -> Self {
        let mut names = Self::default();
        for source in container.env_from.iter().flatten() {
            names.config_maps.extend(source.config_map_ref.iter().map(|source| source.name.clone()));
            names.secrets.extend(source.secret_ref.iter().map(|source| source.name.clone()));
        }
        for source in container.env.iter().flatten().filter_map(|variable| variable.value_from.as_ref()) {
            names.config_maps.extend(source.config_map_key_ref.iter().map(|source| source.name.clone()));
            names.secrets.extend(source.secret_key_ref.iter().map(|source| source.name.clone()));
        }
        names
    }

    /// What a Pod's volumes show.
    pub(crate) fn of_volumes(spec: &PodSpec) -> Self {
        let mut names = Self::default();
        for volume in spec.volumes.iter().flatten() {
            names.config_maps.extend(volume.config_map.iter().map(|source| source.name.clone()));
            names.secrets.extend(volume.secret.iter().filter_map(|source| source.secret_name.clone()));
            let sources = volume.projected.iter().flat_map(|projected| projected.sources.iter().flatten());
            for source in sources {
                names.config_maps.extend(source.config_map.iter().map(|source| source.name.clone()));
                names.secrets.extend(source.secret.iter().map(|source| source.name.clone()));
            }
        }
        names
    }

    fn is_empty(&self) -> bool {
        self.config_maps.is_empty() && self.secrets.is_empty()
    }
}

/// Why an object cannot be used, in the API server's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct NoObject {
    message: String,
    /// It does not exist, which is fine where it is optional.
    pub(crate) is_missing: bool,
}

impl NoObject {
    fn missing(kind: &str, name: &str) -> Self {
        Self { message: format!("{kind} {name:?} not found"), is_missing: true }
    }

    fn new(kind: &str, name: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) if status.code == 404 => Self::missing(kind, name),
            kube::Error::Api(status) => Self { message: status.message.clone(), is_missing: false },
            other => Self { message: format!("cannot read {kind} {name:?}: {other}"), is_missing: false },
        }
    }
}

type Read<T> = BTreeMap<String, Result<T, NoObject>>;

/// The objects as they were when read.
#[derive(Clone, Debug, Default)]
pub(crate) struct Objects {
    config_maps: Read<ConfigMap>,
    secrets: Read<Secret>,
}

impl Objects {
    pub(crate) async fn read(client: &kube::Client, namespace: &str, names: &Names) -> Self {
        if names.is_empty() {
            return Self::default();
        }
        let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let config_maps = names.config_maps.iter().map(async |name| {
            let read = config_maps.get(name).await;
            (name.clone(), read.map_err(|error| NoObject::new("configmap", name, &error)))
        });
        let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
        let secrets = names.secrets.iter().map(async |name| {
            let read = secrets.get(name).await;
            (name.clone(), read.map_err(|error| NoObject::new("secret", name, &error)))
        });
        let (config_maps, secrets) =
            future::join(future::join_all(config_maps), future::join_all(secrets)).await;
        Self { config_maps: config_maps.into_iter().collect(), secrets: secrets.into_iter().collect() }
    }

    pub(crate) fn config_map(&self, name: &str) -> Result<&ConfigMap, NoObject> {
        let read = self.config_maps.get(name).map(Result::as_ref);
        read.map_or_else(|| Err(NoObject::missing("configmap", name)), |read| read.map_err(Clone::clone))
    }

    pub(crate) fn secret(&self, name: &str) -> Result<&Secret, NoObject> {
        let read = self.secrets.get(name).map(Result::as_ref);
        read.map_or_else(|| Err(NoObject::missing("secret", name)), |read| read.map_err(Clone::clone))
    }
}

#[cfg(test)]
impl Objects {
    pub(crate) fn with(mut self, objects: &[serde_json::Value]) -> Self {
        for object in objects {
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            if object["kind"] == "Secret" {
                self.secrets.insert(name, Ok(serde_json::from_value(object.clone()).unwrap()));
            } else {
                self.config_maps.insert(name, Ok(serde_json::from_value(object.clone()).unwrap()));
            }
        }
        self
    }
}
