//! How a layer or a whole archive is compressed, told by its first bytes.
//!
//! The bytes are trusted over the media type: `docker save` has none, and builders are known to mislabel.

use std::io::{self, Read};

use flate2::read::MultiGzDecoder;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// Told from a stream's first bytes (RFC 1952, RFC 8878: a frame or a skippable frame).
    pub(super) fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The plain bytes of `stream`, however it is compressed.
pub(super) fn decompress<'a>(mut stream: impl Read + 'a) -> io::Result<Box<dyn Read + 'a>> {
    let start = read_start(&mut stream)?;
    let compression = Compression::of(&start);
    let whole = io::Cursor::new(start).chain(stream);
    Ok(match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::new(whole)?),
    })
}

/// Up to four bytes; fewer only where the stream ends.
fn read_start(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut start = Vec::with_capacity(4);
    stream.by_ref().take(4).read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn plain(stream: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        decompress(stream).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gives_back_the_plain_bytes() {
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        assert_eq!(plain(b"abcdef"), b"abcdef");
        assert_eq!(plain(b"ab"), b"ab");
        assert_eq!(plain(b""), b"");
        assert_eq!(plain(&gzip(b"abcdef")), b"abcdef");
        assert_eq!(plain(&zstd(b"abcdef")), b"abcdef");
    }

    /// pigz and eStargz write several gzip members, zstd:chunked several frames and a skippable one.
    #[test]
    fn reads_every_member_and_frame() {
        assert_eq!(plain(&[gzip(b"abc"), gzip(b"def")].concat()), b"abcdef");
        let skippable = [0x50, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 9, 9].to_vec();
        let frame = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        assert_eq!(plain(&[skippable.clone(), frame(b"abc"), frame(b"def"), skippable].concat()), b"abcdef");
    }
}
