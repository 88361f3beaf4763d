//! A line that is a JSON object, as log shippers, clouds, `journalctl -o json` and `dmesg -J` write them: the text is
//! under one of a few names, and so are the time and the host.

use std::borrow::Cow;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{Form, USER, Unwrapped, unwrap_text};
use crate::record::{Level, Record};
use crate::time::{Manner, WrittenTime};

/// Where the text is.
const TEXTS: [&str; 10] =
    ["MESSAGE", "message", "msg", "log", "textPayload", "@message", "text", "line", "body", "_raw"];
/// Objects in which the text may be, one level down.
const AROUND: [&str; 9] =
    ["jsonPayload", "log", "event", "result", "_source", "fields", "data", "record", "kubernetes"];
const TIMES: [&str; 8] = [
    "_SOURCE_REALTIME_TIMESTAMP",
    "__REALTIME_TIMESTAMP",
    "@timestamp",
    "timestamp",
    "time",
    "ts",
    "date",
    "receiveTimestamp",
];
const HOSTS: [&str; 9] = [
    "_HOSTNAME",
    "hostname",
    "host",
    "HOSTNAME",
    "nodeName",
    "node_name",
    "node",
    "kubernetes_host",
    "instance",
];
/// Objects in which the host may be, one level down.
const AROUND_HOSTS: [&str; 6] = ["jsonPayload", "kubernetes", "host", "labels", "resource", "agent"];
/// Names under which applications' own libraries for logging say who they are.
const LOGGERS: [&str; 3] = ["logger", "logger_name", "loggerName"];
/// Names under which they say so beside a level; alone, these are labels that shippers add to whatever they ship.
const APPLICATIONS: [&str; 2] = ["app", "application"];
const LEVELS: [&str; 4] = ["level", "severity", "lvl", "loglevel"];
/// More lines than any message holds that is one.
const MOST_LINES: usize = 65_536;

/// Takes the records out of an object; of several if its text has several lines. `None`: there is no text in it.
pub(crate) fn unwrap_object(object: &Map<String, Value>) -> Option<Vec<Unwrapped<'static>>> {
    let text = find(object, &TEXTS, &AROUND, text_of)?;
    let outer = Outer::read(object);
    if outer.is_kernels {
        // The text is the kernel's as it is; nothing stands before it.
        let record = outer.record(Record::of_text(text));
        return Some(vec![Unwrapped { record, form: Form::Json, stamped: true, ..Unwrapped::default() }]);
    }
    Some(text.lines().take(MOST_LINES).map(|line| outer.unwrap(line)).collect())
}

/// The record in a text that is an object itself, as a journal's entry is in the log of whoever ships it.
pub(crate) fn unwrap_inner(text: &str) -> Option<Unwrapped<'static>> {
    let text = text.trim_ascii();
    if !(text.starts_with("{\"") && text.ends_with('}')) {
        return None;
    }
    let Ok(Value::Object(object)) = serde_json::from_str(text) else { return None };
    unwrap_object(&object)?.into_iter().next()
}

/// What the object says of its text.
struct Outer {
    time: Option<WrittenTime<'static>>,
    since_boot: Option<Duration>,
    host: Option<String>,
    level: Option<Level>,
    /// The journal says that the kernel wrote it.
    is_kernels: bool,
    tag: Option<String>,
    /// The application that wrote the object itself. What it quotes is not its own, but has a stamp.
    application: Option<String>,
}

