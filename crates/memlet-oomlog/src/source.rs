//! What a log's source writes around the kernel's text: times, hosts, levels, quotation marks, JSON. Taken off here,
//! line by line, whichever source a line is from, so that a stream may mix them.
//!
//! Only what is written *around* the text is read. What the text says is for [`crate::line`].

mod json; // a line that is an object
mod prefix; // what stands before the text
mod stamp; // times as they stand in a line
mod word; // hosts, tags, facilities

use std::borrow::Cow;

use crate::record::Record;

pub(crate) use json::{unwrap_inner, unwrap_object};
pub(crate) use prefix::{LastPrefix, container_line, unwrap_text};

/// A line, taken out of what its source wrote around it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Unwrapped<'a> {
    pub(crate) record: Record<'a>,
    pub(crate) form: Form,
    /// Who wrote it, where the source tells and it is not the kernel. Such a record has a facility of user space.
    pub(crate) tag: Option<Cow<'a, str>>,
    /// Whether anything of the source's stood before it. A line without, among lines with, goes on with the line before.
    pub(crate) stamped: bool,
    /// A container's log broke the line here; the next piece goes on with it.
    pub(crate) is_piece: bool,
    /// Which of several logs in one stream it is from, where that is told and is no host: `[pod/NAME/CONTAINER]`.
    pub(crate) stream: Option<Cow<'a, str>>,
    /// How long the line was with all that stood before the text; 0 where it is not one line of the log.
    pub(crate) length: usize,
}

impl Unwrapped<'_> {
    pub(crate) fn into_owned(self) -> Unwrapped<'static> {
        Unwrapped {
            record: self.record.into_owned(),
            form: self.form,
            tag: self.tag.map(|tag| Cow::Owned(tag.into_owned())),
            stamped: self.stamped,
            is_piece: self.is_piece,
            length: self.length,
            stream: self.stream.map(|stream| Cow::Owned(stream.into_owned())),
        }
    }
}

/// The form in which a line is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Form {
    #[default]
    Plain,
    Dmesg,
    Kmsg,
    Syslog,
    Iso,
    ContainerLog,
    Json,
    Export,
}

impl Form {
    pub(crate) const COUNT: usize = 8;
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Plain,
        Self::Dmesg,
        Self::Kmsg,
        Self::Syslog,
        Self::Iso,
        Self::ContainerLog,
        Self::Json,
        Self::Export,
    ];

    /// What people call it.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain text",
            Self::Dmesg => "dmesg",
            Self::Kmsg => "/dev/kmsg",
            Self::Syslog => "syslog or journalctl",
            Self::Iso => "lines with ISO times",
            Self::ContainerLog => "container log (CRI)",
            Self::Json => "JSON",
            Self::Export => "journalctl -o export",
        }
    }
}

/// The facility of a record that user space wrote: any but 0 will do.
pub(crate) const USER: u16 = 1;
