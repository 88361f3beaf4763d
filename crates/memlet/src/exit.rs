//! What this program's exit code means.

use std::process::ExitCode;

/// How the program ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Exit(u8);

impl Exit {
    /// Everything asked for was done; for `run`, all containers completed.
    pub(crate) const DONE: Self = Self(0);
    /// What was looked for is not there; for `explain`, no report of the OOM killer.
    pub(crate) const NOT_FOUND: Self = Self(1);
    /// A mistake in the input or the environment, or a Pod that could not be run at all.
    pub(crate) const MISTAKE: Self = Self(2);
    /// Ended by Ctrl-C, as shells show it.
    pub(crate) const INTERRUPTED: Self = Self(130);
    /// Ended by SIGTERM, as shells show it.
    pub(crate) const TERMINATED: Self = Self(143);

    /// The exit code of a container that failed: 137 for a kill. A code out of range counts as 1, so that
    /// a failure never looks like success.
    pub(crate) fn of_container(code: i32) -> Self {
        Self(u8::try_from(code).ok().filter(|code| *code != 0).unwrap_or(1))
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_never_becomes_success() {
        for (code, exit) in [(137, Exit(137)), (1, Exit(1)), (0, Exit(1)), (256, Exit(1)), (-1, Exit(1))] {
            assert_eq!(Exit::of_container(code), exit, "{code}");
        }
    }
}
