//! Kubernetes' amounts (`128Mi`, `1e3`, `500m`): parsed, compared, added and printed as the API server does.
//!
//! A [`Quantity`] is an exact decimal number with the format it was written in. The rules are those of
//! apimachinery's `pkg/api/resource`: nothing finer than 10⁻⁹, binary suffixes capped at 2⁶³−1, text kept as
//! typed where it is already judged canonical. Sizes on a command line have stricter rules: see
//! [`parse_size`].

mod convert;
mod parse;
mod size;

use std::cmp::Ordering;
use std::fmt;
use std::str::FromStr;

use memlet_bytes::Bytes;
use num_bigint::{BigInt, Sign};

pub use self::parse::{MAX_DIGITS, MAX_EXPONENT, ParseQuantityError};
pub use self::size::{FractionalBytes, ParseSizeError, fractional_bytes, parse_size};

/// The finest power of ten that is kept: 10⁻⁹.
const NANO: i32 = -9;
/// 10⁻³, what API defaulting rounds to.
const MILLI: i32 = -3;

/// How a quantity was written, which is how it is printed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `128M`, `500m`, `7`: powers of ten by suffix.
    DecimalSi,
    /// `128Mi`: powers of 1024 by suffix.
    BinarySi,
    /// `1e3`: powers of ten by exponent.
    DecimalExponent,
}

/// An exact amount, with the format it was written in.
///
/// Equality and order are numeric: `1Ki` equals `1024`.
///
/// ```
/// use memlet_policy::quantity::Quantity;
/// let half: Quantity = "0.5Gi".parse()?;
/// assert_eq!(half.to_string(), "512Mi");
/// assert_eq!(half.value(), 512 << 20);
/// assert_eq!(half, "524288Ki".parse()?);
/// # Ok::<(), memlet_policy::quantity::ParseQuantityError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Quantity {
    /// The amount is `digits` × 10^`scale`.
    digits: BigInt,
    /// Never below [`NANO`].
    scale: i32,
    format: Format,
    /// The text as typed, where upstream re-emits it instead of the canonical form.
    text: Option<String>,
}

impl Quantity {
    /// Nothing, as `0` reads.
    pub fn zero() -> Self {
        Self::from_integer(0, Format::DecimalSi)
    }

    /// A whole number, to be printed in `format`.
    pub fn from_integer(value: i64, format: Format) -> Self {
        Self { digits: value.into(), scale: 0, format, text: None }
    }

    /// So many thousandths.
    pub fn from_milli(thousandths: i64) -> Self {
        Self { digits: thousandths.into(), scale: MILLI, format: Format::DecimalSi, text: None }
    }

