//! The reader of `/dev/kmsg`: this machine's kernel log, record by record, as it is written. The only I/O here.
//!
//! The reader never blocks: it is a file descriptor to wait on ([`AsFd`], or [`Reader::wait`]), then
//! [`Reader::read_entry`] until that says `None`, or [`Reader::read_into`].
//!
//! ```no_run
//! use memlet_oomlog::kmsg::{Reader, Start};
//! use memlet_oomlog::{Assembler, Event};
//!
//! let mut reader = Reader::open(Start::Now)?;
//! let mut assembler = Assembler::default();
//! loop {
//!     reader.wait(None)?;
//!     reader.read_into(&mut assembler)?;
//!     while let Some(event) = assembler.next_event() {
//!         if let Event::Finished(report) = event {
//!             eprintln!("killed: {:?}", report.victims);
//!         }
//!     }
//! }
//! # #[allow(unreachable_code)]
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags, SeekFrom};
use rustix::io::Errno;
use rustix::time::{ClockId, clock_gettime};

use crate::assembler::Assembler;
use crate::record::Record;

/// Where the kernel offers its log.
pub const PATH: &str = "/dev/kmsg";

/// A kernel's record with all its escapes and keys is shorter (`PRINTK_MESSAGE_MAX`, 8 KiB on older kernels).
const BUFFER: usize = 16 << 10;

/// Which record comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// The oldest that the kernel still holds.
    Oldest,
    /// The next one that is written.
    Now,
    /// The one after this sequence number, or the oldest held. Numbers count from boot: one of an earlier boot
    /// means nothing.
    After(u64),
}

/// The wall clock's time for a time of this kernel's log ([`Record::since_boot`]). The log's clock stands still while
/// the machine is suspended and may run a few milliseconds apart from the system's.
pub fn wall_clock(since_boot: Duration) -> SystemTime {
    let uptime = clock_gettime(ClockId::Monotonic);
    let uptime = Duration::try_from(uptime).unwrap_or_default();
    let now = SystemTime::now();
    match uptime.checked_sub(since_boot) {
        Some(age) => now.checked_sub(age).unwrap_or(SystemTime::UNIX_EPOCH),
        None => now,
    }
}

/// What was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A record. Those that user space wrote are among them; [`Record::is_from_kernel`] tells.
    Record(Record<'static>),
    /// The kernel wrote faster than this reader read, and overwrote so many records. `None`: it is not known how many,
    /// because none was read before; only then must [`Assembler::lost`] be told, which else sees the gap.
    Lost(Option<u64>),
}

/// The kernel's log cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The log is for privileged users here.
    #[error(
        "not permitted to read the kernel's log at {path}; run as root with CAP_SYSLOG, or set the sysctl \
         kernel.dmesg_restrict to 0 and make the file readable"
    )]
    NotPermitted {
        /// The file.
        path: PathBuf,
        /// EPERM or EACCES.
        source: io::Error,
    },
    /// There is no such file, as in most containers.
    #[error("no kernel log at {path}; inside a container, pass the host's /dev/kmsg to it")]
    Missing {
        /// The file.
        path: PathBuf,
        /// ENOENT and its like.
        source: io::Error,
    },
    /// Anything else.
    #[error("cannot open the kernel's log at {path}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
}

/// An open `/dev/kmsg`.
#[derive(Debug)]
pub struct Reader {
    file: OwnedFd,
    skip_through: Option<u64>,
    last_sequence: Option<u64>,
    /// The kernel said that records were lost; how many, the next one tells.
    overrun: bool,
    /// The record that comes after the loss just told.
    held: Option<Record<'static>>,
    lost: u64,
    buffer: Box<[u8]>,
}

impl Reader {
    /// Opens [`PATH`].
    ///
    /// # Errors
    /// [`OpenError`] says which permission or file is missing.
    pub fn open(start: Start) -> Result<Self, OpenError> {
        Self::open_at(Path::new(PATH), start)
    }