impl Outer {
    fn read(object: &Map<String, Value>) -> Self {
        let text = |key: &str| {
            let inner = object.get("jsonPayload").and_then(Value::as_object);
            object.get(key).or_else(|| inner.and_then(|inner| inner.get(key))).and_then(Value::as_str)
        };
        let (mut time, mut since_boot) = (None, None);
        if let Some(value) = find(object, &TIMES, &["jsonPayload"], |value| Some(value.clone())) {
            (time, since_boot) = time_of(&value);
        }
        if let Some(micros) = text("_SOURCE_MONOTONIC_TIMESTAMP").and_then(|micros| micros.parse().ok()) {
            since_boot = Some(Duration::from_micros(micros));
        }
        let priority = object.get("pri").and_then(Value::as_u64).or_else(|| text("PRIORITY")?.parse().ok());
        let transport = text("_TRANSPORT");
        let named = text("SYSLOG_IDENTIFIER").or_else(|| text("ident"));
        let tag = match (transport, named) {
            (Some("kernel"), _) | (None, None | Some("kernel")) => None,
            (_, Some(named)) => Some(named.to_owned()),
            (Some(transport), None) => Some(transport.to_owned()),
        };
        Self {
            time,
            since_boot,
            host: find(object, &HOSTS, &AROUND_HOSTS, host_of),
            level: priority.and_then(|priority| u32::try_from(priority).ok()).map(Level::of_priority),
            is_kernels: transport == Some("kernel"),
            tag,
            application: application(object).filter(|name| name != "kernel"),
        }
    }

    /// A line of the text, which may have a source's prefix of its own, or be an object itself.
    fn unwrap(&self, line: &str) -> Unwrapped<'static> {
        if let Some(inner) = unwrap_inner(line) {
            let record = self.record(inner.record);
            return Unwrapped { record, ..inner };
        }
        let inner = unwrap_text(line);
        let outer_tag = self.tag.as_ref().or(self.application.as_ref().filter(|_| !inner.stamped));
        let is_users = outer_tag.is_some();
        let tag =
            outer_tag.cloned().map(Cow::Owned).or_else(|| inner.tag.map(|tag| Cow::Owned(tag.into_owned())));
        let mut record = self.record(inner.record.into_owned());
        if is_users {
            record.facility = Some(USER);
        }
        Unwrapped { record, form: Form::Json, tag, stamped: true, ..Unwrapped::default() }
    }

    /// The record with what it does not say itself. What stands nearer to the text knows better.
    fn record(&self, record: Record<'static>) -> Record<'static> {
        Record {
            time: record.time.or_else(|| self.time.clone()),
            since_boot: record.since_boot.or(self.since_boot),
            host: record.host.or_else(|| self.host.clone().map(Cow::Owned)),
            level: record.level.or(self.level),
            ..record
        }
    }
}

/// The application that wrote an object of its own.
fn application(object: &Map<String, Value>) -> Option<String> {
    let has_level = || LEVELS.iter().any(|key| object.get(*key).is_some_and(Value::is_string));
    find(object, &LOGGERS, &[], text_of)
        .or_else(|| find(object, &APPLICATIONS, &[], text_of).filter(|_| has_level()))
}

/// The value under the first of `keys` that is there and has the right shape, here or in an object `around` it.
fn find<T>(
    object: &Map<String, Value>,
    keys: &[&str],
    around: &[&str],
    read: impl Fn(&Value) -> Option<T>,
) -> Option<T> {
    let here = |object: &Map<String, Value>| keys.iter().find_map(|key| object.get(*key).and_then(&read));
    here(object)
        .or_else(|| around.iter().find_map(|key| object.get(*key).and_then(Value::as_object).and_then(here)))
}

/// The journal writes what is not plain UTF-8 as an array of bytes.
fn text_of(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Array(bytes) => {
            let bytes: Option<Vec<u8>> =
                bytes.iter().map(|byte| byte.as_u64().and_then(|byte| u8::try_from(byte).ok())).collect();
            Some(String::from_utf8_lossy(&bytes?).into_owned())
        }
        Value::Object(object) => object.get("stringValue").and_then(Value::as_str).map(str::to_owned),
        _ => None,
    }
}

fn host_of(value: &Value) -> Option<String> {
    match value {
        Value::String(host) => Some(host.clone()),
        Value::Object(host) => {
            ["name", "hostname"].iter().find_map(|key| host.get(*key)?.as_str().map(str::to_owned))
        }
        _ => None,
    }
}

