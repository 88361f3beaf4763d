//! Kills by other hands: daemons that watch memory and kill before the kernel has to. Their lines look like the
//! kernel's to the hasty, so they are told apart here and reported as what they are.

use serde::{Deserialize, Serialize};

use crate::report::Pid;
use crate::source::Unwrapped;
use crate::time::LogTime;

/// A kill by a daemon that watches memory, as that daemon logged it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UserspaceKill {
    /// Who killed.
    pub killer: Killer,
    /// When, by the wall clock.
    pub time: Option<LogTime>,
    /// The machine, where the log names it.
    pub host: Option<String>,
    /// The cgroup that was killed as a whole.
    pub cgroup: Option<String>,
    /// The process that was killed.
    pub pid: Option<Pid>,
    /// Its name.
    pub comm: Option<String>,
    /// What the daemon said, as it said it.
    pub message: String,
    /// The line of the log, counted from 1.
    pub line: u64,
}

/// A daemon that kills for want of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Killer {
    /// `systemd-oomd`, which kills cgroups by pressure and swap use.
    #[serde(rename = "systemd-oomd")]
    SystemdOomd,
    /// `earlyoom`, which kills processes when free memory and swap are short.
    #[serde(rename = "earlyoom")]
    Earlyoom,
}

/// Reads what such a daemon logs when it kills.
pub(crate) fn read(found: &Unwrapped<'_>, line: u64) -> Option<UserspaceKill> {
    let text = found.record.text.as_ref();
    if found.tag.is_none() && !matches!(text.as_bytes().first(), Some(b's' | b'e')) {
        return None;
    }
    let (killer, message) = match found.tag.as_deref() {
        Some(tag) => (Killer::of_name(tag)?, text),
        None if !["systemd-oomd", "earlyoom"].iter().any(|name| text.starts_with(name)) => return None,
        // In the kernel's log, into which both may write.
        None => {
            let (tag, message) = text.split_once(": ")?;
            (Killer::of_name(tag.split_once('[').map_or(tag, |(name, _)| name))?, message)
        }
    };
    let mut kill = UserspaceKill {
        killer,
        time: found.record.time.as_ref().map(crate::time::WrittenTime::read),
        host: found.record.host.as_deref().map(str::to_owned),
        cgroup: None,
        pid: None,
        comm: None,
        message: message.to_owned(),
        line,
    };
    match killer {
        Killer::SystemdOomd => {
            // `Killed PATH due to memory pressure for PATH being …`, `Killed PATH due to memory used (…)`
            let (cgroup, _) = message.strip_prefix("Killed ")?.split_once(" due to ")?;
            kill.cgroup = Some(cgroup.to_owned());
        }
        Killer::Earlyoom => {
            // `sending SIGTERM to process PID uid UID "COMM": badness …`
            let (_, rest) = message.strip_prefix("sending SIG")?.split_once(" to process ")?;
            let (pid, rest) = rest.split_once(' ')?;
            kill.pid = Some(pid.parse().ok()?);
            // Behind the name comes `: badness …` or `: oom_score …`, then perhaps the command line in quotes too.
            let name = rest.split_once('"').map(|(_, name)| name);
            let end = |name: &str| {
                ["\": badness ", "\": oom_score "]
                    .iter()
                    .find_map(|end| name.find(end))
                    .or_else(|| name.rfind('"'))
            };
            kill.comm = name.and_then(|name| Some(name[..end(name)?].to_owned()));
        }
    }
    Some(kill)
}

impl Killer {
    fn of_name(name: &str) -> Option<Self> {
        match name {
            "systemd-oomd" => Some(Self::SystemdOomd),
            "earlyoom" => Some(Self::Earlyoom),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::unwrap_text;

    #[test]
    fn kills_by_daemons() {
        let oomd = "Nov 22 10:01:02 n1 systemd-oomd[612]: Killed /user.slice/a.scope due to memory pressure for /user.slice being 60.5% > 50.00% for > 30s with reclaim activity";
        let kill = read(&unwrap_text(oomd), 7).unwrap();
        assert_eq!(
            (kill.killer, kill.cgroup.as_deref(), kill.host.as_deref()),
            (Killer::SystemdOomd, Some("/user.slice/a.scope"), Some("n1"))
        );
        let early = "earlyoom[88]: sending SIGTERM to process 4711 uid 1000 \"Web Content\": badness 900, VmRSS 1024 MiB";
        let kill = read(&unwrap_text(&format!("[ 1.000000] {early}")), 7).unwrap();
        assert_eq!(
            (kill.killer, kill.pid, kill.comm.as_deref()),
            (Killer::Earlyoom, Some(4711), Some("Web Content"))
        );
        let quoted = "earlyoom[88]: sending SIGTERM to process 7 uid 1000 \"chrome\": oom_score 900, cmdline \"chrome\"";
        assert_eq!(read(&unwrap_text(quoted), 7).unwrap().comm.as_deref(), Some("chrome"));
        for other in [
            "Nov 22 10:01:02 n1 systemd-oomd[612]: Started",
            "Nov 22 10:01:02 n1 x[1]: Killed /a due to memory",
        ] {
            assert_eq!(read(&unwrap_text(other), 1), None, "{other}");
        }
    }
}