    /// Opens another path where the kernel's log is offered, such as a host's inside a container.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_at(path: &Path, start: Start) -> Result<Self, OpenError> {
        let failed = |errno: Errno| OpenError::new(path, errno);
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(failed)?;
        let (position, skip_through) = match start {
            Start::Oldest => (SeekFrom::Start(0), None),
            Start::Now => (SeekFrom::End(0), None),
            Start::After(sequence) => (SeekFrom::Start(0), Some(sequence)),
        };
        rustix::fs::seek(&file, position).map_err(failed)?;
        Ok(Self {
            file,
            skip_through,
            last_sequence: None,
            overrun: false,
            held: None,
            lost: 0,
            buffer: vec![0; BUFFER].into_boxed_slice(),
        })
    }

    /// The next entry; `None` when there is nothing more for now.
    ///
    /// # Errors
    /// What read(2) says, other than its ways to tell a loss or an empty log.
    pub fn read_entry(&mut self) -> io::Result<Option<Entry>> {
        if let Some(record) = self.held.take() {
            return Ok(Some(Entry::Record(record)));
        }
        loop {
            let length = match rustix::io::read(&self.file, &mut self.buffer[..]) {
                Ok(length) => length,
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                // Overwritten before it was read, or larger than any record should be: the kernel has moved on to
                // the next one.
                Err(Errno::PIPE | Errno::INVAL) => {
                    self.overrun = true;
                    continue;
                }
                Err(errno) => return Err(errno.into()),
            };
            if length == 0 {
                return Ok(None);
            }
            let Ok(record) = Record::parse_kmsg(&self.buffer[..length]) else {
                self.overrun = true;
                continue;
            };
            if let Some(entry) = self.admit(record.into_owned()) {
                return Ok(Some(entry));
            }
        }
    }

    /// Puts a loss before the record that follows it, and leaves out what is not wanted.
    fn admit(&mut self, record: Record<'static>) -> Option<Entry> {
        let overrun = std::mem::take(&mut self.overrun);
        let last = std::mem::replace(&mut self.last_sequence, record.sequence).or(self.skip_through);
        let gap = match (last, record.sequence) {
            (Some(last), Some(sequence)) => sequence.checked_sub(last).and_then(|steps| steps.checked_sub(1)),
            _ => None,
        };
        if record.sequence.is_some() && record.sequence <= self.skip_through {
            return None;
        }
        if overrun || gap.is_some_and(|records| records > 0) {
            self.lost = self.lost.saturating_add(gap.unwrap_or(0));
            self.held = Some(record);
            return Some(Entry::Lost(gap));
        }
        Some(Entry::Record(record))
    }

    /// Pushes all that there is for now into an assembler, losses included. Take its events afterwards.
    ///
    /// # Errors
    /// As [`Reader::read_entry`].
    pub fn read_into(&mut self, assembler: &mut Assembler) -> io::Result<()> {
        while let Some(entry) = self.read_entry()? {
            match entry {
                Entry::Record(record) => assembler.push(&record),
                // How many there were, the assembler sees by the sequence numbers, if they can be known.
                Entry::Lost(Some(_)) => {}
                Entry::Lost(None) => assembler.lost(1),
            }
        }
        Ok(())
    }

    /// The records known to be lost so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Waits until there is something to read, at most `timeout` (`None`: as long as it takes). Returns whether
    /// there is.
    ///
    /// # Errors
    /// What poll(2) says.
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<bool> {
        // POLLERR tells an overrun, which is something to read as well.
        let mut waiting = [PollFd::new(&self.file, PollFlags::IN)];
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut waiting, timeout.as_ref()) {
            Ok(ready) => Ok(ready > 0),
            Err(Errno::INTR) => Ok(false),
            Err(errno) => Err(errno.into()),
        }
    }
}

impl AsFd for Reader {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl OpenError {
    fn new(path: &Path, errno: Errno) -> Self {
        let (path, source) = (path.to_owned(), errno.into());
        match errno {
            Errno::PERM | Errno::ACCESS => Self::NotPermitted { path, source },
            Errno::NOENT | Errno::NXIO | Errno::NODEV | Errno::NOTDIR => Self::Missing { path, source },
            _ => Self::Io { path, source },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reader(start: Start) -> Reader {
        // Any file will do: what follows reads nothing.
        Reader::open_at(Path::new("/dev/null"), start).unwrap()
    }

    fn record(sequence: u64) -> Record<'static> {
        Record { sequence: Some(sequence), ..Record::of_text("x") }
    }

    #[test]
    fn a_loss_is_told_before_the_record_that_follows_it() {
        let mut reader = reader(Start::Oldest);
        assert_eq!(reader.admit(record(5)), Some(Entry::Record(record(5))));
        assert_eq!(reader.admit(record(9)), Some(Entry::Lost(Some(3))));
        assert_eq!(reader.read_entry().unwrap(), Some(Entry::Record(record(9))));
        assert_eq!((reader.read_entry().unwrap(), reader.lost()), (None, 3));
        let mut reader = self::reader(Start::Now);
        reader.overrun = true;
        assert_eq!(reader.admit(record(9)), Some(Entry::Lost(None)), "nobody knows what came before");
    }

    #[test]
    fn starts_after_what_was_seen() {
        let mut reader = reader(Start::After(6));
        assert_eq!((reader.admit(record(5)), reader.admit(record(6))), (None, None));
        assert_eq!(reader.admit(record(7)), Some(Entry::Record(record(7))));
        let mut reader = self::reader(Start::After(6));
        assert_eq!(reader.admit(record(9)), Some(Entry::Lost(Some(2))));
    }

    #[test]
    fn a_missing_log_says_the_way_out() {
        let error = Reader::open_at(Path::new("/dev/no-such-kmsg"), Start::Now).unwrap_err();
        insta::assert_snapshot!(error, @"no kernel log at /dev/no-such-kmsg; inside a container, pass the host's /dev/kmsg to it");
        let error = OpenError::new(Path::new(PATH), Errno::PERM);
        insta::assert_snapshot!(error, @"not permitted to read the kernel's log at /dev/kmsg; run as root with CAP_SYSLOG, or set the sysctl kernel.dmesg_restrict to 0 and make the file readable");
    }
}
