//! The OCI image layout: `index.json`, manifests, nested indexes, `blobs/sha256/...`.
//!
//! The top-level index lists images, not platforms: entries of one name are variants of one image, of which
//! this machine's is taken, and each index below lists the variants of one image.

use std::collections::HashSet;

use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};

use super::digest::Digest;
use super::error::Error;
use super::image::Image;
use super::name::ImageName;
use super::plan::{self, PlannedImage};
use super::platform::Platform;
use super::source::Source;

const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
const DOCKER_LAYERS: [&str; 5] = [
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];
/// An index of indexes is already rare; a deeper nest is an attack or a loop.
const DEEPEST_INDEX: usize = 4;
/// containerd's and buildx's annotation with the whole name.
const FULL_NAME: &str = "io.containerd.image.name";
/// OCI's annotation: a whole name from some tools, a bare tag from others.
const REFERENCE: &str = "org.opencontainers.image.ref.name";
/// Docker's builder's mark on attestations.
const REFERENCE_TYPE: &str = "vnd.docker.reference.type";

/// Entries of the top-level index under one name.
type Group<'a> = (Option<ImageName>, Vec<&'a Descriptor>);

/// A manifest that might be the one for this machine.
struct Candidate {
    descriptor: Descriptor,
    platform: Platform,
}

pub(super) fn plan(source: &Source) -> Result<Vec<PlannedImage>, Error> {
    let index: ImageIndex = serde_json::from_slice(&source.document("index.json")?)
        .map_err(|error| source.damaged("index.json", error))?;
    let mut images = Vec::new();
    for (name, descriptors) in by_name(index.manifests())? {
        let mut candidates = Vec::new();
        for descriptor in descriptors {
            collect(source, descriptor, 0, &mut candidates)?;
        }
        let described = name.as_ref().map(ImageName::familiar);
        let described = described.unwrap_or_else(|| source.path().display().to_string());
        for candidate in choose(&described, candidates, name.is_some())? {
            images.push(read_image(source, &candidate, name.clone())?);
        }
    }
    if images.is_empty() {
        let found = "its index.json lists no image".to_owned();
        return Err(Error::NotAnImage { path: source.path().to_owned(), found });
    }
    Ok(images)
}

/// The top-level entries in groups of one name each; all nameless ones are one group.
fn by_name(descriptors: &[Descriptor]) -> Result<Vec<Group<'_>>, Error> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for descriptor in descriptors.iter().filter(|descriptor| !is_attestation(descriptor)) {
        let name = name_of(descriptor)?;
        match groups.iter_mut().find(|(known, _)| *known == name) {
            Some((_, group)) => group.push(descriptor),
            None => groups.push((name, vec![descriptor])),
        }
    }
    Ok(groups)
}

fn annotation<'a>(descriptor: &'a Descriptor, key: &str) -> Option<&'a String> {
    descriptor.annotations().as_ref()?.get(key)
}

fn is_attestation(descriptor: &Descriptor) -> bool {
    annotation(descriptor, REFERENCE_TYPE).is_some()
        || descriptor.platform().as_ref().is_some_and(|p| platform_of(p).is_attestation())
}

fn name_of(descriptor: &Descriptor) -> Result<Option<ImageName>, Error> {
    let reference = annotation(descriptor, REFERENCE).filter(|text| text.contains([':', '/']));
    let name = annotation(descriptor, FULL_NAME).or(reference);
    Ok(name.map(|name| name.parse()).transpose()?)
}

fn platform_of(platform: &oci_spec::image::Platform) -> Platform {
    Platform {
        os: platform.os().to_string(),
        architecture: platform.architecture().to_string(),
        variant: platform.variant().clone(),
    }
}

/// Finds the manifests below `descriptor`, going through indexes.
fn collect(
    source: &Source,
    descriptor: &Descriptor,
    depth: usize,
    found: &mut Vec<Candidate>,
) -> Result<(), Error> {
    if is_attestation(descriptor) {
        return Ok(());
    }
    match descriptor.media_type() {
        MediaType::ImageIndex => collect_index(source, descriptor, depth, found),
        MediaType::Other(kind) if kind == DOCKER_LIST => collect_index(source, descriptor, depth, found),
        MediaType::ImageManifest => collect_manifest(source, descriptor, found),
        MediaType::Other(kind) if kind == DOCKER_MANIFEST => collect_manifest(source, descriptor, found),
        other => Err(unsupported(source, descriptor, other)),
    }
}

fn collect_index(
    source: &Source,
    descriptor: &Descriptor,
    depth: usize,
    found: &mut Vec<Candidate>,
) -> Result<(), Error> {
    if depth == DEEPEST_INDEX {
        let reason = format!("its indexes are nested deeper than {DEEPEST_INDEX}");
        return Err(Error::Contradiction { path: source.path().to_owned(), reason });
    }
    let (_, index): (_, ImageIndex) = read_document(source, descriptor)?;
    index.manifests().iter().try_for_each(|below| collect(source, below, depth + 1, found))
}

