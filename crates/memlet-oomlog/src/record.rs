//! One record of the kernel's log, and how `/dev/kmsg` writes it
//! (`Documentation/ABI/testing/dev-kmsg` in the kernel's tree).

use std::borrow::Cow;
use std::time::Duration;

use crate::time::WrittenTime;

/// One record of the kernel's log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record<'a> {
    /// Its number since boot; a gap means that records were lost. `None` where the source has no numbers.
    pub sequence: Option<u64>,
    /// When it was written, since boot by the kernel's own clock.
    pub since_boot: Option<Duration>,
    /// When it was written, by the clock of whoever wrote it down, as that wrote it.
    pub time: Option<WrittenTime<'a>>,
    /// The machine, where the source names it.
    pub host: Option<Cow<'a, str>>,
    /// How bad it is.
    pub level: Option<Level>,
    /// The syslog facility: 0 is the kernel. User space cannot write a record of facility 0.
    pub facility: Option<u16>,
    /// Who printed it (`T123` a task, `C0` a CPU), on kernels that say so.
    pub caller: Option<Cow<'a, str>>,
    /// Whether it goes on with a line that another record began, because a third came between. `None` where the
    /// source does not tell.
    pub continuation: Option<bool>,
    /// The text, escapes undone, without the newline at its end. It may hold newlines: some records have
    /// several lines, and a process may have one in its name. Bytes that are not UTF-8 are replaced.
    pub text: Cow<'a, str>,
}

/// Syslog's severities.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "syslog's own words")]
pub enum Level {
    Emergency,
    Alert,
    Critical,
    Error,
    Warning,
    Notice,
    Info,
    Debug,
}

impl Level {
    const ALL: [Self; 8] = [
        Self::Emergency,
        Self::Alert,
        Self::Critical,
        Self::Error,
        Self::Warning,
        Self::Notice,
        Self::Info,
        Self::Debug,
    ];

    /// The severity in the low three bits of a syslog priority.
    pub const fn of_priority(priority: u32) -> Self {
        Self::ALL[(priority & 7) as usize]
    }

    /// The severity that util-linux and syslog call so: `err`, `warn`, `info` …
    pub fn of_name(name: &str) -> Option<Self> {
        Some(match name {
            "emerg" | "emergency" | "panic" => Self::Emergency,
            "alert" => Self::Alert,
            "crit" | "critical" => Self::Critical,
            "err" | "error" => Self::Error,
            "warn" | "warning" => Self::Warning,
            "notice" => Self::Notice,
            "info" => Self::Info,
            "debug" => Self::Debug,
            _ => return None,
        })
    }
}

/// Bytes that are not a record of `/dev/kmsg`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Nothing divides the fields from the text.
    #[error("not a /dev/kmsg record: no `;` before the text")]
    NoText,
    /// One of the first four fields is missing or not what it should be.
    #[error("not a /dev/kmsg record: no readable {0}")]
    Field(&'static str),
}

