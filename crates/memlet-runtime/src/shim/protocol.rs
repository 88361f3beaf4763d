//! What the daemon and a supervisor say to each other: one JSON value per line over a unix socket.
//!
//! The daemon asks ([`Request`]), the supervisor tells ([`Event`]). There are no replies: every request has
//! an event as its visible effect, so a daemon that reconnects misses nothing. On connecting, the supervisor
//! says who it is ([`Event::Hello`]), repeats the events that describe its present state, and then that this was
//! all ([`Event::Present`]).
//!
//! A supervisor lives as long as its Pod, so that a daemon of a later version finds supervisors of earlier ones, and
//! the other way round where somebody goes back. What is here may therefore only grow: new fields have a default, new
//! requests and events are added beside the old and raise [`VERSION`], and each side passes over what it does not
//! know. Before a daemon asks what an earlier version does not know, it looks at the version it was told.

use std::path::PathBuf;

use jiff::Timestamp;
use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{ContainerEnd, OomScoreAdj};
use memlet_policy::oom_kill_mode::OomKillMode;
use serde::{Deserialize, Serialize};

use super::rotation::Rotation;
use super::session::{Attach, Exec};
use crate::memory_controls::MemoryControls;

/// The version of this conversation and of the files of a sandbox.
pub const VERSION: u32 = 2;
/// The first version that has sessions.
pub(crate) const SESSIONS_SINCE: u32 = 2;

/// What a supervisor makes first: the namespaces that a Pod's containers share.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sandbox {
    /// The memory cgroup of the pause process.
    pub cgroup: CgroupPath,
    /// The Pod's memory cgroup, read when a container ends.
    pub pod_cgroup: Option<CgroupPath>,
    /// The Pod's host name, in the sandbox's own UTS namespace; `None` with the host's network.
    pub hostname: Option<String>,
    /// A network namespace of its own, with loopback up.
    pub own_network: bool,
    /// System V IPC and POSIX queues of its own.
    pub own_ipc: bool,
    /// One pid namespace for all containers, with pause as process 1.
    pub shared_pids: bool,
    /// The score adjustment that pause should have (−998).
    pub oom_score_adj: i32,
}

/// How to start one container; its OCI spec lies beside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Launch {
    /// The container's memory cgroup.
    pub cgroup: CgroupPath,
    /// Its name in the Pod.
    pub name: String,
    /// What its memory controller is told before any process enters.
    pub memory: MemoryControls,
    /// What an OOM kill of one of its processes takes along.
    pub oom_kill_mode: OomKillMode,
    /// The file its output goes to, in CRI's log format.
    pub log: Option<PathBuf>,
    /// The score adjustment it should have.
    pub oom_score_adj: i32,
    /// Its output is a terminal.
    pub tty: bool,
    /// Its standard input stays open instead of being `/dev/null`.
    pub stdin: bool,
    /// Its standard input ends when the first client that was attached to it goes.
    #[serde(default)]
    pub stdin_once: bool,
    /// When its log is rotated.
    #[serde(default)]
    pub log_rotation: Rotation,
    /// A built-in workload instead of a program from its root filesystem.
    pub builtin: Option<String>,
}

/// Asked by the daemon.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Request {
    /// Create and start the container whose launch file lies in its folder.
    Start {
        /// The container's id.
        container: String,
    },
    /// Send the stop signal, and SIGKILL when the grace is over.
    Stop {
        /// The container's id.
        container: String,
        /// The signal that asks it to end.
        signal: i32,
        /// Milliseconds between the two; 0 kills at once.
        grace_ms: u64,
    },
    /// Go on in a new log file at the same path: what was there has been moved away.
    ReopenLog {
        /// The container's id.
        container: String,
    },
    /// Run a program in a running container. The connection becomes that session's; see [`super::session`].
    Exec(Exec),
    /// Give this connection the output of a running container, and its input. It becomes that session's.
    Attach(Attach),
    /// On a session's connection: its client has no more input.
    CloseStdin,
    /// Kill whatever still runs, pause included, and end.
    Shutdown,
}

/// Told by the supervisor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// The first word to every daemon that connects.
    Hello {
        /// The [`VERSION`] that the supervisor speaks.
        version: u32,
        /// The supervisor.
        pid: i32,
    },
    /// All that is so has been told; what follows happens from now on.
    Present,
    /// The pause process runs and holds the namespaces.
    SandboxReady {
        /// The pause process.
        pause: i32,
        /// Wanted and had.
        oom_score_adj: OomScoreAdj,
    },
    /// The sandbox could not be made, or pause died; the supervisor ends.
    SandboxFailed {
        /// Why.
        reason: String,
    },
    /// The container is being made. Told only to a daemon that connects meanwhile: one that asked for it knows.
    Launching {
        /// The container's id.
        container: String,
    },
    /// The container's main process runs.
    Started {
        /// The container's id.
        container: String,
        /// Its main process.
        pid: i32,
        /// When.
        at: Timestamp,
        /// Wanted and had.
        oom_score_adj: OomScoreAdj,
    },
    /// The container could not be started.
    StartFailed {
        /// The container's id.
        container: String,
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
    /// The container's main process ended, and all it wrote is in the log.
    Ended {
        /// The container's id.
        container: String,
        /// How.
        end: Box<ContainerEnd>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As a supervisor of version 1 writes and reads them: what this program must understand for as long as such a
    /// supervisor may run. Lines are added here, never changed.
    #[test]
    fn version_one_is_understood() {
        for line in [
            r#"{"Hello":{"version":1,"pid":7}}"#,
            r#""Present""#,
            r#"{"SandboxReady":{"pause":8,"oom_score_adj":{"wanted":-998,"actual":0}}}"#,
            r#"{"SandboxFailed":{"reason":"no"}}"#,
            r#"{"Launching":{"container":"c"}}"#,
            r#"{"Started":{"container":"c","pid":9,"at":"2026-11-22T01:02:03.5Z","oom_score_adj":{"wanted":900,"actual":900}}}"#,
            r#"{"StartFailed":{"container":"c","reason":"no","at":"2026-11-22T01:02:03.5Z"}}"#,
            r#"{"Ended":{"container":"c","end":{"exit":{"signal":9},"at":"2026-11-22T01:02:03.5Z","container":null,"pod":null}}}"#,
        ] {
            let event: Event = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&event).unwrap(), line);
        }
        for line in [
            r#"{"Start":{"container":"c"}}"#,
            r#"{"Stop":{"container":"c","signal":15,"grace_ms":2000}}"#,
            r#""Shutdown""#,
        ] {
            let request: Request = serde_json::from_str(line).unwrap();
            assert_eq!(serde_json::to_string(&request).unwrap(), line);
        }
    }
}
