//! Records that take several lines: JSON objects printed for reading, and the entries of `journalctl -o export`.

use serde_json::{Map, Value};

use crate::assembler::Lines;
use crate::source::{Form, Unwrapped, unwrap_object};

/// No record of any source is longer.
const LONGEST: usize = 1 << 20;

/// What became of a line.
pub(super) enum Taken<'a> {
    /// It is none of these: read it as a line.
    No,
    /// It is a part of a record that goes on.
    Yes,
    /// It ends a record, or is one, which stands at these lines.
    Whole(Vec<Unwrapped<'a>>, Lines),
}

#[derive(Debug, Default)]
pub(super) struct Entries {
    open: Option<Open>,
}

/// How far before the line that matters its record may begin.
pub(super) const LONGEST_BEGINNING: usize = 64 << 10;

/// Where the record begins that a line belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beginning {
    /// With the line.
    Here,
    /// So far into what is before it.
    At(usize),
    /// Earlier.
    Before,
}

impl Beginning {
    /// Looks at a line by itself, at what is `before` it, and at what was `passed` over before that.
    pub(super) fn of(line: &[u8], before: &[u8], passed: &[u8]) -> Self {
        let is_behind = |key: &[u8]| {
            let before = if before.is_empty() { passed } else { before };
            before.strip_suffix(key).is_some_and(|rest| rest.is_empty() || rest.ends_with(b"\n"))
        };
        let near = before.len().saturating_sub(LONGEST_BEGINNING);
        let found = |sign: &[u8]| memchr::memmem::rfind(&before[near..], sign).map(|at| near + at);
        let begins = if line.trim_ascii_start().starts_with(b"\"") {
            // Objects that are records are in an array: a line with `{` and nothing else of its own.
            let opened =
                [&b" {\n"[..], b",{\n", b"\n{\n"].into_iter().filter_map(|sign| Some(found(sign)? + 1)).max();
            opened.map(|at| memchr::memrchr(b'\n', &before[..at]).map_or(0, |end| end + 1))
        } else if line.starts_with(b"MESSAGE=") || is_behind(b"MESSAGE\n") {
            // Entries of the journal are divided by empty lines.
            found(b"\n\n").map(|at| at + 2)
        } else {
            return Self::Here;
        };
        match begins {
            Some(at) => Self::At(at),
            None if near > 0 => Self::Here,
            None => Self::Before,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Object,
    Export,
}

#[derive(Debug)]
struct Open {
    kind: Kind,
    lines: Lines,
    /// The object's text, as far as it has come.
    text: String,
    /// The journal entry's fields.
    fields: Map<String, Value>,
    /// The field whose value the journal writes as length and bytes, as far as they have come.
    binary: Option<(String, Vec<u8>)>,
}

impl Entries {
    /// Whether no record is under way.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_none()
    }

    pub(super) fn take(&mut self, line: &str, number: u64) -> Taken<'static> {
        if let Some(open) = self.open.as_mut().filter(|open| open.kind == Kind::Object || !line.is_empty()) {
            open.lines.1 = number;
        }
        if self.open.as_ref().is_some_and(|open| open.kind == Kind::Export) {
            return self.take_export(line);
        }
        let trimmed = line.trim_ascii();
        match trimmed.as_bytes() {
            [b'{', .., b'}'] | [b'{', .., b'}', b','] => self.take_line(trimmed, number),
            [b'[', b'{', _, ..] | [b'[', b' ', b'{', _, ..] => take_array(trimmed, number),
            // The innermost object that stands by itself is the record; what is around it is its container.
            [b'{'] | [b'}', b',', b'{'] | [b'}', b',', b' ', b'{'] | [b'[', b'{'] => {
                let ended = self.close();
                self.open(Kind::Object, number);
                ended.unwrap_or(Taken::Yes)
            }
            _ if self.open.is_some() => self.take_object(line, trimmed),
            [b'_', ..] if is_journal_field(line) => {
                self.open(Kind::Export, number);
                self.take_export(line)
            }
            _ => Taken::No,
        }
    }

    /// Takes a line of a value that is not text: such a value may hold anything, newlines too. Returns whether it did.
    pub(super) fn take_bytes(&mut self, line: &[u8]) -> bool {
        let Some(open) = &mut self.open else { return false };
        let Some((key, bytes)) = &mut open.binary else { return false };
        bytes.extend_from_slice(line);
        // Eight bytes of length come first; a newline in the value was taken off with the line.
        let length = bytes.first_chunk::<8>().map(|length| u64::from_le_bytes(*length));
        let value = bytes.get(8..).unwrap_or_default();
        if length.is_some_and(|length| value.len() as u64 >= length) {
            let (key, value) = (std::mem::take(key), String::from_utf8_lossy(value).into_owned());
            open.fields.insert(key, Value::String(value));
            open.binary = None;
        } else if bytes.len() > LONGEST {
            self.open = None;
        } else {
            bytes.push(b'\n');
        }
        true
    }

    /// The end of the log.
    pub(super) fn finish(&mut self) -> Option<(Vec<Unwrapped<'static>>, Lines)> {
        match self.close() {
            Some(Taken::Whole(found, lines)) => Some((found, lines)),
            _ => None,
        }
    }

    fn open(&mut self, kind: Kind, first_line: u64) {
        let text = if kind == Kind::Object { "{".to_owned() } else { String::new() };
        self.open =
            Some(Open { kind, lines: (first_line, first_line), text, fields: Map::new(), binary: None });
    }

