//! What a log is packed in, recognised by its first bytes: gzip, zstd, xz, one within the other, and UTF-16. Unpacking
//! is streaming, and takes bounded memory whatever the file asks for.

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use lzma_rust2::XzReader;

use super::utf16::{Order, Utf16};

/// A log, readable from another thread.
pub(super) type Log = Box<dyn Read + Send>;

/// A log whose first bytes were read already.
type Whole = Chain<Cursor<Vec<u8>>, Log>;

/// So many packings are undone; nobody packs a log more often.
const NESTED: usize = 3;
/// Memory for one xz decoder in KiB: its strongest preset needs half of that.
const XZ_MEMORY_KIB: u32 = 128 << 10;
/// The longest of the marks.
const LONGEST_MARK: usize = 8;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Encoding {
    Plain,
    Gzip,
    Zstd,
    Xz,
    /// After so many bytes of a mark.
    Utf8(usize),
    Utf16(Order),
    /// A file of systemd-journald's own.
    Journal,
}

impl Encoding {
    /// Recognises the beginning of a log.
    pub(super) fn of(start: &[u8]) -> Self {
        let marks: [(&[u8], Self); 7] = [
            (b"\x1f\x8b\x08", Self::Gzip),
            (b"\x28\xb5\x2f\xfd", Self::Zstd),
            (b"\xfd7zXZ\0", Self::Xz),
            (b"\xef\xbb\xbf", Self::Utf8(3)),
            (b"\xff\xfe", Self::Utf16(Order::Little)),
            (b"\xfe\xff", Self::Utf16(Order::Big)),
            (b"LPKSHHRH", Self::Journal),
        ];
        marks
            .into_iter()
            .find(|(mark, _)| start.starts_with(mark))
            .map_or(Self::Plain, |(_, encoding)| encoding)
    }

    /// Whether it is packed.
    pub(super) const fn is_compressed(self) -> bool {
        matches!(self, Self::Gzip | Self::Zstd | Self::Xz)
    }
}

/// The log as plain bytes.
pub(super) fn unpacked(log: Log) -> io::Result<Log> {
    let mut log = log;
    for _ in 0..=NESTED {
        let (encoding, whole) = recognised(log)?;
        log = match encoding {
            Encoding::Plain => return Ok(Box::new(whole)),
            Encoding::Gzip => {
                Box::new(Explained { inner: MultiGzDecoder::new(BufReader::new(whole)), name: "gzip" })
            }
            Encoding::Zstd => Box::new(Explained { inner: zstd::Decoder::new(whole)?, name: "zstd" }),
            Encoding::Xz => {
                Box::new(Explained { inner: XzReader::new_mem_limit(whole, true, XZ_MEMORY_KIB), name: "xz" })
            }
            Encoding::Utf8(mark) => {
                let mut whole = whole;
                whole.read_exact(&mut [0; LONGEST_MARK][..mark])?;
                return Ok(Box::new(whole));
            }
            Encoding::Utf16(order) => return Ok(Box::new(Utf16::new(whole, order))),
            Encoding::Journal => {
                return Err(io::Error::other(
                    "it is a file of systemd-journald's own: journalctl -k -o export --file FILE | memlet explain -",
                ));
            }
        };
    }
    Err(io::Error::other("it is compressed too many times over"))
}

/// Reads the mark and gives it back.
fn recognised(mut log: Log) -> io::Result<(Encoding, Whole)> {
    let mut start = Vec::with_capacity(LONGEST_MARK);
    // Byte by byte as they come: a stream may hold less than a mark for long, and must not wait for more than one line.
    while start.len() < LONGEST_MARK && !start.contains(&b'\n') {
        let mut next = [0; LONGEST_MARK];
        match log.read(&mut next[..LONGEST_MARK - start.len()]) {
            Ok(0) => break,
            Ok(count) => start.extend_from_slice(&next[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let encoding = Encoding::of(&start);
    Ok((encoding, Cursor::new(start).chain(log)))
}

/// Says in which packing an error is.
struct Explained<R> {
    inner: R,
    name: &'static str,
}

impl<R: Read> Read for Explained<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.inner.read(buffer).map_err(|error| match error.kind() {
            io::ErrorKind::Interrupted => error,
            kind => io::Error::new(kind, format!("its {} data is damaged or cut off: {error}", self.name)),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn read(bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        unpacked(Box::new(Cursor::new(bytes.to_vec())))?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::encode_all(bytes, 1).unwrap()
    }

    /// `printf 'hello\nworld\n' | xz`
    const XZ: &[u8] = include_bytes!("testdata/hello.xz");

    #[test]
    fn each_packing_is_recognised() {
        let text = b"hello\nworld\n";
        assert_eq!(read(text).unwrap(), text);
        assert_eq!(read(&gzip(text)).unwrap(), text);
        assert_eq!(read(&zstd(text)).unwrap(), text);
        assert_eq!(read(XZ).unwrap(), text);
        assert_eq!(read(&gzip(&zstd(text))).unwrap(), text);
        assert_eq!(read(b"\xef\xbb\xbfhello\nworld\n").unwrap(), text);
        for short in [&b""[..], b"\x1f", b"a", b"\n"] {
            assert_eq!(read(short).unwrap(), short);
        }
    }

    #[test]
    fn several_members_are_one_log() {
        for pack in [gzip as fn(&[u8]) -> Vec<u8>, zstd] {
            let two = [pack(b"hello\n"), pack(b"world\n")].concat();
            assert_eq!(read(&two).unwrap(), b"hello\nworld\n");
        }
        assert_eq!(read(&[XZ, XZ].concat()).unwrap(), b"hello\nworld\nhello\nworld\n");
    }

    #[test]
    fn what_is_damaged_is_said() {
        for (name, packed) in [("gzip", gzip(&[7; 1000])), ("zstd", zstd(&[7; 1000])), ("xz", XZ.to_vec())] {
            let error = read(&packed[..packed.len() - 9]).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
        assert!(read(b"LPKSHHRH\0\0").unwrap_err().to_string().contains("journalctl"));
        let mut nested = b"x\n".to_vec();
        for _ in 0..5 {
            nested = gzip(&nested);
        }
        assert!(read(&nested).unwrap_err().to_string().contains("too many times"));
    }
}
