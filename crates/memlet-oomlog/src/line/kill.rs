//! The lines of the kill itself, and of what may stand in its place or follow it.

use memlet_bytes::Bytes;

use super::scan::{field, kilobytes, number, whole_number};
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
    /// `No available memory in cpuset` (up to Linux 2.6.35)
    Cpuset,
    /// `No available memory (MPOL_BIND)` (up to Linux 2.6.35)
    Mempolicy,
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
    /// Address space; not yet on Linux 2.6.32.
    pub total_vm: Option<Bytes>,
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

/// `Out of memory: Kill process PID (COMM) score N or sacrifice child` (Linux 2.6.10 to 5.0): the process that
/// scores highest. The one that dies is named by the line after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kill<'a> {
    /// What ran out.
    pub message: Option<Message>,
    /// The process, or one of its threads.
    pub pid: Pid,
    /// Its name.
    pub comm: &'a str,
    /// Its score, in thousandths of what may be used (before 2.6.36: in no unit).
    pub score: i64,
}

const MESSAGES: [(&str, Message); 6] = [
    ("Memory cgroup out of memory: ", Message::Memcg),
    ("Out of memory: ", Message::System),
    ("Out of memory (oom_kill_allocating_task): ", Message::AllocatingTask),
    ("Out of Memory: ", Message::System),
    ("No available memory in cpuset: ", Message::Cpuset),
    ("No available memory (MPOL_BIND): ", Message::Mempolicy),
];

pub(super) fn kill(text: &str) -> Option<Line<'_>> {
    let (message, rest) = MESSAGES
        .iter()
        .find_map(|(words, message)| Some((Some(*message), text.strip_prefix(words)?)))
        .unwrap_or((None, text));
    if let Some(rest) = rest.strip_prefix("Killed process ") {
        return killed(message, rest);
    }
    if let Some(rest) = rest.strip_prefix("Kill process ").or_else(|| rest.strip_prefix("kill process ")) {
        return chosen_by_score(message, rest);
    }
    let ending =
        if message.is_some() && rest.starts_with("OOM victim ") && rest.contains(" is already exiting. ") {
            Ending::AlreadyExiting
        } else if text.starts_with("Out of memory and no killable processes...") {
            Ending::NoKillableProcess
        } else if let Some(why) = text.strip_prefix("Kernel panic - not syncing: ")
            && ["Out of memory", "System is deadlocked on memory"].iter().any(|words| why.starts_with(words))
        {
            let by_setting = why.contains("panic_on_oom");
            if by_setting { Ending::Panic } else { Ending::Deadlock }
        } else {
            return None;
        };
    Some(Line::End(ending))
}

fn chosen_by_score(message: Option<Message>, text: &str) -> Option<Line<'_>> {
    let (pid, rest) = number(text)?;
    let (comm, score) = rest.strip_prefix(" (")?.rsplit_once(") score ")?;
    let (score, rest) = number(score)?;
    let goes_on = [" or sacrifice child", " or a child", " and children"];
    goes_on.iter().any(|words| rest.starts_with(words)).then_some(Line::Kill(Kill {
        message,
        pid,
        comm,
        score,
    }))
}

/// What follows `Killed process`. The shapes that kernels and vendors have given it:
/// `PID (COMM) total-vm:…`, `PID (COMM) vsz:…` (2.6.33), `PID, UID N, (COMM) total-vm:…` (RHEL 6),
/// `PID (COMM), UID N, total-vm:…` (RHEL 7), and before all these nothing but `PID (COMM)`.
fn killed(message: Option<Message>, text: &str) -> Option<Line<'_>> {
    let (pid, rest) = number(text)?;
    let (early_uid, rest) = match field(rest, ", UID ", number) {
        Some((uid, rest)) => (Some(uid), rest.strip_prefix(',')?),
        None => (None, rest),
    };
    let named = rest.strip_prefix(" (")?;
    let mut killed = Killed {
        message,
        pid,
        comm: "",
        total_vm: None,
        anon_rss: None,
        file_rss: None,
        shmem_rss: None,
        uid: early_uid,
        pgtables: None,
        oom_score_adj: None,
    };
    // From the right: a name may hold any bracket.
    if let Some((comm, sizes)) = named.rsplit_once(") total-vm:").or_else(|| named.rsplit_once(") vsz:")) {
        killed.comm = comm;
        killed.take_sizes(sizes);
    } else if let Some((named, sizes)) = named.rsplit_once(", total-vm:")
        && let Some((comm, uid)) = named.rsplit_once("), UID ")
    {
        (killed.comm, killed.uid) = (comm, Some(whole_number(uid)?));
        killed.take_sizes(sizes);
    } else if let Some((comm, _)) =
        named.rsplit_once(") ").filter(|(_, cut)| !cut.is_empty() && "total-vm:".starts_with(cut))
    {
        killed.comm = comm;
    } else if let Some(comm) = named.trim_end_matches(['.', ' ']).strip_suffix(')') {
        killed.comm = comm;
    } else {
        // Cut amid the name, as a terminal does it; without the kernel's words before it may be anybody's text.
        killed.message?;
        killed.comm = named;
    }
    Some(Line::Killed(killed))
}