impl<'a> Record<'a> {
    /// A line of a source that tells nothing but the text. It counts as the kernel's own.
    pub fn of_text(text: impl Into<Cow<'a, str>>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// The same, independent of what it was read from.
    pub fn into_owned(self) -> Record<'static> {
        fn owned(text: Cow<'_, str>) -> Cow<'static, str> {
            Cow::Owned(text.into_owned())
        }
        Record {
            sequence: self.sequence,
            since_boot: self.since_boot,
            time: self.time.map(WrittenTime::into_owned),
            host: self.host.map(owned),
            level: self.level,
            facility: self.facility,
            caller: self.caller.map(owned),
            continuation: self.continuation,
            text: owned(self.text),
        }
    }

    /// Whether the kernel wrote it. A source that does not tell the facility vouches for its lines itself.
    pub const fn is_from_kernel(&self) -> bool {
        matches!(self.facility, None | Some(0))
    }

    /// Reads one record as read(2) on `/dev/kmsg` returns it:
    /// `priority,sequence,microseconds,flags[,more…];text`, then lines of ` KEY=value`, which are left out.
    ///
    /// # Errors
    /// When the bytes do not have that shape.
    pub fn parse_kmsg(bytes: &'a [u8]) -> Result<Self, RecordError> {
        let divide = memchr::memchr(b';', bytes).ok_or(RecordError::NoText)?;
        let (header, text) = (&bytes[..divide], &bytes[divide + 1..]);
        let header = str::from_utf8(header).map_err(|_| RecordError::Field("header"))?;
        let mut fields = header.split(',');
        let priority: u32 = number(fields.next()).ok_or(RecordError::Field("priority"))?;
        let sequence = number(fields.next()).ok_or(RecordError::Field("sequence number"))?;
        let micros = number(fields.next()).ok_or(RecordError::Field("time"))?;
        let flags = fields.next().ok_or(RecordError::Field("flags"))?;
        // The kernel escapes newlines, so the first real one ends the text.
        let text = text.split(|byte| *byte == b'\n').next().unwrap_or_default();
        Ok(Self {
            sequence: Some(sequence),
            since_boot: Some(Duration::from_micros(micros)),
            level: Some(Level::of_priority(priority)),
            facility: u16::try_from(priority >> 3).ok().or(Some(u16::MAX)),
            caller: fields.find_map(|field| field.strip_prefix("caller=")).map(Cow::Borrowed),
            continuation: Some(flags.contains(['c', '+'])),
            text: unescape(text),
            ..Self::default()
        })
    }
}

fn number<T: std::str::FromStr>(field: Option<&str>) -> Option<T> {
    // `parse` alone would take a leading plus.
    field.filter(|field| field.starts_with(|first: char| first.is_ascii_digit()))?.parse().ok()
}

/// Undoes the kernel's `\xNN`: it escapes backslash and every byte outside printable ASCII.
pub(crate) fn unescape(text: &[u8]) -> Cow<'_, str> {
    if memchr::memchr(b'\\', text).is_none() {
        return String::from_utf8_lossy(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if let [b'\\', b'x', high, low, after @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            bytes.push(high << 4 | low);
            rest = after;
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_with_everything() {
        let record = Record::parse_kmsg(
            b"6,1810,3735898906,c,caller=T123,more=1;a \\xe6\\x97\\xa5 \\x0a \\x5cx41;b\n SUBSYSTEM=pci\n DEVICE=+x\n",
        )
        .unwrap();
        assert_eq!(record.sequence, Some(1810));
        assert_eq!(record.since_boot, Some(Duration::from_micros(3_735_898_906)));
        assert_eq!((record.level, record.facility), (Some(Level::Info), Some(0)));
        assert_eq!((record.caller.as_deref(), record.continuation), (Some("T123"), Some(true)));
        assert_eq!(record.text, "a 日 \n \\x41;b");
        assert!(record.is_from_kernel());
    }

    #[test]
    fn what_user_space_wrote_is_known_as_such() {
        let record = Record::parse_kmsg(b"12,1,5,-;x invoked oom-killer: gfp_mask=0x0, order=0\n").unwrap();
        assert_eq!((record.facility, record.level), (Some(1), Some(Level::Warning)));
        assert!(!record.is_from_kernel());
        // A facility too large for its type stays foreign.
        assert!(!Record::parse_kmsg(b"4294967288,1,5,-;x\n").unwrap().is_from_kernel());
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for (bytes, error) in [
            (&b"hello"[..], RecordError::NoText),
            (b";hello", RecordError::Field("priority")),
            (b"6;hello", RecordError::Field("sequence number")),
            (b"6,+1,2,-;hello", RecordError::Field("sequence number")),
            (b"6,1,x,-;hello", RecordError::Field("time")),
            (b"6,1,2;hello", RecordError::Field("flags")),
            (b"\xff,1,2,-;hello", RecordError::Field("header")),
        ] {
            assert_eq!(Record::parse_kmsg(bytes), Err(error), "{bytes:?}");
        }
    }
}
