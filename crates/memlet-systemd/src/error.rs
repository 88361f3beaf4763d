//! What can go wrong, each with the way out.

/// systemd did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no bus, or nobody on it is systemd.
    #[error(
        "systemd cannot be reached over D-Bus; where it does not run, or no D-Bus daemon does, use --cgroup-driver cgroupfs"
    )]
    Unreachable(#[source] rustbus::connection::Error),
    /// The bus broke, or systemd did not answer in time.
    #[error("systemd did not answer {method} over D-Bus")]
    NoAnswer {
        /// What was asked.
        method: &'static str,
        /// What happened instead.
        source: rustbus::connection::Error,
    },
    /// systemd's answer is none that is known.
    #[error("systemd's answer to {method} over D-Bus cannot be read: {reason}")]
    Strange {
        /// What was asked.
        method: &'static str,
        /// Why not.
        reason: String,
    },
    /// systemd refused.
    #[error("systemd refused {method} for {unit}: {message} ({name})")]
    Refused {
        /// What was asked.
        method: &'static str,
        /// For which unit.
        unit: String,
        /// The error by its name on the bus.
        name: String,
        /// The error in systemd's words.
        message: String,
    },
    /// The job that was to start or stop a unit ended without success.
    #[error(
        "systemd could not start or stop {unit} (its job ended as {result:?}); see systemctl status {unit}"
    )]
    JobFailed {
        /// The unit.
        unit: String,
        /// `canceled`, `timeout`, `failed`, `dependency`, `skipped`.
        result: String,
    },
}