    /// A count of bytes, printed with binary suffixes as kubelet prints memory (`16374148Ki`).
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self { digits: bytes.get().into(), scale: 0, format: Format::BinarySi, text: None }
    }

    /// The format it is printed in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Whether the amount is nothing.
    pub fn is_zero(&self) -> bool {
        self.digits.sign() == Sign::NoSign
    }

    /// Whether the amount is above zero: what counts as "set" for classes and limits.
    pub fn is_positive(&self) -> bool {
        self.digits.sign() == Sign::Plus
    }

    /// Whether the amount is below zero, which no resource may be.
    pub fn is_negative(&self) -> bool {
        self.digits.sign() == Sign::Minus
    }

    /// Whether the amount is a whole number.
    pub fn is_integer(&self) -> bool {
        self.scaled_up(0).1
    }

    /// The amount as a whole number, rounded away from zero as upstream's `Value()`; what is beyond an `i64`
    /// becomes the largest or smallest (upstream wraps).
    pub fn value(&self) -> i64 {
        saturate(&self.scaled_up(0).0)
    }

    /// As [`value`](Self::value), but `None` where the amount does not fit.
    pub fn checked_value(&self) -> Option<i64> {
        i64::try_from(&self.scaled_up(0).0).ok()
    }

    /// The amount in thousandths, rounded away from zero as upstream's `MilliValue()`; saturates.
    pub fn milli_value(&self) -> i64 {
        saturate(&self.scaled_up(MILLI).0)
    }

    /// As [`milli_value`](Self::milli_value), but `None` where the amount does not fit.
    pub fn checked_milli_value(&self) -> Option<i64> {
        i64::try_from(&self.scaled_up(MILLI).0).ok()
    }

    /// The amount as bytes of memory, by [`value`](Self::value). A negative amount, which validation refuses,
    /// is zero.
    pub fn bytes(&self) -> Bytes {
        Bytes::new(u64::try_from(self.value()).unwrap_or(0))
    }

    /// Rounds away from zero to a multiple of 10⁻³, as API defaulting does to every resource amount.
    #[must_use]
    pub fn round_up_to_milli(self) -> Self {
        if self.scale >= MILLI {
            return self;
        }
        let (digits, _) = self.scaled_up(MILLI);
        Self { digits, scale: MILLI, format: self.format, text: None }
    }

    /// The sum. It keeps this amount's format, unless this amount is zero: then `other`'s.
    #[must_use]
    pub fn plus(&self, other: &Self) -> Self {
        self.combined(other, |left, right| left + right)
    }

    /// The difference, in the format that [`plus`](Self::plus) would give.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.combined(other, |left, right| left - right)
    }

    fn combined(&self, other: &Self, operation: fn(BigInt, BigInt) -> BigInt) -> Self {
        let format = if self.is_zero() { other.format } else { self.format };
        let scale = self.scale.min(other.scale);
        let digits = operation(self.digits_at(scale), other.digits_at(scale));
        Self { digits, scale, format, text: None }
    }

    /// The digits at a scale that is not above this quantity's own: exact.
    fn digits_at(&self, scale: i32) -> BigInt {
        &self.digits * power_of_ten(self.scale.saturating_sub(scale))
    }

    /// The digits at `scale`, rounded away from zero, and whether nothing was lost.
    fn scaled_up(&self, scale: i32) -> (BigInt, bool) {
        if self.scale >= scale {
            return (self.digits_at(scale), true);
        }
        divide_away_from_zero(&self.digits, &power_of_ten(scale - self.scale))
    }

    /// The mantissa and exponent of the decimal forms: no trailing zeros, exponent a multiple of 3.
    fn canonical_decimal(&self) -> (String, i32) {
        let text = self.digits.to_string();
        let trimmed = text.trim_end_matches('0');
        let zeros = i32::try_from(text.len() - trimmed.len()).unwrap_or(i32::MAX);
        let exponent = self.scale.saturating_add(zeros);
        let padding = exponent.rem_euclid(3);
        let mantissa = format!("{trimmed}{}", &"00"[..usize::try_from(padding).unwrap_or(0)]);
        (mantissa, exponent - padding)
    }

    /// The format that this value can be printed in without loss.
    fn printable_format(&self) -> Format {
        let small = self.scaled_up(0).0.magnitude() < &1024_u32.into();
        match self.format {
            Format::BinarySi if small || !self.is_integer() => Format::DecimalSi,
            format => format,
        }
    }

    /// The canonical text, whatever was typed.
    pub fn canonical(&self) -> String {
        if self.is_zero() {
            return "0".to_owned();
        }
        let format = self.printable_format();
        if format == Format::BinarySi {
            return self.canonical_binary();
        }
        let (mantissa, exponent) = self.canonical_decimal();
        let suffix = match format {
            Format::DecimalExponent => None,
            _ => parse::decimal_suffix(exponent),
        };
        match suffix {
            Some(suffix) => format!("{mantissa}{suffix}"),
            None if exponent == 0 => mantissa,
            // Decimal suffixes end at `E`; beyond that the exponent is spelled out.
            None => format!("{mantissa}e{exponent}"),
        }
    }

    fn canonical_binary(&self) -> String {
        let (mut mantissa, _) = self.scaled_up(0);
        let kibi = BigInt::from(1024_u32);
        let mut suffix = "";
        for next in parse::BINARY_SUFFIXES {
            let (quotient, remainder) = (&mantissa / &kibi, &mantissa % &kibi);
            if remainder.sign() != Sign::NoSign {
                break;
            }
            (mantissa, suffix) = (quotient, next);
        }
        format!("{mantissa}{suffix}")
    }
}

/// 10^`exponent`; 1 for exponents below zero.
fn power_of_ten(exponent: i32) -> BigInt {
    BigInt::from(10_u32).pow(u32::try_from(exponent).unwrap_or(0))
}

fn divide_away_from_zero(digits: &BigInt, divisor: &BigInt) -> (BigInt, bool) {
    let (quotient, remainder) = (digits / divisor, digits % divisor);
    match remainder.sign() {
        Sign::NoSign => (quotient, true),
        Sign::Plus => (quotient + 1, false),
        Sign::Minus => (quotient - 1, false),
    }
}

fn saturate(value: &BigInt) -> i64 {
    i64::try_from(value).unwrap_or(if value.sign() == Sign::Minus { i64::MIN } else { i64::MAX })
}

impl fmt::Display for Quantity {
    /// The text as typed where upstream keeps it, else [`canonical`](Quantity::canonical).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => f.pad(text),
            None => f.pad(&self.canonical()),
        }
    }
}

impl FromStr for Quantity {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse::quantity(text)
    }
}

impl PartialEq for Quantity {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Quantity {}

impl PartialOrd for Quantity {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Quantity {
    fn cmp(&self, other: &Self) -> Ordering {
        let scale = self.scale.min(other.scale);
        self.digits_at(scale).cmp(&other.digits_at(scale))
    }
}

#[cfg(test)]
mod tests;
