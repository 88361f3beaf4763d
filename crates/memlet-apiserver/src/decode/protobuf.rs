//! Bodies in protobuf, into the JSON that they stand for: the form in which client-go's typed clients write, and so
//! `kubectl create configmap`, `create namespace` and their like.
//!
//! Only the kinds that such clients create are known here, by upstream's field numbers (`generated.proto`). Answers are
//! JSON, which all clients read.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value};

use Form::{
    AmountMap, BlobMap, Flag, Integer, ListMap, Message, Messages, OptionalInteger, Raw, Text, TextMap,
    Texts, Time,
};

/// What every body begins with.
const MAGIC: &[u8] = b"k8s\0";
/// How deep a message may nest; none here goes deeper.
const DEEPEST: usize = 8;

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unreadable {
    #[error("it does not begin as protobuf of Kubernetes does")]
    NotEnveloped,
    #[error("it ends early")]
    Truncated,
    #[error("a field has another form than its number tells")]
    Misfit,
    #[error("it has text that is not UTF-8")]
    NotText,
    #[error("it nests too deep")]
    TooDeep,
    #[error("its kind is read as JSON or YAML only")]
    UnknownKind,
}

#[derive(Clone, Copy)]
enum Form {
    /// Empty text is the same as none.
    Text,
    /// Zero is the same as none.
    Integer,
    /// Zero counts.
    OptionalInteger,
    Flag,
    Time,
    Message(&'static [Field]),
    Texts,
    Messages(&'static [Field]),
    /// A map to text.
    TextMap,
    /// A map to bytes, which JSON writes in base64.
    BlobMap,
    /// A map to quantities, each of which is a message with its text.
    AmountMap,
    /// A map to lists of text.
    ListMap,
    /// JSON in a message of its own (`FieldsV1`).
    Raw,
}

struct Field(u64, &'static str, Form);

static OBJECT_META: &[Field] = &[
    Field(1, "name", Text),
    Field(2, "generateName", Text),
    Field(3, "namespace", Text),
    Field(5, "uid", Text),
    Field(6, "resourceVersion", Text),
    Field(7, "generation", Integer),
    Field(8, "creationTimestamp", Time),
    Field(9, "deletionTimestamp", Time),
    Field(10, "deletionGracePeriodSeconds", OptionalInteger),
    Field(11, "labels", TextMap),
    Field(12, "annotations", TextMap),
    Field(13, "ownerReferences", Messages(OWNER)),
    Field(14, "finalizers", Texts),
    Field(17, "managedFields", Messages(MANAGED)),
];
static OWNER: &[Field] = &[
    Field(1, "kind", Text),
    Field(3, "name", Text),
    Field(4, "uid", Text),
    Field(5, "apiVersion", Text),
    Field(6, "controller", Flag),
    Field(7, "blockOwnerDeletion", Flag),
];
static MANAGED: &[Field] = &[
    Field(1, "manager", Text),
    Field(2, "operation", Text),
    Field(3, "apiVersion", Text),
    Field(4, "time", Time),
    Field(6, "fieldsType", Text),
    Field(7, "fieldsV1", Raw),
    Field(8, "subresource", Text),
];
const METADATA: Field = Field(1, "metadata", Message(OBJECT_META));

static NAMESPACE: &[Field] = &[METADATA, Field(2, "spec", Message(&[Field(1, "finalizers", Texts)]))];
static CONFIG_MAP: &[Field] =
    &[METADATA, Field(2, "data", TextMap), Field(3, "binaryData", BlobMap), Field(4, "immutable", Flag)];
static SECRET: &[Field] = &[
    METADATA,
    Field(2, "data", BlobMap),
    Field(3, "type", Text),
    Field(4, "stringData", TextMap),
    Field(5, "immutable", Flag),
];
static REFERENCE: &[Field] = &[
    Field(1, "kind", Text),
    Field(2, "namespace", Text),
    Field(3, "name", Text),
    Field(4, "uid", Text),
    Field(5, "apiVersion", Text),
    Field(6, "resourceVersion", Text),
    Field(7, "fieldPath", Text),
];
static SERVICE_ACCOUNT: &[Field] = &[
    METADATA,
    Field(2, "secrets", Messages(REFERENCE)),
    Field(3, "imagePullSecrets", Messages(&[Field(1, "name", Text)])),
    Field(4, "automountServiceAccountToken", Flag),
];
static PRIORITY_CLASS: &[Field] = &[
    METADATA,
    Field(2, "value", Integer),
    Field(3, "globalDefault", Flag),
    Field(4, "description", Text),
    Field(5, "preemptionPolicy", Text),
];
static RESOURCE_QUOTA: &[Field] = &[
    METADATA,
    Field(
        2,
        "spec",
        Message(&[
            Field(1, "hard", AmountMap),
            Field(2, "scopes", Texts),
            Field(3, "scopeSelector", Message(&[Field(1, "matchExpressions", Messages(SCOPE))])),
        ]),
    ),
    Field(3, "status", Message(&[Field(1, "hard", AmountMap), Field(2, "used", AmountMap)])),
];
static SCOPE: &[Field] =
    &[Field(1, "scopeName", Text), Field(2, "operator", Text), Field(3, "values", Texts)];
static LIMIT_RANGE: &[Field] = &[METADATA, Field(2, "spec", Message(&[Field(1, "limits", Messages(LIMIT))]))];
static LIMIT: &[Field] = &[
    Field(1, "type", Text),
    Field(2, "max", AmountMap),
    Field(3, "min", AmountMap),
    Field(4, "default", AmountMap),
    Field(5, "defaultRequest", AmountMap),
    Field(6, "maxLimitRequestRatio", AmountMap),
];
static BINDING: &[Field] = &[METADATA, Field(2, "target", Message(REFERENCE))];
static DELETE_OPTIONS: &[Field] = &[
    Field(1, "gracePeriodSeconds", OptionalInteger),
    Field(2, "preconditions", Message(&[Field(1, "uid", Text), Field(2, "resourceVersion", Text)])),
    Field(3, "orphanDependents", Flag),
    Field(4, "propagationPolicy", Text),
    Field(5, "dryRun", Texts),
];
static EVICTION: &[Field] = &[METADATA, Field(2, "deleteOptions", Message(DELETE_OPTIONS))];
static TOKEN_REQUEST: &[Field] = &[
    METADATA,
    Field(
        2,
        "spec",
        Message(&[
            Field(1, "audiences", Texts),
            Field(3, "boundObjectRef", Message(BOUND_OBJECT)),
            Field(4, "expirationSeconds", OptionalInteger),
        ]),
    ),
];
static BOUND_OBJECT: &[Field] =
    &[Field(1, "kind", Text), Field(2, "apiVersion", Text), Field(3, "name", Text), Field(4, "uid", Text)];
static SELF_SUBJECT_REVIEW: &[Field] = &[METADATA];
static SELF_ACCESS_REVIEW: &[Field] = &[METADATA, Field(2, "spec", Message(ACCESS_ASKED))];
static ACCESS_ASKED: &[Field] = &[
    Field(1, "resourceAttributes", Message(ASKED_RESOURCE)),
    Field(2, "nonResourceAttributes", Message(ASKED_PATH)),
];
static ASKED_PATH: &[Field] = &[Field(1, "path", Text), Field(2, "verb", Text)];
static ACCESS_REVIEW: &[Field] = &[
    METADATA,
    Field(
        2,
        "spec",
        Message(&[
            Field(1, "resourceAttributes", Message(ASKED_RESOURCE)),
            Field(2, "nonResourceAttributes", Message(ASKED_PATH)),
            Field(3, "user", Text),
            Field(4, "group", Texts),
            Field(5, "extra", ListMap),
            Field(6, "uid", Text),
        ]),
    ),
];
static RULES_REVIEW: &[Field] = &[METADATA, Field(2, "spec", Message(&[Field(1, "namespace", Text)]))];
static TOKEN_REVIEW: &[Field] =
    &[METADATA, Field(2, "spec", Message(&[Field(1, "token", Text), Field(2, "audiences", Texts)]))];
static ASKED_RESOURCE: &[Field] = &[
    Field(1, "namespace", Text),
    Field(2, "verb", Text),
    Field(3, "group", Text),
    Field(4, "version", Text),
    Field(5, "resource", Text),
    Field(6, "subresource", Text),
    Field(7, "name", Text),
];

fn message(version: &str, kind: &str) -> Option<&'static [Field]> {
    Some(match (version, kind) {
        ("v1", "Namespace") => NAMESPACE,
        ("v1", "ConfigMap") => CONFIG_MAP,
        ("v1", "Secret") => SECRET,
        ("v1", "ServiceAccount") => SERVICE_ACCOUNT,
        ("v1", "ResourceQuota") => RESOURCE_QUOTA,
        ("v1", "LimitRange") => LIMIT_RANGE,
        ("v1", "Binding") => BINDING,
        ("scheduling.k8s.io/v1", "PriorityClass") => PRIORITY_CLASS,
        ("policy/v1", "Eviction") => EVICTION,
        ("v1" | "meta.k8s.io/v1", "DeleteOptions") => DELETE_OPTIONS,
        ("authentication.k8s.io/v1", "TokenRequest") => TOKEN_REQUEST,
        ("authentication.k8s.io/v1", "SelfSubjectReview") => SELF_SUBJECT_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectAccessReview") => SELF_ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "SubjectAccessReview" | "LocalSubjectAccessReview") => ACCESS_REVIEW,
        ("authorization.k8s.io/v1", "SelfSubjectRulesReview") => RULES_REVIEW,
        ("authentication.k8s.io/v1", "TokenReview") => TOKEN_REVIEW,
        _ => return None,
    })
}

/// Whether a body is protobuf of Kubernetes.
pub(super) fn is_enveloped(body: &[u8]) -> bool {
    body.starts_with(MAGIC)
}

/// Reads a body; the JSON has its `apiVersion` and `kind`.
pub(super) fn parse(body: &[u8]) -> Result<Value, Unreadable> {
    let enveloped = body.strip_prefix(MAGIC).ok_or(Unreadable::NotEnveloped)?;
    let (mut version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for part in Parts(enveloped) {
        match part? {
            (1, Wire::Bytes(type_meta)) => {
                for part in Parts(type_meta) {
                    match part? {
                        (1, Wire::Bytes(text)) => version = self::text(text)?,
                        (2, Wire::Bytes(text)) => kind = self::text(text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let fields = message(&version, &kind).ok_or(Unreadable::UnknownKind)?;
    let mut object = read(raw, fields, DEEPEST)?;
    object.insert("apiVersion".to_owned(), version.into());
    object.insert("kind".to_owned(), kind.into());
    Ok(Value::Object(object))
}

fn read(bytes: &[u8], fields: &[Field], depth: usize) -> Result<Map<String, Value>, Unreadable> {
    let below = depth.checked_sub(1).ok_or(Unreadable::TooDeep)?;
    let mut object = Map::new();
    for part in Parts(bytes) {
        let (number, wire) = part?;
        // A field of a later version is left out, as protobuf has it.
        let Some(Field(_, name, form)) = fields.iter().find(|field| field.0 == number) else { continue };
        let mut list = |item: Value| match object.entry(*name).or_insert_with(|| Value::Array(Vec::new())) {
            Value::Array(items) => items.push(item),
            other => *other = Value::Array(vec![item]),
        };
        match (form, wire) {
            (Form::Texts, Wire::Bytes(bytes)) => list(text(bytes)?.into()),
            (Form::Messages(fields), Wire::Bytes(bytes)) => list(Value::Object(read(bytes, fields, below)?)),
            (Form::TextMap | Form::BlobMap | Form::ListMap | Form::AmountMap, Wire::Bytes(bytes)) => {
                let (key, value) = entry(bytes, *form)?;
                object.entry(*name).or_insert_with(|| Value::Object(Map::new()))[key] = value;
            }
            (form, wire) => {
                if let Some(value) = single(*form, wire, below)? {
                    object.insert((*name).to_owned(), value);
                }
            }
        }
    }
    Ok(object)
}

/// A field that occurs once; `None` where it says nothing.
fn single(form: Form, wire: Wire<'_>, below: usize) -> Result<Option<Value>, Unreadable> {
    Ok(match (form, wire) {
        (Form::Text, Wire::Bytes(bytes)) => {
            Some(text(bytes)?).filter(|text| !text.is_empty()).map(Value::from)
        }
        (Form::Integer, Wire::Varint(number)) => {
            Some(signed(number)).filter(|number| *number != 0).map(Value::from)
        }
        (Form::OptionalInteger, Wire::Varint(number)) => Some(signed(number).into()),
        (Form::Flag, Wire::Varint(number)) => Some((number != 0).into()),
        (Form::Message(fields), Wire::Bytes(bytes)) => Some(Value::Object(read(bytes, fields, below)?)),
        (Form::Time, Wire::Bytes(bytes)) => time(bytes)?,
        (Form::Raw, Wire::Bytes(bytes)) => {
            let mut raw = &[][..];
            for part in Parts(bytes) {
                if let (1, Wire::Bytes(json)) = part? {
                    raw = json;
                }
            }
            Some(serde_json::from_slice(raw).map_err(|_| Unreadable::Misfit)?)
        }
        _ => return Err(Unreadable::Misfit),
    })
}

fn entry(bytes: &[u8], form: Form) -> Result<(String, Value), Unreadable> {
    let (mut key, mut value) = (String::new(), &[][..]);
    for part in Parts(bytes) {
        match part? {
            (1, Wire::Bytes(bytes)) => key = text(bytes)?,
            (2, Wire::Bytes(bytes)) => value = bytes,
            _ => {}
        }
    }
    let value = match form {
        Form::BlobMap => STANDARD.encode(value).into(),
        Form::AmountMap => {
            let mut amount = String::new();
            for part in Parts(value) {
                if let (1, Wire::Bytes(bytes)) = part? {
                    amount = text(bytes)?;
                }
            }
            amount.into()
        }
        Form::ListMap => {
            let mut items = Vec::new();
            for part in Parts(value) {
                if let (1, Wire::Bytes(bytes)) = part? {
                    items.push(Value::from(text(bytes)?));
                }
            }
            Value::Array(items)
        }
        _ => text(value)?.into(),
    };
    Ok((key, value))
}

/// Seconds and nanoseconds; the zero time is none.
fn time(bytes: &[u8]) -> Result<Option<Value>, Unreadable> {
    let mut seconds = 0;
    for part in Parts(bytes) {
        if let (1, Wire::Varint(number)) = part? {
            seconds = signed(number);
        }
    }
    if seconds == 0 {
        return Ok(None);
    }
    let time = Timestamp::from_second(seconds).map_err(|_| Unreadable::Misfit)?;
    Ok(Some(time.to_string().into()))
}

fn text(bytes: &[u8]) -> Result<String, Unreadable> {
    String::from_utf8(bytes.to_vec()).map_err(|_| Unreadable::NotText)
}

/// Negative numbers are written as the unsigned ones of the same bits.
fn signed(number: u64) -> i64 {
    number.cast_signed()
}

enum Wire<'a> {
    Varint(u64),
    Bytes(&'a [u8]),
    /// Of no field known here.
    Fixed,
}

/// The fields of a message, in the order in which they are written.
struct Parts<'a>(&'a [u8]);

impl<'a> Parts<'a> {
    fn varint(&mut self) -> Result<u64, Unreadable> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(Unreadable::Truncated)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Unreadable::Misfit)
    }

    fn bytes(&mut self, length: u64) -> Result<&'a [u8], Unreadable> {
        let length = usize::try_from(length).map_err(|_| Unreadable::Truncated)?;
        let (bytes, rest) = self.0.split_at_checked(length).ok_or(Unreadable::Truncated)?;
        self.0 = rest;
        Ok(bytes)
    }

    fn part(&mut self) -> Result<(u64, Wire<'a>), Unreadable> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => self.bytes(8).map(|_| Wire::Fixed)?,
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.bytes(length)?)
            }
            5 => self.bytes(4).map(|_| Wire::Fixed)?,
            _ => return Err(Unreadable::Misfit),
        };
        Ok((tag >> 3, wire))
    }
}

impl<'a> Iterator for Parts<'a> {
    type Item = Result<(u64, Wire<'a>), Unreadable>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let part = self.part();
        if part.is_err() {
            self.0 = &[];
        }
        Some(part)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A field of bytes.
    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        let length = u8::try_from(bytes.len()).unwrap();
        [&[number << 3 | 2, length], bytes].concat()
    }

    fn enveloped(version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let type_meta = [field(1, version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC.to_vec(), field(1, &type_meta), field(2, raw), field(3, b""), field(4, b"")].concat()
    }

    #[test]
    fn a_config_map_as_kubectl_writes_it() {
        let metadata =
            [field(1, b"c"), field(2, b""), field(8, b""), vec![7 << 3, 0], field(14, b"x/y")].concat();
        let data = [field(1, b"a"), field(2, b"b")].concat();
        let blob = [field(1, b"k"), field(2, &[0xff])].concat();
        let raw = [field(1, &metadata), field(2, &data), field(3, &blob), vec![4 << 3, 1]].concat();
        assert_eq!(
            parse(&enveloped("v1", "ConfigMap", &raw)),
            Ok(json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c", "finalizers": ["x/y"]},
                "data": {"a": "b"}, "binaryData": {"k": "/w=="}, "immutable": true,
            }))
        );
    }

    #[test]
    fn what_is_odd_is_refused() {
        assert_eq!(parse(b"{}"), Err(Unreadable::NotEnveloped));
        assert_eq!(parse(&enveloped("v1", "Pod", b"")), Err(Unreadable::UnknownKind));
        assert_eq!(parse(&enveloped("v1", "ConfigMap", &[1 << 3 | 2, 9])), Err(Unreadable::Truncated));
        assert_eq!(parse(&enveloped("v1", "ConfigMap", &[1 << 3, 9])), Err(Unreadable::Misfit));
        assert_eq!(parse(&enveloped("v1", "ConfigMap", &[0xff; 20])), Err(Unreadable::Misfit));
        let bad = field(1, &field(1, &[0xff]));
        assert_eq!(parse(&enveloped("v1", "ConfigMap", &bad)), Err(Unreadable::NotText));
        // A field that is not known is skipped.
        let later = field(15, b"?");
        assert!(parse(&enveloped("v1", "ConfigMap", &later)).is_ok());
    }
}
