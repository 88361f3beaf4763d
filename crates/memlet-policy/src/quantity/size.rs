//! Sizes as people type them on a command line, and what they did not mean.
//!
//! A flag's value may be refused where the API must accept: `128m` is 0.128 byte to Kubernetes, and nobody
//! means that. The API itself only warns; [`fractional_bytes`] is that warning.

use std::fmt;

use memlet_bytes::Bytes;

use super::{ParseQuantityError, Quantity};

/// Why a text is not a size of memory.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseSizeError {
    /// Not a quantity at all.
    #[error("{text:?} is not a size: {}", suggestion_or_forms(.suggestions))]
    NotAQuantity {
        /// What was typed.
        text: String,
        /// What may have been meant.
        suggestions: Vec<String>,
        /// What the API server would say.
        #[source]
        source: ParseQuantityError,
    },
    /// A size below zero.
    #[error("{text:?} is not a size: a size cannot be negative")]
    Negative {
        /// What was typed.
        text: String,
    },
    /// A fraction of a byte, as `128m` is.
    #[error("{text:?} is not a whole number of bytes: {}", suggestion_or_forms(.suggestions))]
    Fractional {
        /// What was typed.
        text: String,
        /// What may have been meant.
        suggestions: Vec<String>,
    },
    /// More than 2⁶³−1 bytes.
    #[error("{text:?} is too large: sizes end at 9223372036854775807 bytes, just under 8Ei")]
    TooLarge {
        /// What was typed.
        text: String,
    },
}

fn suggestion_or_forms(suggestions: &[String]) -> String {
    if suggestions.is_empty() {
        "write bytes (134217728) or a number with a suffix such as 128Mi, 128M or 1.5Gi".to_owned()
    } else {
        format!("did you mean {}?", suggestions.join(" or "))
    }
}

/// Reads the size of a flag such as `--node-memory 2041888Ki`: a quantity that is a whole, non-negative number
/// of bytes.
///
/// # Errors
/// Says what was typed and, where it can be guessed (`128Mb`, `128 MiB`, `1K`), what was meant.
///
/// ```
/// use memlet_policy::quantity::parse_size;
/// assert_eq!(parse_size("2041888Ki")?.get(), 2_041_888 * 1024);
/// assert_eq!(
///     parse_size("128Mb").unwrap_err().to_string(),
///     r#""128Mb" is not a size: did you mean 128Mi or 128M?"#,
/// );
/// # Ok::<(), memlet_policy::quantity::ParseSizeError>(())
/// ```
pub fn parse_size(text: &str) -> Result<Bytes, ParseSizeError> {
    let typed = || text.to_owned();
    let quantity: Quantity = match text.parse() {
        // A bare suffix is zero to the API; on a command line it is a number forgotten.
        Ok(_) if !text.contains(|c: char| c.is_ascii_digit()) => Err(ParseQuantityError::Numeric),
        parsed => parsed,
    }
    .map_err(|source| ParseSizeError::NotAQuantity {
        text: typed(),
        suggestions: suggestions(text),
        source,
    })?;
    if quantity.is_negative() {
        return Err(ParseSizeError::Negative { text: typed() });
    }
    if !quantity.is_integer() {
        return Err(ParseSizeError::Fractional { text: typed(), suggestions: suggestions(text) });
    }
    // A binary suffix is capped when parsed: `9Ei` would silently become a byte less than 8Ei.
    match quantity.checked_value() {
        Some(i64::MAX) if text.trim_end().ends_with('i') => Err(ParseSizeError::TooLarge { text: typed() }),
        Some(bytes) => Ok(Bytes::new(bytes.unsigned_abs())),
        None => Err(ParseSizeError::TooLarge { text: typed() }),
    }
}

/// What may have been meant: the number with the unit's binary and decimal suffix.
fn suggestions(text: &str) -> Vec<String> {
    let compact: String = text.chars().filter(|c| !c.is_whitespace() && *c != '_').collect();
    let unit_at = compact.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(compact.len());
    let (number, unit) = compact.split_at(unit_at);
    if !number.contains(|c: char| c.is_ascii_digit()) {
        return Vec::new();
    }
    let unit = unit.to_ascii_lowercase();
    let prefix = match unit.trim_end_matches("bytes").trim_end_matches("byte").trim_end_matches('b') {
        "" => "",
        "k" | "ki" | "kilo" => "K",
        "m" | "mi" | "mega" => "M",
        "g" | "gi" | "giga" => "G",
        "t" | "ti" | "tera" => "T",
        "p" | "pi" | "peta" => "P",
        _ => return Vec::new(),
    };
    let binary = format!("{number}{prefix}i");
    let decimal = format!("{number}{}", if prefix == "K" { "k" } else { prefix });
    // `ib` and `i` can only be meant binary.
    let candidates = match prefix {
        "" => vec![number.to_owned()],
        _ if unit.contains('i') && !unit.contains("gig") => vec![binary],
        _ => vec![binary, decimal],
    };
    candidates
        .into_iter()
        .filter(|candidate| candidate.parse::<Quantity>().is_ok_and(|quantity| quantity.is_integer()))
        .collect()
}

/// The API server's warning about an amount of memory that is not a whole number of bytes: accepted, and
/// almost never meant (`128m` is 0.128 byte).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FractionalBytes {
    /// The field, as `spec.containers[0].resources.requests[memory]`.
    pub field: String,
    /// The amount, as the API prints it.
    pub value: String,
}

impl fmt::Display for FractionalBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: fractional byte value {:?} is invalid, must be an integer", self.field, self.value)
    }
}

/// The warning for one memory amount, `None` where it is a whole number of bytes.
pub fn fractional_bytes(field: &str, memory: &Quantity) -> Option<FractionalBytes> {
    (!memory.is_integer()).then(|| FractionalBytes { field: field.to_owned(), value: memory.to_string() })
}
