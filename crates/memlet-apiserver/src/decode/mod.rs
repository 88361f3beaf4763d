//! From a request's bytes to a typed object, with every departure from the schema named.
//!
//! Upstream decodes leniently and strictly in one pass; so does this: the object is what the known fields say, and
//! unknown and repeated fields are reported beside it, for `fieldValidation` to refuse, warn about, or ignore.

mod document;
mod protobuf;
mod quantities;

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::error::ApiError;
use crate::kind::ServedKind;
use crate::ownership;
use crate::storage::Key;

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

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notation {
    Json,
    Yaml,
    Protobuf,
}

/// Reads JSON into a value; repeated keys are told and the last one counts. Protobuf, which no JSON can be, is read too.
pub(crate) fn parse(body: &[u8], kind: &str) -> Result<Decoded<Value>, ApiError> {
    if protobuf::is_enveloped(body) {
        return self::body(body, Notation::Protobuf, kind);
    }
    document::parse(body).map(|(object, oddities)| Decoded { object, oddities }).map_err(|error| {
        let why = format!("couldn't get version/kind; json parse error: {error}");
        ApiError::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why}"))
    })
}

/// Reads the body of a patch.
pub(crate) fn patch(body: &[u8]) -> Result<Decoded<Value>, ApiError> {
    document::parse(body)
        .map(|(object, oddities)| Decoded { object, oddities })
        .map_err(|error| ApiError::bad_request(format!("error decoding patch: {error}")))
}

/// Reads a body in any notation, as [`parse`] does.
pub(crate) fn body(body: &[u8], notation: Notation, kind: &str) -> Result<Decoded<Value>, ApiError> {
    let unrecognized = |why: String| {
        ApiError::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why}"))
    };
    match notation {
        Notation::Json => parse(body, kind),
        Notation::Yaml => document::parse_yaml(body)
            .map(|(object, oddities)| Decoded { object, oddities })
            .map_err(|error| unrecognized(format!("yaml: {error}"))),
        Notation::Protobuf => protobuf::parse(body)
            .map(|object| Decoded { object, oddities: Vec::new() })
            .map_err(|error| unrecognized(format!("protobuf: {error}"))),
    }
}

/// Decodes the body of a create or an update into the kind that the path names.
pub(crate) fn object<K: ServedKind>(body: &[u8], notation: Notation) -> Result<Decoded<K>, ApiError> {
    let Decoded { object: mut value, mut oddities } = self::body(body, notation, K::KIND)?;
    check_type::<K>(&value)?;
    let typed = self::value::<K>(&mut value)?;
    oddities.extend(typed.oddities);
    Ok(Decoded { object: typed.object, oddities })
}

/// Reads the configuration of a server-side apply. It is kept as it is, for what it does not state is not the applier's;
/// only its bare numbers for amounts become text. What a repeated field means is told by `validation`; a field that the
/// kind does not have is always refused.
pub(crate) fn configuration<K: ServedKind>(
    body: &[u8],
    key: &Key,
    validation: FieldValidation,
) -> Result<(Value, Vec<String>), ApiError> {
    let is_json = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    let read = is_json.then(|| document::parse(body).ok()).flatten();
    let (mut json, repeated) = match read {
        Some(read) => read,
        None => document::parse_yaml(body)
            .map_err(|error| ApiError::bad_request(format!("error decoding YAML: {error}")))?,
    };
    let warnings = match validation {
        FieldValidation::Ignore => Vec::new(),
        FieldValidation::Strict if !repeated.is_empty() => {
            let why = format!("error strict decoding YAML: {}", repeated.join(", "));
            return Err(ApiError::bad_request(why));
        }
        _ => repeated,
    };
    let stated = |field: &str| json.get(field).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (version, kind) = (stated("apiVersion"), stated("kind"));
    let of_type = match version.split_once('/') {
        Some((group, version)) => format!("{group}/{version}, Kind={kind}"),
        None => format!("/{version}, Kind={kind}"),
    };
    if (version.as_str(), kind.as_str()) != (K::API_VERSION, K::KIND) {
        return Err(ApiError::bad_request(format!("invalid object type: {of_type}")));
    }
    if json
        .get("metadata")
        .and_then(|metadata| metadata.get("managedFields"))
        .is_some_and(|own| !own.is_null())
    {
        return Err(ApiError::bad_request("metadata.managedFields must be nil"));
    }
    for place in K::quantity_places() {
        numbers_to_text(&mut json, place);
    }
    let wrong = match plain::<K>(&json) {
        Ok(Decoded { oddities, .. }) => {
            let unknown = oddities.iter().filter_map(|oddity| unknown_path(oddity)).collect::<Vec<_>>();
            ownership::check(&json, &unknown, K::SHAPE)
        }
        Err(why) => vec![format!(".{why}")],
    };
    let wrong = match &wrong[..] {
        [] => return Ok((json, warnings)),
        [one] => one.clone(),
        all => format!("errors:\n  {}", all.join("\n  ")),
    };
    let name = format!("{}/{}; {of_type}", key.namespace, key.name);
    Err(ApiError::bad_request(format!("failed to create typed patch object ({name}): {wrong}")))
}

/// The path that an oddity of [`plain`] names.
fn unknown_path(oddity: &str) -> Option<String> {
    serde_json::from_str(oddity.strip_prefix("unknown field ")?).ok()
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
