//! UTF-16 as UTF-8: what a shell of Windows writes when output is redirected into a file.

use std::io::{self, Read};

/// Which byte of a unit comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Little,
    Big,
}

/// Reads UTF-16 and gives UTF-8; what is no character becomes U+FFFD.
pub(super) struct Utf16<R> {
    inner: R,
    order: Order,
    /// A byte whose unit is not whole yet.
    half: Option<u8>,
    /// The first unit of a pair.
    high: Option<u16>,
    ready: Vec<u8>,
    given: usize,
    at_start: bool,
}

/// Bytes read at a time.
const PIECE: usize = 64 << 10;

impl<R: Read> Utf16<R> {
    /// The mark at the beginning may still be there.
    pub(super) fn new(inner: R, order: Order) -> Self {
        Self { inner, order, half: None, high: None, ready: Vec::new(), given: 0, at_start: true }
    }

    fn unit(&mut self, bytes: [u8; 2]) {
        let unit = match self.order {
            Order::Little => u16::from_le_bytes(bytes),
            Order::Big => u16::from_be_bytes(bytes),
        };
        if std::mem::take(&mut self.at_start) && unit == 0xfeff {
            return;
        }
        match (self.high.take(), unit) {
            (Some(high), 0xdc00..0xe000) => {
                // A pair of surrogates is always a character.
                let c = char::decode_utf16([high, unit]).find_map(Result::ok);
                self.give(c.unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            (before, unit) => {
                if before.is_some() {
                    self.give(char::REPLACEMENT_CHARACTER);
                }
                if (0xd800..0xdc00).contains(&unit) {
                    self.high = Some(unit);
                } else {
                    self.give(char::from_u32(unit.into()).unwrap_or(char::REPLACEMENT_CHARACTER));
                }
            }
        }
    }

    fn give(&mut self, c: char) {
        self.ready.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
    }

    /// Reads on; answers whether there was anything.
    fn fill(&mut self) -> io::Result<bool> {
        let mut piece = vec![0; PIECE];
        let count = self.inner.read(&mut piece)?;
        self.ready.clear();
        self.given = 0;
        for byte in &piece[..count] {
            match self.half.take() {
                None => self.half = Some(*byte),
                Some(first) => self.unit([first, *byte]),
            }
        }
        if count == 0 && (self.half.take().is_some() | self.high.take().is_some()) {
            self.give(char::REPLACEMENT_CHARACTER);
        }
        Ok(count > 0)
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() {
            if !self.fill()? && self.ready.is_empty() {
                return Ok(0);
            }
        }
        let rest = &self.ready[self.given..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = usize::from(!self.0.is_empty());
            buffer[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    fn decoded(units: &[u16], order: Order, tail: &[u8]) -> String {
        let bytes = |unit: &u16| match order {
            Order::Little => unit.to_le_bytes(),
            Order::Big => unit.to_be_bytes(),
        };
        let mut all: Vec<u8> = units.iter().flat_map(bytes).collect();
        all.extend_from_slice(tail);
        let mut text = String::new();
        Utf16::new(Drip(&all), order).read_to_string(&mut text).unwrap();
        text
    }

    #[test]
    fn every_unit_becomes_a_character() {
        let units: Vec<u16> = "\u{feff}Killed → 𝄞\r\n".encode_utf16().collect();
        for order in [Order::Little, Order::Big] {
            assert_eq!(decoded(&units, order, b""), "Killed → 𝄞\r\n");
        }
    }

    #[test]
    fn what_is_no_character_is_replaced() {
        for (units, tail, expected) in [
            (&[0x61, 0xd834, 0x62][..], &b""[..], "a\u{fffd}b"),
            (&[0xdd1e, 0x62], b"", "\u{fffd}b"),
            (&[0x61, 0xd834], b"", "a\u{fffd}"),
            (&[0x61], b"x", "a\u{fffd}"),
            (&[0xd834, 0xd834, 0xdd1e], b"", "\u{fffd}𝄞"),
        ] {
            assert_eq!(decoded(units, Order::Little, tail), expected, "{units:x?}");
        }
    }
}
