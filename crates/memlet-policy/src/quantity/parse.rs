//! The grammar of a quantity: the scanner and its three errors, by apimachinery's `ParseQuantity`.

use num_bigint::{BigInt, Sign};

use super::{Format, NANO, Quantity, divide_away_from_zero, power_of_ten};

/// The largest exponent, up or down, that `1e…` may have. Upstream takes any, and spins for minutes on some.
pub const MAX_EXPONENT: i64 = 1_000;

/// The most digits that a number may have. Upstream has no bound; arithmetic on megabytes of digits is a way
/// to keep a server busy.
pub const MAX_DIGITS: usize = 2_000;

/// Suffixes of 2¹⁰, 2²⁰, … 2⁶⁰.
pub(super) const BINARY_SUFFIXES: [&str; 6] = ["Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// Suffixes of 10⁻⁹, 10⁻⁶, … 10¹⁸.
const DECIMAL_SUFFIXES: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// Up to this many decimal digits upstream computes in an `i64` and may keep the text as typed.
const FAST_DIGITS: usize = 18;

/// Why a text is not a quantity, in the API server's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum ParseQuantityError {
    /// Empty, or not a number followed by letters of the suffix alphabet and perhaps an exponent.
    #[error("quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'")]
    Format,
    /// The shape fits but there is no such suffix (`1K`, `1mi`), or its exponent is beyond [`MAX_EXPONENT`].
    #[error("unable to parse quantity's suffix")]
    Suffix,
    /// The number has no digits, or more than [`MAX_DIGITS`].
    #[error("unable to parse numeric part of quantity")]
    Numeric,
}

/// The decimal suffix of 10^`exponent`, where there is one.
pub(super) fn decimal_suffix(exponent: i32) -> Option<&'static str> {
    let index = usize::try_from(exponent.checked_sub(NANO)?).ok()?;
    index.is_multiple_of(3).then(|| DECIMAL_SUFFIXES.get(index / 3).copied())?
}

/// A text cut into its parts; all digits are ASCII.
struct Parts<'a> {
    negative: bool,
    /// Before the point, without leading zeros; `0` where nothing is left.
    whole: &'a str,
    /// After the point.
    fraction: &'a str,
    suffix: &'a str,
    /// Whether any digit was written.
    has_digits: bool,
}

/// Cuts `text` as upstream's scanner does. It is more lenient than the pattern in the error's text: a bare
/// suffix or sign passes.
fn scan(text: &str) -> Result<Parts<'_>, ParseQuantityError> {
    let digits = |text: &str| text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    let number = unsigned.trim_start_matches('0');
    let (whole, rest) = number.split_at(digits(number));
    let (fraction, suffix) = match rest.strip_prefix('.') {
        Some(rest) => rest.split_at(digits(rest)),
        None => ("", rest),
    };
    let has_digits = number.len() < unsigned.len() || !whole.is_empty() || !fraction.is_empty();
    let after_letters = suffix.trim_start_matches(|c: char| "eEinumkKMGTP".contains(c));
    let after_sign = after_letters.strip_prefix(['+', '-']).unwrap_or(after_letters);
    if digits(after_sign) != after_sign.len() {
        return Err(ParseQuantityError::Format);
    }
    let whole = if whole.is_empty() { "0" } else { whole };
    Ok(Parts { negative, whole, fraction, suffix, has_digits })
}

/// What a suffix multiplies by.
#[derive(Clone, Copy)]
enum Suffix {
    Decimal(i32),
    Binary(u32),
    Exponent(i32),
}