fn collect_manifest(
    source: &Source,
    descriptor: &Descriptor,
    found: &mut Vec<Candidate>,
) -> Result<(), Error> {
    let platform = if let Some(platform) = descriptor.platform() {
        platform_of(platform)
    } else {
        let (_, manifest): (_, ImageManifest) = read_document(source, descriptor)?;
        check_config_type(source, &manifest)?;
        let (bytes, _): (_, serde_json::Value) = read_document(source, manifest.config())?;
        let part = manifest.config().digest().to_string();
        let configuration = plan::configuration(source, &part, &bytes)?;
        Image::platform_in(&configuration)
    };
    found.push(Candidate { descriptor: descriptor.clone(), platform });
    Ok(())
}

/// The candidates that this machine runs: the best one of a named image, all different ones of the nameless.
fn choose(image: &str, candidates: Vec<Candidate>, named: bool) -> Result<Vec<Candidate>, Error> {
    let wanted = Platform::of_this_machine();
    let available: Vec<Platform> = candidates.iter().map(|candidate| candidate.platform.clone()).collect();
    let mut suitable: Vec<(u32, Candidate)> = candidates
        .into_iter()
        .filter_map(|candidate| Some((wanted.suits(&candidate.platform)?, candidate)))
        .collect();
    if suitable.is_empty() && !available.is_empty() {
        return Err(Error::NoPlatform { image: image.to_owned(), wanted, available });
    }
    suitable.sort_by_key(|(rank, _)| *rank);
    let mut seen = HashSet::new();
    suitable.retain(|(_, candidate)| seen.insert(candidate.descriptor.digest().to_string()));
    let best = suitable.first().map_or(0, |(rank, _)| *rank);
    let chosen = suitable.into_iter().filter(|(rank, _)| *rank == best).map(|(_, candidate)| candidate);
    Ok(if named { chosen.take(1).collect() } else { chosen.collect() })
}

fn read_image(
    source: &Source,
    candidate: &Candidate,
    name: Option<ImageName>,
) -> Result<PlannedImage, Error> {
    let (_, manifest): (_, ImageManifest) = read_document(source, &candidate.descriptor)?;
    check_config_type(source, &manifest)?;
    let config = read_verified(source, manifest.config())?;
    let configuration = plan::configuration(source, manifest.config().digest().as_ref(), &config)?;
    let mut stored = Vec::with_capacity(manifest.layers().len());
    for layer in manifest.layers() {
        check_layer_type(source, layer)?;
        let digest = digest_of(source, layer)?;
        let path = blob_path(digest);
        if !source.contains(&path)? {
            let part = format!("layer {digest}");
            return Err(Error::Missing { path: source.path().to_owned(), part });
        }
        stored.push((path, Some(digest)));
    }
    let layers = plan::layers(source, stored, &configuration)?;
    let digest = Some(digest_of(source, &candidate.descriptor)?);
    Ok(PlannedImage { names: name.into_iter().collect(), digest, config, layers })
}

fn check_config_type(source: &Source, manifest: &ImageManifest) -> Result<(), Error> {
    match manifest.config().media_type() {
        MediaType::ImageConfig => Ok(()),
        MediaType::Other(kind) if kind == DOCKER_CONFIG => Ok(()),
        other => Err(unsupported(source, manifest.config(), other)),
    }
}

fn check_layer_type(source: &Source, layer: &Descriptor) -> Result<(), Error> {
    match layer.media_type() {
        MediaType::ImageLayer
        | MediaType::ImageLayerGzip
        | MediaType::ImageLayerZstd
        | MediaType::ImageLayerNonDistributable
        | MediaType::ImageLayerNonDistributableGzip
        | MediaType::ImageLayerNonDistributableZstd => Ok(()),
        MediaType::Other(kind) if DOCKER_LAYERS.contains(&kind.as_str()) => Ok(()),
        other => Err(unsupported(source, layer, other)),
    }
}

fn unsupported(source: &Source, descriptor: &Descriptor, media_type: &MediaType) -> Error {
    Error::UnsupportedMediaType {
        path: source.path().to_owned(),
        part: descriptor.digest().to_string(),
        media_type: media_type.to_string(),
    }
}

fn digest_of(source: &Source, descriptor: &Descriptor) -> Result<Digest, Error> {
    descriptor.digest().to_string().parse().map_err(|bad: super::digest::BadDigest| Error::Contradiction {
        path: source.path().to_owned(),
        reason: bad.to_string(),
    })
}

fn blob_path(digest: Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn read_document<T: serde::de::DeserializeOwned>(
    source: &Source,
    descriptor: &Descriptor,
) -> Result<(Vec<u8>, T), Error> {
    let bytes = read_verified(source, descriptor)?;
    let document = serde_json::from_slice(&bytes)
        .map_err(|error| source.damaged(descriptor.digest().as_ref(), error))?;
    Ok((bytes, document))
}

/// A small blob whose bytes have the digest that names it.
fn read_verified(source: &Source, descriptor: &Descriptor) -> Result<Vec<u8>, Error> {
    let blob = digest_of(source, descriptor)?;
    let bytes = source.document(&blob_path(blob)).map_err(|error| match error {
        Error::Missing { path, .. } => Error::Missing { path, part: format!("blob {blob}") },
        other => other,
    })?;
    let found = Digest::of(&bytes);
    if found != blob {
        return Err(Error::DigestMismatch { path: source.path().to_owned(), blob, found });
    }
    Ok(bytes)
}
