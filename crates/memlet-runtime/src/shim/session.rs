//! What a session's connection says: a program run in a container, or a client attached to one.
//!
//! A session has a connection of its own to the supervisor, and lives as long as that: a daemon that dies, or lets it
//! go, ends it. The first line asks (`Request::Exec`, `Request::Attach`); what comes back is [`SessionEvent`]s. Data
//! does not pass through these lines: the supervisor hands over descriptors, which the daemon reads and writes itself.
//! A connection that becomes a session's may have been told of the sandbox before; such lines are to be skipped.

use memlet_diagnosis::evidence::Exit;
use serde::{Deserialize, Serialize};

/// A program to run in a running container, as its user, with its environment and within its limits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exec {
    /// The container's id.
    pub container: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// It gets a terminal of its own, for all three streams.
    pub tty: bool,
    /// Its input comes from the client; `/dev/null` otherwise.
    pub stdin: bool,
}

/// A client that wants a container's own streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    /// The container's id.
    pub container: String,
    /// It wants to write to its input.
    pub stdin: bool,
}

/// Told by the supervisor on a session's connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SessionEvent {
    /// It has begun. Its descriptors come along, in this order.
    Opened {
        /// Which they are.
        descriptors: Vec<Descriptor>,
    },
    /// There will be no such session.
    Refused {
        /// Why.
        reason: String,
        /// 127 where there is no such program, 126 where it cannot be run, as shells have it.
        exit_code: Option<i32>,
    },
    /// The program, or the container, has ended, and wrote all that it will.
    SessionEnded {
        /// How.
        exit: Exit,
    },
}

/// What a descriptor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Descriptor {
    /// Written to: the program's input.
    Stdin,
    /// Read: its output.
    Stdout,
    /// Read: its errors.
    Stderr,
    /// A terminal's controlling end. Of a program that was run, it is all three streams; of a container, it is there to
    /// be written to and to be told its size, and what comes from it is `Stdout`.
    Terminal,
}
