//! What an archive holds, read and checked before anything is written: the images for this machine, their
//! names, configurations and layers.

use std::collections::HashSet;

use oci_spec::image::ImageConfiguration;

use super::digest::Digest;
use super::error::Error;
use super::name::ImageName;
use super::source::Source;
use super::{docker, layout};

/// An image to import.
pub(super) struct PlannedImage {
    pub(super) names: Vec<ImageName>,
    /// The digest of the manifest; `docker save` has none.
    pub(super) digest: Option<Digest>,
    /// The configuration as the archive holds it, since the image's id is the digest of these bytes.
    pub(super) config: Vec<u8>,
    /// From the bottom to the top.
    pub(super) layers: Vec<PlannedLayer>,
}

/// A layer of an image to import.
#[derive(Clone)]
pub(super) struct PlannedLayer {
    /// Where it is in the archive.
    pub(super) path: String,
    /// The digest of the bytes in the archive; `docker save` has none.
    pub(super) blob: Option<Digest>,
    /// The digest of the plain tar.
    pub(super) diff_id: Digest,
    /// The digest of this layer's diff id and those below it (image spec, "chain id").
    pub(super) chain_id: Digest,
}

impl PlannedImage {
    pub(super) fn id(&self) -> Digest {
        Digest::of(&self.config)
    }
}

/// Recognises the format and reads its documents.
pub(super) fn plan(source: &Source) -> Result<Vec<PlannedImage>, Error> {
    let docker = source.contains("manifest.json")?;
    let images = if source.contains("index.json")? {
        let mut images = layout::plan(source)?;
        if docker {
            // Docker writes both since version 25; its own table is the one with the full names.
            docker::add_names(source, &mut images)?;
        }
        images
    } else if docker {
        docker::plan(source)?
    } else {
        return Err(not_an_image(source)?);
    };
    Ok(merge(images))
}

fn not_an_image(source: &Source) -> Result<Error, Error> {
    let found = match (source.is_folder(), source.contains("repositories")?) {
        (_, true) => "it is a docker-save tar from before Docker 1.10, without manifest.json",
        (true, false) => "it is a folder without index.json",
        (false, false) => "it is a tar archive without index.json or manifest.json",
    };
    Ok(Error::NotAnImage { path: source.path().to_owned(), found: found.into() })
}

/// The same image under several names is listed several times in an index.
fn merge(images: Vec<PlannedImage>) -> Vec<PlannedImage> {
    let mut merged: Vec<PlannedImage> = Vec::new();
    for image in images {
        match merged.iter_mut().find(|known| known.config == image.config) {
            Some(known) => known.names.extend(image.names),
            None => merged.push(image),
        }
    }
    for image in &mut merged {
        let mut seen = HashSet::new();
        image.names.retain(|name| seen.insert(name.clone()));
    }
    merged
}

/// Reads an image's configuration document.
pub(super) fn configuration(source: &Source, part: &str, bytes: &[u8]) -> Result<ImageConfiguration, Error> {
    serde_json::from_slice(bytes).map_err(|error| source.damaged(part, error))
}

/// Joins an archive's layers (path and blob digest) with the configuration's diff ids.
pub(super) fn layers(
    source: &Source,
    stored: Vec<(String, Option<Digest>)>,
    configuration: &ImageConfiguration,
) -> Result<Vec<PlannedLayer>, Error> {
    let contradiction = |reason| Error::Contradiction { path: source.path().to_owned(), reason };
    let diff_ids = configuration.rootfs().diff_ids();
    if stored.len() != diff_ids.len() {
        let (stored, listed) = (stored.len(), diff_ids.len());
        return Err(contradiction(format!("its manifest has {stored} layers, its configuration {listed}")));
    }
    let mut layers: Vec<PlannedLayer> = Vec::with_capacity(stored.len());
    for ((path, blob), diff_id) in stored.into_iter().zip(diff_ids) {
        let diff_id = diff_id.parse::<Digest>().map_err(|bad| contradiction(bad.to_string()))?;
        let chain_id = match layers.last() {
            Some(below) => Digest::of(format!("{} {diff_id}", below.chain_id).as_bytes()),
            None => diff_id,
        };
        layers.push(PlannedLayer { path, blob, diff_id, chain_id });
    }
    Ok(layers)
}