impl Killed<'_> {
    /// Reads `NkB, anon-rss:NkB, …` as far as it is there: a console may have cut it.
    fn take_sizes(&mut self, text: &str) {
        let Some((total_vm, mut rest)) = kilobytes(text) else { return };
        self.total_vm = Some(total_vm);
        let mut size = |name| {
            let (bytes, after) = field(rest, name, kilobytes)?;
            // A console that is too narrow prints the end of a line over itself.
            if !(after.is_empty()
                || after.starts_with(", ")
                || after.trim() == ","
                || after.trim().is_empty())
            {
                return None;
            }
            rest = after;
            Some(bytes)
        };
        self.anon_rss = size(", anon-rss:");
        self.file_rss = size(", file-rss:");
        self.shmem_rss = size(", shmem-rss:");
        if let Some((uid, after)) = field(rest, ", UID:", number) {
            self.uid = Some(uid);
            if let Some((pgtables, after)) = field(after, " pgtables:", kilobytes) {
                self.pgtables = Some(pgtables);
                self.oom_score_adj = field(after, " oom_score_adj:", number).map(|(adj, _)| adj);
            }
        }
    }
}

pub(super) fn task_in(text: &str) -> Option<Line<'_>> {
    let (task_memcg, oom_memcg) =
        text.strip_prefix("Task in ")?.split_once(" killed as a result of limit of ")?;
    let oom_memcg = oom_memcg.trim_end();
    // No path but the root's ends so: the line is cut.
    let is_cut = oom_memcg.len() > 1 && oom_memcg.ends_with('/');
    (task_memcg.starts_with('/') && oom_memcg.starts_with('/') && !is_cut)
        .then_some(Line::TaskIn { task_memcg, oom_memcg })
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
                    total_vm: Some(Bytes::from_kib(308_232)),
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
        for (text, uid) in [
            ("Killed process 7, UID 500, (x) total-vm:8kB, anon-rss:4kB, file-rss:0kB", Some(500)),
            ("Killed process 7 (x), UID 0, total-vm:8kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB", Some(0)),
            ("Killed process 7 (x) vsz:8kB, anon-rss:4kB, file-rss:0kB", None),
        ] {
            let vendor = read(text);
            assert_eq!(
                (vendor.comm, vendor.uid, vendor.total_vm),
                ("x", uid, Some(Bytes::from_kib(8))),
                "{text}"
            );
            assert_eq!(vendor.file_rss, Some(Bytes::ZERO));
        }
        let first = read("Out of memory: Killed process 7 (x).");
        assert_eq!((first.comm, first.total_vm), ("x", None));
        let name = read("Memory cgroup out of memory: Killed process 7 (a.o");
        assert_eq!((name.pid, name.comm, name.total_vm), (7, "a.o", None));
        assert_eq!(Line::parse("Killed process 7 (a.o"), None);
        assert_eq!(Line::parse("Task in /docker/a killed as a result of limit of /docker/"), None);
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
            (
                "Out of memory: Kill process 994 (a) b) score 1003 or sacrifice child",
                Line::Kill(Kill { message: Some(Message::System), pid: 994, comm: "a) b", score: 1003 }),
            ),
            (
                "Out of Memory: Kill process 994 (x) score 5 and children.",
                Line::Kill(Kill { message: Some(Message::System), pid: 994, comm: "x", score: 5 }),
            ),
            (
                "No available memory (MPOL_BIND): kill process 994 (x) score 5 or a child",
                Line::Kill(Kill { message: Some(Message::Mempolicy), pid: 994, comm: "x", score: 5 }),
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
            ("Kernel panic - not syncing: System is deadlocked on memory", Line::End(Ending::Deadlock)),
            (
                "Kernel panic - not syncing: Out of memory and no killable processes...",
                Line::End(Ending::Deadlock),
            ),
        ] {
            assert_eq!(Line::parse(text), Some(line));
        }
        assert_eq!(Line::parse("Kernel panic - not syncing: Attempted to kill init!"), None);
    }
}
