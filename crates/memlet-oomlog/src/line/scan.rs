//! Cutting numbers off a text.

use std::str::FromStr;

use memlet_bytes::Bytes;

/// The decimal number (with its sign) at the start of `text`, and what follows it.
pub(super) fn number<T: FromStr>(text: &str) -> Option<(T, &str)> {
    let digits = text.strip_prefix('-').unwrap_or(text);
    let signs = text.len() - digits.len();
    let length = digits.bytes().take_while(u8::is_ascii_digit).count();
    if length == 0 {
        return None;
    }
    let (number, rest) = text.split_at(signs + length);
    Some((number.parse().ok()?, rest))
}

/// `text` as a whole as a decimal number.
pub(super) fn whole_number<T: FromStr>(text: &str) -> Option<T> {
    number(text).and_then(|(value, rest)| rest.is_empty().then_some(value))
}

/// The `NkB` at the start of `text`, and what follows it.
pub(super) fn kilobytes(text: &str) -> Option<(Bytes, &str)> {
    let (kib, rest) = number(text)?;
    Some((Bytes::from_kib(kib), rest.strip_prefix("kB")?))
}

/// The value behind `name`, with what follows it: `field("a:1kB, b:…", "a:", kilobytes)`.
pub(super) fn field<'a, T>(
    text: &'a str,
    name: &str,
    value: impl FnOnce(&'a str) -> Option<(T, &'a str)>,
) -> Option<(T, &'a str)> {
    value(text.strip_prefix(name)?)
}

/// A user id: some lines print it signed, so that 4294967294 shows as −2.
pub(super) fn uid(text: &str) -> Option<(u32, &str)> {
    let (value, rest) = number::<i64>(text)?;
    let uid = u32::try_from(value).ok().or_else(|| i32::try_from(value).ok().map(i32::cast_unsigned))?;
    Some((uid, rest))
}
