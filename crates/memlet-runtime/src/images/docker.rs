//! The table of contents that `docker save` and `podman save --format docker-archive` write: `manifest.json`.
//!
//! It gives names, where the configuration is, and where the layers are; no digests of their own. The
//! configuration's file name is its digest, and the layers are checked by the configuration's diff ids.

use std::path::Path;

use serde::Deserialize;

use super::digest::Digest;
use super::error::Error;
use super::image::Image;
use super::name::ImageName;
use super::plan::{self, PlannedImage};
use super::platform::Platform;
use super::source::Source;

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

pub(super) fn plan(source: &Source) -> Result<Vec<PlannedImage>, Error> {
    table(source)?.into_iter().map(|saved| plan_one(source, saved)).collect()
}

/// Adds the names of Docker's table to images that were planned from the OCI index beside it.
pub(super) fn add_names(source: &Source, images: &mut [PlannedImage]) -> Result<(), Error> {
    for saved in table(source)? {
        let Some(id) = digest_in_name(&saved.config) else { continue };
        if let Some(image) = images.iter_mut().find(|image| image.id() == id) {
            image.names.extend(names(saved.repo_tags)?);
        }
    }
    Ok(())
}

fn table(source: &Source) -> Result<Vec<SavedImage>, Error> {
    serde_json::from_slice(&source.document("manifest.json")?)
        .map_err(|error| source.damaged("manifest.json", error))
}

fn plan_one(source: &Source, saved: SavedImage) -> Result<PlannedImage, Error> {
    let config = source.document(&saved.config)?;
    if let Some(blob) = digest_in_name(&saved.config) {
        let found = Digest::of(&config);
        if found != blob {
            return Err(Error::DigestMismatch { path: source.path().to_owned(), blob, found });
        }
    }
    let configuration = plan::configuration(source, &saved.config, &config)?;
    let names = names(saved.repo_tags)?;
    let available = Image::platform_in(&configuration);
    let wanted = Platform::of_this_machine();
    if wanted.suits(&available).is_none() {
        let image = names.first().map_or_else(|| source.path().display().to_string(), ImageName::familiar);
        return Err(Error::NoPlatform { image, wanted, available: vec![available] });
    }
    let stored = saved.layers.into_iter().map(|path| (path, None)).collect();
    let layers = plan::layers(source, stored, &configuration)?;
    Ok(PlannedImage { names, digest: None, config, layers })
}

/// `<64 hex digits>.json` of the old form, `blobs/sha256/<64 hex digits>` of the new one.
fn digest_in_name(path: &str) -> Option<Digest> {
    Digest::from_hex(Path::new(path).file_stem()?.to_str()?)
}

fn names(tags: Option<Vec<String>>) -> Result<Vec<ImageName>, Error> {
    // Docker writes <none>:<none> for an image whose tag was moved away.
    let tags = tags.into_iter().flatten().filter(|tag| !tag.contains("<none>"));
    tags.map(|tag| tag.parse().map_err(Error::from)).collect()
}