/// A time as text, or a number: of seconds since boot (`dmesg -J`), or of seconds to nanoseconds since 1970.
fn time_of(value: &Value) -> (Option<WrittenTime<'static>>, Option<Duration>) {
    let written = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return (None, None),
    };
    let digits = written.bytes().take_while(u8::is_ascii_digit).count();
    let is_number = digits > 0 && written.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if !is_number {
        return (Some(WrittenTime::new(Manner::Iso, written)), None);
    }
    let (whole, fraction) = written.split_once('.').unwrap_or((&written, ""));
    match digits {
        // No computer ran before 1973 has a log to read.
        0..9 => {
            let nanoseconds = format!("{fraction:0<9}")[..9].parse().unwrap_or(0);
            (None, whole.parse().ok().map(|seconds| Duration::new(seconds, nanoseconds)))
        }
        9..12 => (Some(WrittenTime::new(Manner::EpochSeconds, written)), None),
        12..15 => (Some(WrittenTime::new(Manner::EpochMicroseconds, format!("{whole}000"))), None),
        15..18 => (Some(WrittenTime::new(Manner::EpochMicroseconds, whole.to_owned())), None),
        _ => {
            let micros = whole.get(..whole.len().saturating_sub(3)).unwrap_or(whole);
            (Some(WrittenTime::new(Manner::EpochMicroseconds, micros.to_owned())), None)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(json: &str) -> Unwrapped<'static> {
        let Value::Object(object) = serde_json::from_str(json).unwrap() else { panic!("{json}") };
        unwrap_object(&object).unwrap().remove(0)
    }

    #[test]
    fn the_text_is_found_with_its_time_and_host() {
        for json in [
            r#"{"_TRANSPORT":"kernel","MESSAGE":"a text","_HOSTNAME":"n1","__REALTIME_TIMESTAMP":"1732269662064130"}"#,
            r#"{"log":"2024-11-22T10:01:02.064130Z n1 kernel: a text\n","stream":"stdout","time":"2025-01-01T00:00:00Z"}"#,
            r#"{"jsonPayload":{"MESSAGE":"a text","_HOSTNAME":"n1"},"timestamp":"2024-11-22T10:01:02.064130Z"}"#,
            r#"{"textPayload":"[ 3.000000] a text","resource":{"node_name":"n1"},"timestamp":"2024-11-22T10:01:02.064130Z"}"#,
            r#"{"message":"a text","host":{"name":"n1"},"@timestamp":1732269662064}"#,
        ] {
            let found = one(json);
            assert_eq!(
                (found.record.text.as_ref(), found.record.host.as_deref()),
                ("a text", Some("n1")),
                "{json}"
            );
            assert!(
                found.record.time.unwrap().read().as_str().starts_with("2024-11-22T10:01:02.06"),
                "{json}"
            );
        }
    }

    #[test]
    fn what_the_kernel_did_not_write_is_known_as_such() {
        for json in [
            r#"{"_TRANSPORT":"syslog","SYSLOG_IDENTIFIER":"systemd-oomd","MESSAGE":"x"}"#,
            r#"{"ident":"systemd-oomd","message":"x"}"#,
            r#"{"level":"error","msg":"x","app":"systemd-oomd"}"#,
        ] {
            let found = one(json);
            assert_eq!(found.tag.as_deref(), Some("systemd-oomd"));
            assert!(!found.record.is_from_kernel());
        }
        for json in [
            r#"{"app":"shipper","msg":"<4>[    1.000000] x"}"#,
            r#"{"app":"kernel","level":"warn","msg":"x"}"#,
            r#"{"app":"kmsg-reader","msg":"x"}"#,
        ] {
            assert!(one(json).record.is_from_kernel(), "{json}");
        }
    }

    #[test]
    fn odd_values() {
        assert_eq!(one(r#"{"MESSAGE":[97,10,98],"_TRANSPORT":"kernel"}"#).record.text, "a\nb");
        let boot = one(r#"{"pri":4,"time":3735.89866,"msg":"x"}"#);
        assert_eq!(boot.record.since_boot, Some(Duration::from_micros(3_735_898_660)));
        let Value::Object(none) = serde_json::from_str(r#"{"a":1,"MESSAGE":null}"#).unwrap() else {
            panic!()
        };
        assert!(unwrap_object(&none).is_none());
    }
}
