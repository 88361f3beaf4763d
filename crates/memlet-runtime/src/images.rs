//! The image store of the embedded runtime: images arrive as files, are unpacked once into one folder per
//! layer, and become a container's root by overlayfs.
//!
//! What it reads: OCI archives (a tar of an OCI layout), OCI layout folders and `docker save` tars, old and
//! new, with plain, gzip or zstd layers. It never speaks to a registry, and knows nothing of containers:
//! whoever runs them asks for a mount and gives it back.
//!
//! Layout of the store's folder (mode 0700, since layers hold set-user-id programs):
//!
//! ```text
//! lock                     flock'ed while any of the below changes its shape
//! names.json               image name -> image id
//! images/<id>/             config.json (the image's own bytes), image.json (our record)
//! layers/<key>/            fs/ (the unpacked layer, in overlayfs form), layer.json
//! mounts/<key>.json        which layers a mounted container root needs
//! tmp/<unique>/            work in progress, flock'ed by whoever works in it
//! ```
//!
//! Everything is made below `tmp/` and renamed into place, so that a crash, a full disk or Ctrl-C leaves
//! either the whole image or none of it.

mod compression;
mod digest;
mod disk;
mod docker;
mod error;
mod image;
pub(crate) mod inside;
mod layer;
mod layout;
mod name;
mod overlay;
mod plan;
mod platform;
mod source;
mod store;
pub mod users;

pub use digest::Digest;
pub use error::Error;
pub use image::{ContainerConfig, Image};
pub use name::{BadName, ImageName};
pub use platform::Platform;
pub use store::{ImageStore, Progress, Removed};