    /// An object on one line.
    fn take_line(&mut self, line: &str, number: u64) -> Taken<'static> {
        match serde_json::from_str(line.trim_end_matches(',')) {
            Ok(Value::Object(object)) => {
                // Not a part of whatever was being collected.
                self.open = None;
                let found = unwrap_object(&object).or_else(|| contained(&object));
                found.map_or(Taken::Yes, |found| Taken::Whole(found, (number, number)))
            }
            _ => Taken::No,
        }
    }

    fn take_object(&mut self, line: &str, trimmed: &str) -> Taken<'static> {
        let Some(open) = &mut self.open else { return Taken::No };
        let looks_like_json =
            trimmed.is_empty() || trimmed.starts_with(['"', '}', ']', '{', '[']) || !open.is_at_key();
        if !looks_like_json || open.text.len() + line.len() > LONGEST {
            self.open = None;
            return Taken::No;
        }
        open.text.push_str(line);
        open.text.push('\n');
        if trimmed.starts_with('}') {
            let text = open.text.trim_end().trim_end_matches(',');
            if let Ok(Value::Object(object)) = serde_json::from_str(text) {
                let lines = open.lines;
                self.open = None;
                return unwrap_object(&object).map_or(Taken::Yes, |found| Taken::Whole(found, lines));
            }
        }
        Taken::Yes
    }

    fn take_export(&mut self, line: &str) -> Taken<'static> {
        let Some(open) = &mut self.open else { return Taken::No };
        if line.is_empty() {
            return self.close().unwrap_or(Taken::Yes);
        }
        match line.split_once('=') {
            Some((key, value)) if is_field_name(key) => {
                open.fields.insert(key.to_owned(), Value::String(value.to_owned()));
                Taken::Yes
            }
            None if is_field_name(line) => {
                open.binary = Some((line.to_owned(), Vec::new()));
                Taken::Yes
            }
            _ => {
                self.open = None;
                Taken::No
            }
        }
    }

    /// Ends what is open.
    fn close(&mut self) -> Option<Taken<'static>> {
        let open = self.open.take()?;
        let object = match open.kind {
            Kind::Export => open.fields,
            Kind::Object => {
                match serde_json::from_str(&format!("{}}}", open.text.trim_end().trim_end_matches(','))) {
                    Ok(Value::Object(object)) => object,
                    _ => return None,
                }
            }
        };
        let mut found = unwrap_object(&object)?;
        if open.kind == Kind::Export {
            for found in &mut found {
                found.form = Form::Export;
            }
        }
        Some(Taken::Whole(found, open.lines))
    }
}

impl Open {
    /// Whether the next line must begin with a key, or with what closes.
    fn is_at_key(&self) -> bool {
        let text = self.text.trim_end();
        text.ends_with([',', '{'])
    }
}

fn take_array(line: &str, number: u64) -> Taken<'static> {
    let Ok(objects @ Value::Array(_)) = serde_json::from_str(line) else { return Taken::No };
    let mut found = Vec::new();
    collect(&objects, MOST_DEEP, &mut found);
    Taken::Whole(found, (number, number))
}

/// The records in an object that is their container and no more: `{"dmesg":[{…},…]}`, a search's `{"hits":{"hits":[…]}}`.
fn contained(object: &Map<String, Value>) -> Option<Vec<Unwrapped<'static>>> {
    let mut found = Vec::new();
    collect_inner(object, MOST_DEEP, &mut found);
    (!found.is_empty()).then_some(found)
}

/// No answer holds its records deeper.
const MOST_DEEP: usize = 6;

fn collect(value: &Value, deep: usize, found: &mut Vec<Unwrapped<'static>>) {
    match value {
        Value::Array(values) if deep > 0 => values.iter().for_each(|value| collect(value, deep - 1, found)),
        Value::Object(object) => match unwrap_object(object) {
            Some(records) => found.extend(records),
            None if deep > 0 => collect_inner(object, deep - 1, found),
            None => {}
        },
        _ => {}
    }
}

fn collect_inner(object: &Map<String, Value>, deep: usize, found: &mut Vec<Unwrapped<'static>>) {
    for (key, value) in object {
        match (key.as_str(), value) {
            // Loki's: each line with its time, and the labels beside.
            ("values", Value::Array(pairs)) => {
                let labels = object.get("stream").and_then(Value::as_object);
                found.extend(pairs.iter().filter_map(|pair| unwrap_pair(pair.as_array()?, labels)).flatten());
            }
            (_, value) => collect(value, deep, found),
        }
    }
}

/// `["TIME", "TEXT"]`
fn unwrap_pair(pair: &[Value], labels: Option<&Map<String, Value>>) -> Option<Vec<Unwrapped<'static>>> {
    let [time @ Value::String(_), text @ Value::String(_), ..] = pair else { return None };
    let mut object = labels.cloned().unwrap_or_default();
    object.insert("timestamp".to_owned(), time.clone());
    object.insert("MESSAGE".to_owned(), text.clone());
    unwrap_object(&object)
}

/// Whether a journal entry begins here: its cursor comes first, or the time where the cursor was left out.
fn is_journal_field(line: &str) -> bool {
    ["__CURSOR=", "__REALTIME_TIMESTAMP=", "__MONOTONIC_TIMESTAMP="]
        .iter()
        .any(|field| line.starts_with(field))
}

fn is_field_name(key: &str) -> bool {
    !key.is_empty()
        && key.len() <= 64
        && key.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}
