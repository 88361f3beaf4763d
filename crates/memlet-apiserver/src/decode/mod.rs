//! From a request's bytes to a typed object, with every departure from the schema named.
//!
//! Upstream decodes leniently and strictly in one pass; so does this: the object is what the known fields say, and
//! unknown and repeated fields are reported beside it, for `fieldValidation` to refuse, warn about, or ignore.

mod document;
mod quantities;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;
use crate::kind::ServedKind;

use quantities::numbers_to_text;

/// An object and what was odd about its text.
#[derive(Debug)]
pub(crate) struct Decoded<T> {
    pub(crate) object: T,
    /// `unknown field "spec.foo"`, `duplicate field "spec.bar"`.
    pub(crate) oddities: Vec<String>,
}

/// What to do about unknown and repeated fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum FieldValidation {
    Ignore,
    /// Upstream's default.
    #[default]
    Warn,
    Strict,
}

/// Reads JSON into a value; repeated keys are told and the last one counts.
pub(crate) fn parse(body: &[u8], kind: &str) -> Result<Decoded<Value>, ApiError> {
    document::parse(body).map(|(object, oddities)| Decoded { object, oddities }).map_err(|error| {
        let why = format!("couldn't get version/kind; json parse error: {error}");
        ApiError::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why}"))
    })
}

/// Decodes the body of a create or an update into the kind that the path names.
pub(crate) fn object<K: ServedKind>(body: &[u8]) -> Result<Decoded<K>, ApiError> {
    let Decoded { object: mut value, mut oddities } = parse(body, K::KIND)?;
    check_type::<K>(&value)?;
    let typed = self::value::<K>(&mut value)?;
    oddities.extend(typed.oddities);
    Ok(Decoded { object: typed.object, oddities })
}

/// Decodes a value, for instance what a patch gave, into a kind.
pub(crate) fn value<K: ServedKind>(value: &mut Value) -> Result<Decoded<K>, ApiError> {
    for place in K::quantity_places() {
        numbers_to_text(value, place);
    }
    let refused = |why: String| cannot_be::<K>(K::KIND, K::API_VERSION, &why);
    let mut decoded = plain::<K>(value).map_err(refused)?;
    decoded.object.canonicalize().map_err(refused)?;
    Ok(decoded)
}

/// Decodes a value into any type, naming the place of an error.
pub(crate) fn plain<T: DeserializeOwned>(value: &Value) -> Result<Decoded<T>, String> {
    let mut oddities = Vec::new();
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(value, &mut track);
    let object = serde_ignored::deserialize(tracked, |path| {
        oddities.push(format!("unknown field {:?}", document::upstream_path(&path)));
    })
    .map_err(|error: serde_json::Error| {
        let place = track.path().to_string();
        // A quantity in error is told by its own text; everything else needs its place.
        if place == "." { error.to_string() } else { format!("{place}: {error}") }
    })?;
    Ok(Decoded { object, oddities })
}

fn cannot_be<K: ServedKind>(kind: &str, version: &str, why: &str) -> ApiError {
    ApiError::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", K::KIND))
}

/// A body may leave its type out (the path tells it), but may not state another.
fn check_type<K: ServedKind>(value: &Value) -> Result<(), ApiError> {
    if !value.is_object() {
        let why = "couldn't get version/kind; json parse error: json: cannot unmarshal into Go value of type struct";
        return Err(ApiError::bad_request(format!(
            "the object provided is unrecognized (must be of type {}): {why}",
            K::KIND
        )));
    }
    let stated = |field: &str, default| match value.get(field) {
        None | Some(Value::Null) => default,
        Some(text) => text.as_str().unwrap_or_default().to_owned(),
    };
    let kind = stated("kind", K::KIND.to_owned());
    let version = stated("apiVersion", K::API_VERSION.to_owned());
    if version != K::API_VERSION {
        return Err(ApiError::bad_request(format!(
            "the API version in the data ({version}) does not match the expected API version ({})",
            K::API_VERSION
        )));
    }
    if kind != K::KIND {
        let why = format!("converting (v1.{kind}) to (core.{}): unknown conversion", K::KIND);
        return Err(cannot_be::<K>(&kind, &version, &why));
    }
    Ok(())
}

/// What a decoded object's oddities mean under the request's `fieldValidation`: warnings, or a refusal.
pub(crate) fn judge<K: ServedKind>(
    oddities: Vec<String>,
    validation: FieldValidation,
) -> Result<Vec<String>, ApiError> {
    match validation {
        FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(oddities),
        FieldValidation::Strict if oddities.is_empty() => Ok(oddities),
        FieldValidation::Strict => {
            let why = format!("strict decoding error: {}", oddities.join(", "));
            Err(cannot_be::<K>(K::KIND, K::API_VERSION, &why))
        }
    }
}
