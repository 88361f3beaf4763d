//! The lines of the kill itself, and of what may stand in its place or follow it.

use memlet_bytes::Bytes;

use super::scan::{field, kilobytes, number};
use super::{Line, Torn};
use crate::report::{Ending, Pid, Reaped, Uid};

/// What the kernel says before `Killed process`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Message {
    /// `Out of memory`: the whole machine, a cpuset or a memory policy.
    System,
    /// `Memory cgroup out of memory`
    Memcg,
    /// `Out of memory (oom_kill_allocating_task)`
    AllocatingTask,
}

/// `Memory cgroup out of memory: Killed process PID (COMM) total-vm:…`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed<'a> {
    /// What ran out. Without it (Linux ≤ 5.0) the line before says.
    pub message: Option<Message>,
    /// The process.
    pub pid: Pid,
    /// Its name.
    pub comm: &'a str,
    /// Address space.
    pub total_vm: Bytes,
    /// Resident anonymous memory.
    pub anon_rss: Option<Bytes>,
    /// Resident pages of files.
    pub file_rss: Option<Bytes>,
    /// Resident shared memory, since Linux 4.5.
    pub shmem_rss: Option<Bytes>,
    /// Its user, since Linux 5.4.
    pub uid: Option<Uid>,
    /// Page tables, since Linux 5.4.
    pub pgtables: Option<Bytes>,
    /// −1000 … 1000, since Linux 5.4.
    pub oom_score_adj: Option<i16>,
}

const MESSAGES: [(&str, Message); 3] = [
    ("Memory cgroup out of memory: ", Message::Memcg),
    ("Out of memory: ", Message::System),
    ("Out of memory (oom_kill_allocating_task): ", Message::AllocatingTask),
];

pub(super) fn kill(text: &str) -> Option<Line<'_>> {
    let (message, rest) = MESSAGES
        .iter()
        .find_map(|(words, message)| Some((Some(*message), text.strip_prefix(words)?)))
        .unwrap_or((None, text));
    if let Some(rest) = rest.strip_prefix("Killed process ") {
        return killed(message, rest);
    }
    let ending =
        if message.is_some() && rest.starts_with("OOM victim ") && rest.contains(" is already exiting. ") {
            Ending::AlreadyExiting
        } else if text.starts_with("Out of memory and no killable processes...") {
            Ending::NoKillableProcess
        } else if let Some(why) = text.strip_prefix("Kernel panic - not syncing: ")
            && ["Out of memory", "System is deadlocked on memory"].iter().any(|words| why.starts_with(words))
        {
            Ending::Panic
        } else {
            return None;
        };
    Some(Line::End(ending))
}

fn killed(message: Option<Message>, text: &str) -> Option<Line<'_>> {
    let (pid, rest) = number(text)?;
    let named = rest.strip_prefix(" (")?;
    // From the right: a name may hold any bracket.
    let (comm, sizes) = named.rsplit_once(") total-vm:")?;
    let (total_vm, mut rest) = kilobytes(sizes)?;
    let mut size = |name| {
        let (bytes, after) = field(rest, name, kilobytes)?;
        rest = after;
        Some(bytes)
    };
    let (anon_rss, file_rss, shmem_rss) = (size(", anon-rss:"), size(", file-rss:"), size(", shmem-rss:"));
    let mut killed = Killed {
        message,
        pid,
        comm,
        total_vm,
        anon_rss,
        file_rss,
        shmem_rss,
        uid: None,
        pgtables: None,
        oom_score_adj: None,
    };
    if let Some((uid, after)) = field(rest, ", UID:", number) {
        killed.uid = Some(uid);
        if let Some((pgtables, after)) = field(after, " pgtables:", kilobytes) {
            killed.pgtables = Some(pgtables);
            killed.oom_score_adj = field(after, " oom_score_adj:", number).map(|(adj, _)| adj);
        }
    }
    Some(Line::Killed(killed))
}

pub(super) fn group(text: &str) -> Option<Line<'_>> {
    let rest = text.strip_prefix("Tasks in ")?;
    match rest.trim_end().strip_suffix(" are going to be killed due to memory.oom.group set") {
        Some(path) => Some(Line::GroupKill { path }),
        None => (rest.is_empty() || rest.starts_with('/')).then_some(Line::Torn(Torn::GroupKill)),
    }
}

