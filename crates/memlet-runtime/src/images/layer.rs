//! One layer: a stream of a tar becomes a folder in the form that overlayfs stacks.

mod entry;
mod metadata;
mod tree;
mod unpack;
mod whiteout;

use std::io;
use std::path::{Path, PathBuf};

use memlet_bytes::Bytes;

use super::compression::decompress;
use super::digest::{Digest, Digesting};
use super::error::Error;
use super::plan::PlannedLayer;
use super::source::Source;

/// What unpacking a layer told about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unpacked {
    /// The bytes of its files.
    pub(super) size: Bytes,
    /// Whether every folder it uses is an entry of its own. Otherwise folders took their owner and mode from
    /// the layers below, and the result is only right on top of those.
    pub(super) stands_alone: bool,
    /// Whether it says what the root folder's owner and mode are.
    pub(super) has_root: bool,
}

/// Why a layer did not unpack; joined with the layer's and the archive's names by `unpack`.
enum Failure {
    /// The tar stream broke off or is no tar.
    Stream(io::Error),
    /// An entry asks for what must not be done.
    Entry(PathBuf, String),
    /// Writing failed.
    Write(PathBuf, io::Error),
}

/// Unpacks `layer` of `source` into the empty folder `target`, on top of `below` (top first), verifying both
/// its digests; `read` hears how many of the archive's bytes have been read.
pub(super) fn unpack(
    source: &Source,
    layer: &PlannedLayer,
    target: &Path,
    below: &[PathBuf],
    read: &mut dyn FnMut(Bytes, Bytes),
) -> Result<Unpacked, Error> {
    let (stream, length) = source.stream(&layer.path)?;
    let part = || format!("layer {}", layer.blob.unwrap_or(layer.diff_id));
    let mut raw = Digesting::new(stream);
    let result = {
        let counted = Counting { inner: &mut raw, length: Bytes::new(length), read };
        decompress(counted).map_err(Failure::Stream).and_then(|plain| {
            let mut plain = Digesting::new(plain);
            let unpacked = unpack::unpack(&mut plain, target, below)?;
            Ok((unpacked, plain.finish().map_err(Failure::Stream)?.0))
        })
    };
    let result = result.map_err(|failure| match failure {
        Failure::Stream(error) => source.damaged(&part(), error),
        Failure::Entry(entry, reason) => Error::BadEntry { layer: layer.diff_id, entry, reason },
        Failure::Write(entry, error) => Error::Unpack { layer: layer.diff_id, entry, source: error },
    });
    // A wrong digest explains a broken stream, so it is told first; a full disk has nothing to do with it.
    if let Some(blob) = layer.blob
        && matches!(result, Ok(_) | Err(Error::Damaged { .. }))
    {
        let (found, _) = raw.finish().map_err(|error| source.damaged(&part(), error))?;
        verify(source, blob, found)?;
    }
    let (unpacked, plain) = result?;
    verify(source, layer.diff_id, plain)?;
    Ok(unpacked)
}

fn verify(source: &Source, blob: Digest, found: Digest) -> Result<(), Error> {
    if blob == found {
        return Ok(());
    }
    Err(Error::DigestMismatch { path: source.path().to_owned(), blob, found })
}

/// Tells how far the archive's bytes have been read.
struct Counting<'a, R> {
    inner: &'a mut Digesting<R>,
    length: Bytes,
    read: &'a mut dyn FnMut(Bytes, Bytes),
}

impl<R: io::Read> io::Read for Counting<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        (self.read)(Bytes::new(self.inner.length()), self.length);
        Ok(count)
    }
}