fn interpret(suffix: &str) -> Result<Suffix, ParseQuantityError> {
    if let Some(steps) = DECIMAL_SUFFIXES.iter().position(|known| *known == suffix) {
        return Ok(Suffix::Decimal(i32::try_from(steps).unwrap_or(0) * 3 + NANO));
    }
    if let Some(steps) = BINARY_SUFFIXES.iter().position(|known| *known == suffix) {
        return Ok(Suffix::Binary(u32::try_from(steps + 1).unwrap_or(0) * 10));
    }
    let exponent = suffix.strip_prefix(['e', 'E']).ok_or(ParseQuantityError::Suffix)?;
    let exponent: i64 = exponent.parse().map_err(|_| ParseQuantityError::Suffix)?;
    if exponent.abs() > MAX_EXPONENT {
        return Err(ParseQuantityError::Suffix);
    }
    i32::try_from(exponent).map(Suffix::Exponent).map_err(|_| ParseQuantityError::Suffix)
}

pub(super) fn quantity(text: &str) -> Result<Quantity, ParseQuantityError> {
    if text.is_empty() {
        return Err(ParseQuantityError::Format);
    }
    let parts = scan(text)?;
    let suffix = interpret(parts.suffix)?;
    if parts.whole.len() + parts.fraction.len() > MAX_DIGITS {
        return Err(ParseQuantityError::Numeric);
    }
    let typed: String = [parts.whole, parts.fraction].concat();
    let magnitude = BigInt::parse_bytes(typed.as_bytes(), 10).ok_or(ParseQuantityError::Numeric)?;
    let fraction_digits = i32::try_from(parts.fraction.len()).map_err(|_| ParseQuantityError::Numeric)?;
    let (digits, scale, mut format) = match suffix {
        Suffix::Decimal(exponent) => (magnitude.clone(), exponent - fraction_digits, Format::DecimalSi),
        Suffix::Exponent(exponent) => {
            (magnitude.clone(), exponent - fraction_digits, Format::DecimalExponent)
        }
        Suffix::Binary(shift) => (magnitude.clone() << shift, -fraction_digits, Format::BinarySi),
    };

    let fast = is_fast(&parts, suffix, scale);
    if !fast && !parts.has_digits {
        return Err(ParseQuantityError::Numeric);
    }
    let (mut digits, scale) = at_least_nano(digits, scale);
    if !fast && format == Format::BinarySi {
        let cap = BigInt::from(i64::MAX) * power_of_ten(-scale);
        digits = digits.min(cap);
        if digits.sign() == Sign::Plus && digits < power_of_ten(-scale) {
            format = Format::DecimalSi;
        }
    }
    if parts.negative {
        digits = -digits;
    }
    let kept = text == "0" || fast && keeps_text(&typed, &magnitude, suffix, scale);
    Ok(Quantity { digits, scale, format, text: kept.then(|| text.to_owned()) })
}

/// Rounds what is finer than 10⁻⁹ up to it: who asks for any amount gets some.
fn at_least_nano(digits: BigInt, scale: i32) -> (BigInt, i32) {
    if scale >= NANO {
        return (digits, scale);
    }
    (divide_away_from_zero(&digits, &power_of_ten(NANO - scale)).0, NANO)
}

/// Whether upstream computes this text in an `i64`: only then is the text kept, and only there does a number
/// without digits count as zero.
fn is_fast(parts: &Parts<'_>, suffix: Suffix, scale: i32) -> bool {
    match suffix {
        Suffix::Decimal(_) | Suffix::Exponent(_) => {
            parts.whole.len() + parts.fraction.len() <= FAST_DIGITS && scale >= NANO
        }
        // Each ten binary places are taken for three decimal digits.
        Suffix::Binary(shift) => {
            parts.fraction.is_empty() && parts.whole.len() + (shift as usize * 3 / 10) < FAST_DIGITS - 3
        }
    }
}

/// Whether the text is judged canonical already, so that it is re-emitted as it was typed.
fn keeps_text(typed: &str, magnitude: &BigInt, suffix: Suffix, scale: i32) -> bool {
    match suffix {
        Suffix::Binary(_) => magnitude % 8 != BigInt::ZERO,
        Suffix::Decimal(_) | Suffix::Exponent(_) => {
            scale % 3 == 0 && !typed.ends_with("000") && !typed.starts_with('0')
        }
    }
}