pub(super) fn reaped(text: &str) -> Option<Line<'_>> {
    let (pid, rest) = number(text.strip_prefix("oom_reaper: reaped process ")?)?;
    let (_, sizes) = rest.strip_prefix(" (")?.rsplit_once("), now ")?;
    let (anon_rss, rest) = field(sizes, "anon-rss:", kilobytes)?;
    let (file_rss, rest) = field(rest, ", file-rss:", kilobytes)?;
    let (shmem_rss, _) = field(rest, ", shmem-rss:", kilobytes)?;
    Some(Line::Reaped { pid, left: Reaped { anon_rss, file_rss, shmem_rss } })
}

pub(super) fn suppressed(text: &str) -> Option<Line<'_>> {
    let (count, rest) = number(text.strip_prefix("oom_kill_process: ")?)?;
    (rest.trim_end() == " callbacks suppressed").then_some(Line::Suppressed(count))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Killed<'_> {
        match Line::parse(text) {
            Some(Line::Killed(read)) => read,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn any_name_may_be_killed() {
        for comm in [
            "hog",
            "a) b (c",
            "",
            "(sd-pam)",
            "x: Killed proc",
            "x\ny",
            ") total-vm:1kB,",
            ",task=evil,pid=1",
        ] {
            let text = format!(
                "Memory cgroup out of memory: Killed process 861 ({comm}) total-vm:308232kB, anon-rss:64896kB, file-rss:572kB, shmem-rss:4kB, UID:65534 pgtables:168kB oom_score_adj:-998"
            );
            assert_eq!(
                read(&text),
                Killed {
                    message: Some(Message::Memcg),
                    pid: 861,
                    comm,
                    total_vm: Bytes::from_kib(308_232),
                    anon_rss: Some(Bytes::from_kib(64896)),
                    file_rss: Some(Bytes::from_kib(572)),
                    shmem_rss: Some(Bytes::from_kib(4)),
                    uid: Some(65534),
                    pgtables: Some(Bytes::from_kib(168)),
                    oom_score_adj: Some(-998),
                }
            );
        }
    }

    #[test]
    fn older_and_cut_kill_lines() {
        let bare = read("Killed process 7 (x) total-vm:8kB, anon-rss:4kB, file-rss:0kB");
        assert_eq!((bare.message, bare.shmem_rss, bare.uid), (None, None, None));
        let old = read(
            "Out of memory: Killed process 7 (x) total-vm:8kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB",
        );
        assert_eq!((old.message, old.shmem_rss, old.uid), (Some(Message::System), Some(Bytes::ZERO), None));
        let cut = read(
            "Out of memory (oom_kill_allocating_task): Killed process 7 (x) total-vm:8kB, anon-rss:4kB, file-r",
        );
        assert_eq!(
            (cut.message, cut.anon_rss, cut.file_rss),
            (Some(Message::AllocatingTask), Some(Bytes::from_kib(4)), None)
        );
    }

    #[test]
    fn what_stands_around_a_kill() {
        let left =
            Reaped { anon_rss: Bytes::ZERO, file_rss: Bytes::from_kib(64), shmem_rss: Bytes::from_kib(4) };
        for (text, line) in [
            (
                "Tasks in /a b are going to be killed due to memory.oom.group set",
                Line::GroupKill { path: "/a b" },
            ),
            ("Tasks in ", Line::Torn(Torn::GroupKill)),
            ("Tasks in /a", Line::Torn(Torn::GroupKill)),
            (
                "oom_reaper: reaped process 42 (a) b), now anon-rss:0kB, file-rss:64kB, shmem-rss:4kB",
                Line::Reaped { pid: 42, left },
            ),
            ("oom_kill_process: 8 callbacks suppressed", Line::Suppressed(8)),
            (
                "Memory cgroup out of memory: OOM victim 7 (x) is already exiting. Skip killing the task",
                Line::End(Ending::AlreadyExiting),
            ),
            ("Out of memory and no killable processes...", Line::End(Ending::NoKillableProcess)),
            (
                "Kernel panic - not syncing: Out of memory: compulsory panic_on_oom is enabled",
                Line::End(Ending::Panic),
            ),
            ("Kernel panic - not syncing: System is deadlocked on memory", Line::End(Ending::Panic)),
        ] {
            assert_eq!(Line::parse(text), Some(line));
        }
        assert_eq!(Line::parse("Kernel panic - not syncing: Attempted to kill init!"), None);
    }
}
