//! What can go wrong with images, each with the thing, the reason and the way out.

use std::io;
use std::path::{Path, PathBuf};

use memlet_bytes::Bytes;

use super::digest::Digest;
use super::disk;
use super::name::{BadName, ImageName};
use super::platform::Platform;

/// Why an image could not be imported, found, removed or mounted.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The file or folder is none of the formats this store reads.
    #[error("{} is not an image: {found}; give an OCI archive, an OCI layout folder or a docker-save tar", path.display())]
    NotAnImage {
        /// What was to be imported.
        path: PathBuf,
        /// What it looks like instead.
        found: String,
    },
    /// The kernel refused something done to a file.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// A verb, as in `open`.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The store's filesystem has no room. Nothing of the image is left behind.
    #[error(
        "no space for the image in {}: it needs at least {needed}, {free} is free; \
         free some space there or choose another folder", folder.display()
    )]
    DiskFull {
        /// The store's folder.
        folder: PathBuf,
        /// A lower bound: what the archive's layers take, or what was written before the disk was full.
        needed: Bytes,
        /// Free after the unfinished image was taken away again.
        free: Bytes,
    },
    /// The store's filesystem has space but cannot hold more files. Nothing of the image is left behind.
    #[error(
        "no inodes left for the image in {}: its filesystem cannot hold more files; \
         delete some there or choose another folder", folder.display()
    )]
    OutOfInodes {
        /// The store's folder.
        folder: PathBuf,
    },
    /// Part of the archive is not what its format says.
    #[error("{} is damaged: {part} cannot be read; export the image again", path.display())]
    Damaged {
        /// The archive or layout folder.
        path: PathBuf,
        /// Which part.
        part: String,
        /// How it is damaged.
        source: io::Error,
    },
    /// The archive speaks of a part that it does not contain.
    #[error("{} lacks {part}; export the image again, with all its layers", path.display())]
    Missing {
        /// The archive or layout folder.
        path: PathBuf,
        /// A blob's digest or a file's name.
        part: String,
    },
    /// A part's bytes are not those that its digest promises.
    #[error("{} is damaged: blob {blob} has the digest {found}; export the image again", path.display())]
    DigestMismatch {
        /// The archive or layout folder.
        path: PathBuf,
        /// The digest it should have, which is the blob's name.
        blob: Digest,
        /// The digest of the bytes that are there.
        found: Digest,
    },
    /// A layer's or manifest's format is unknown here.
    #[error("{} uses the media type {media_type} for {part}, which memlet cannot read; rebuild it as an ordinary container image", path.display())]
    UnsupportedMediaType {
        /// The archive or layout folder.
        path: PathBuf,
        /// Which part.
        part: String,
        /// The media type as written.
        media_type: String,
    },
    /// The number of layers and of their digests in the configuration differ, or a digest is of an unknown kind.
    #[error("{} contradicts itself: {reason}; export the image again", path.display())]
    Contradiction {
        /// The archive or layout folder.
        path: PathBuf,
        /// What does not fit together.
        reason: String,
    },
    /// The image exists, but for other machines.
    #[error(
        "{image} has no variant for this machine ({wanted}); it has {}; export it with --platform {wanted}",
        listed(available)
    )]
    NoPlatform {
        /// The image's name in the archive, or the archive.
        image: String,
        /// This machine's platform.
        wanted: Platform,
        /// The platforms that there are.
        available: Vec<Platform>,
    },
    /// A layer holds an entry that must not or cannot be unpacked.
    #[error("layer {layer} cannot be unpacked: entry {entry:?} {reason}; do not use this image")]
    BadEntry {
        /// The layer's diff id.
        layer: Digest,
        /// The entry's path in the archive.
        entry: PathBuf,
        /// What is wrong with it, as a verb phrase.
        reason: String,
    },
    /// Writing a layer's entry failed.
    #[error("layer {layer} cannot be unpacked: writing {entry:?} failed")]
    Unpack {
        /// The layer's diff id.
        layer: Digest,
        /// The entry's path in the archive.
        entry: PathBuf,
        /// The kernel's reason.
        source: io::Error,
    },
    /// One tag was given for an archive of several images.
    #[error("{} holds {count} images, so one name cannot be given to all; import it without a tag", path.display())]
    SeveralImages {
        /// The archive or layout folder.
        path: PathBuf,
        /// How many.
        count: usize,
    },
    /// A text is no image name.
    #[error(transparent)]
    BadName(#[from] BadName),
    /// A digest cannot be a name that is given to an image.
    #[error("{name} names a digest, which cannot be chosen; give a name with a tag")]
    TagIsDigest {
        /// What was given.
        name: ImageName,
    },
    /// The start of an id fits several images.
    #[error("{prefix} is the start of {count} image ids; give more digits")]
    AmbiguousId {
        /// What was asked for.
        prefix: String,
        /// How many images it fits.
        count: usize,
    },
    /// The store has no such image.
    #[error(
        "no image {name} in the store; see `memlet image ls`, or import it with: memlet image import FILE --tag {name}"
    )]
    NoSuchImage {
        /// What was asked for.
        name: String,
    },
    /// A file of the store itself does not read as what this program writes.
    #[error("the image store's {} is damaged; move it away and import the image again", path.display())]
    DamagedStore {
        /// The file.
        path: PathBuf,
        /// How it is damaged.
        source: serde_json::Error,
    },
    /// An image lost a layer: somebody deleted it by hand.
    #[error("image {image} lacks its layer {layer} in the store; import the image again")]
    LostLayer {
        /// The image's id, shortened.
        image: String,
        /// The layer's folder name.
        layer: String,
    },
    /// The kernel refused the overlay mount.
    #[error("cannot mount an overlay at {}{hint}", folder.display())]
    Overlay {
        /// The container's folder.
        folder: PathBuf,
        /// What may help, where something is known; starts with punctuation.
        hint: &'static str,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl Error {
    pub(super) fn io(action: &'static str, path: impl Into<PathBuf>, source: impl Into<io::Error>) -> Self {
        Self::Io { action, path: path.into(), source: source.into() }
    }

    /// Whether the cause is a full disk, which deserves an error of its own.
    pub(super) fn is_disk_full(&self) -> bool {
        match self {
            Self::Io { source, .. } | Self::Unpack { source, .. } => disk::is_full(source),
            _ => false,
        }
    }
}

/// Adapts a `Result` of the kernel's or the standard library's to [`Error::Io`].
pub(super) trait Naming<T> {
    fn naming(self, action: &'static str, path: &Path) -> Result<T, Error>;
}

impl<T, E: Into<io::Error>> Naming<T> for Result<T, E> {
    fn naming(self, action: &'static str, path: &Path) -> Result<T, Error> {
        self.map_err(|source| Error::io(action, path, source))
    }
}

fn listed(platforms: &[Platform]) -> String {
    let names: Vec<String> = platforms.iter().map(ToString::to_string).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
