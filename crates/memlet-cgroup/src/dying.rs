//! Whether a process is on its way out: killed, but not yet gone.
//!
//! Between the kernel's SIGKILL and the end that a parent sees, the process frees what it held, which takes
//! milliseconds per hundred MiB. A count of kills that rises in that time is its own, not a child's.

use std::fs;

use crate::Pid;

/// `PF_EXITING` (include/linux/sched.h): in `do_exit`.
const EXITING: u64 = 0x4;
/// SIGKILL in a mask of pending signals.
const SIGKILL: u64 = 1 << 8;

impl Pid {
    /// Whether the process is being killed, or is gone already.
    pub fn is_dying(self) -> bool {
        let read = |file: &str| fs::read_to_string(format!("/proc/{self}/{file}"));
        match (read("stat"), read("status")) {
            (Ok(stat), Ok(status)) => {
                flags(&stat).is_none_or(|flags| flags & EXITING != 0) || kill_pending(&status)
            }
            _ => true,
        }
    }

    /// Whether the process is still freeing what it held: there, and not yet a zombie.
    pub fn is_freeing(self) -> bool {
        let stat = fs::read_to_string(format!("/proc/{self}/stat"));
        stat.is_ok_and(|stat| {
            let state = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().next());
            state.is_some_and(|state| !matches!(state, "Z" | "X"))
        })
    }
}

/// The ninth field of `/proc/<pid>/stat`; the second, the name, may hold blanks and brackets.
fn flags(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(6)?.parse().ok()
}

fn kill_pending(status: &str) -> bool {
    ["SigPnd:", "ShdPnd:"].into_iter().any(|name| {
        let mask = status.lines().find_map(|line| line.strip_prefix(name));
        mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok())
            .is_some_and(|mask| mask & SIGKILL != 0)
    })
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;

    #[test]
    fn a_living_process_is_not_dying_and_a_killed_one_is() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = Pid::from(child.id());
        assert!(!pid.is_dying());
        child.kill().unwrap();
        // Unreaped: pending, exiting or a zombie, but never alive again.
        assert!(pid.is_dying());
        child.wait().unwrap();
        assert!(pid.is_dying(), "what is gone is not alive");
        assert!(!pid.is_freeing() && Pid::current().is_freeing());
    }

    #[test]
    fn fields_are_found_behind_a_hostile_name() {
        assert_eq!(flags("7 (a) b (c) S 1 7 7 0 -1 4194564 0 0"), Some(4_194_564));
        assert!(kill_pending("Name:\tx\nShdPnd:\t0000000000000100\n"));
        assert!(!kill_pending("SigPnd:\t0000000000000000\nShdPnd:\t0000000000004000\n"));
    }
}
