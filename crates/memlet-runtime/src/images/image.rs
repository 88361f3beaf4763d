//! An image of the store, as its users see it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use memlet_bytes::Bytes;
use oci_spec::image::ImageConfiguration;

use super::digest::Digest;
use super::name::ImageName;
use super::platform::Platform;

/// An image in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The digest of the image's configuration, which container runtimes call the image's id.
    pub id: Digest,
    /// All its names, sorted; an image that lost its last name to another, or never had one, has none.
    pub names: Vec<ImageName>,
    /// The digest of its manifest, where the archive had one (`docker save` has none).
    pub digest: Option<Digest>,
    /// The bytes of all files in its layers, unpacked. Layers shared with other images count here too.
    pub size: Bytes,
    /// When it was built; `None` if the image does not say.
    pub created: Option<Timestamp>,
    /// The platform that it was built for.
    pub platform: Platform,
    /// What a container of it does if nothing else is said.
    pub config: ContainerConfig,
    /// Folder names of its layers in the store, from the bottom to the top.
    pub(super) layers: Vec<String>,
}

/// The defaults that an image gives its containers (image spec, "config").
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerConfig {
    /// The program and its first arguments; a Pod's `command` replaces both this and `cmd`.
    pub entrypoint: Vec<String>,
    /// Further arguments; a Pod's `args` replaces them.
    pub cmd: Vec<String>,
    /// `NAME=value`, in the image's order.
    pub env: Vec<String>,
    /// The folder to start in; `None` means `/`.
    pub working_dir: Option<String>,
    /// `user`, `uid`, `user:group`, ...; see [`users::resolve`](super::users::resolve). `None` means root.
    pub user: Option<String>,
    /// The signal that asks it to end, by name or number; `None` means SIGTERM.
    pub stop_signal: Option<String>,
    /// Ports it says it listens on, as in `8080/tcp`. Documentation, no rule.
    pub exposed_ports: Vec<String>,
    /// Folders it says hold data.
    pub volumes: Vec<String>,
    /// Whatever the builder wrote down.
    pub labels: BTreeMap<String, String>,
}

impl Image {
    /// The name to show: the first one, or the shortened id.
    pub fn shown_as(&self) -> String {
        self.names.first().map_or_else(|| self.id.short(), ImageName::familiar)
    }

    pub(super) fn platform_in(configuration: &ImageConfiguration) -> Platform {
        Platform {
            os: configuration.os().to_string(),
            architecture: configuration.architecture().to_string(),
            variant: configuration.variant().clone(),
        }
    }

    /// An unreadable date is treated as none: it is for people only.
    pub(super) fn created_in(configuration: &ImageConfiguration) -> Option<Timestamp> {
        configuration.created().as_ref()?.parse().ok()
    }
}

impl ContainerConfig {
    pub(super) fn of(configuration: &ImageConfiguration) -> Self {
        let Some(config) = configuration.config() else { return Self::default() };
        let said = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        Self {
            entrypoint: config.entrypoint().clone().unwrap_or_default(),
            cmd: config.cmd().clone().unwrap_or_default(),
            env: config.env().clone().unwrap_or_default(),
            working_dir: said(config.working_dir()),
            user: said(config.user()),
            stop_signal: said(config.stop_signal()),
            exposed_ports: config.exposed_ports().clone().unwrap_or_default(),
            volumes: config.volumes().clone().unwrap_or_default(),
            labels: config.labels().clone().unwrap_or_default().into_iter().collect(),
        }
    }
}
