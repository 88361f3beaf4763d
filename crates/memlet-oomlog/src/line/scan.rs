//! Cutting numbers off a text.

use memlet_bytes::Bytes;

/// A number of the kernel's: whole, perhaps with a sign.
pub(super) trait Number: Sized {
    /// `None`: it is too large, or negative where that means nothing.
    fn of(is_negative: bool, amount: u64) -> Option<Self>;
}

macro_rules! number {
    ($($kind:ty),*) => {$(
        impl Number for $kind {
            fn of(is_negative: bool, amount: u64) -> Option<Self> {
                let amount = i128::from(amount);
                Self::try_from(if is_negative { -amount } else { amount }).ok()
            }
        }
    )*};
}

number!(u64, i64, u32, i32, i16);

/// The decimal number (with its sign) at the start of `text`, and what follows it.
pub(super) fn number<T: Number>(text: &str) -> Option<(T, &str)> {
    let bytes = text.as_bytes();
    let is_negative = bytes.first() == Some(&b'-');
    let (mut at, mut amount) = (usize::from(is_negative), 0u64);
    let begins = at;
    while let Some(digit) = bytes.get(at).map(|byte| byte.wrapping_sub(b'0')).filter(|digit| *digit < 10) {
        amount = amount.checked_mul(10)?.checked_add(u64::from(digit))?;
        at += 1;
    }
    if at == begins {
        return None;
    }
    Some((T::of(is_negative, amount)?, &text[at..]))
}

/// `text` as a whole as a decimal number.
pub(super) fn whole_number<T: Number>(text: &str) -> Option<T> {
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
