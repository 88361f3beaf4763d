//! `oom-kill:constraint=…`: whose limit was hit, where the victim was, which process it is (Linux 5.0).

use super::Line;
use super::scan::{number, uid, whole_number};
use crate::report::{Pid, Uid};

/// The `oom-kill` record. When it was torn or cut, what the rest would say is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OomKill<'a> {
    /// `CONSTRAINT_…`
    pub constraint: Option<&'a str>,
    /// The last part of the cpuset's path, of the task that asked.
    pub cpuset: Option<&'a str>,
    /// Whether it says `global_oom`.
    pub global: bool,
    /// The cgroup whose limit was hit.
    pub oom_memcg: Option<&'a str>,
    /// The victim's cgroup.
    pub task_memcg: Option<&'a str>,
    /// The victim's name.
    pub task: Option<&'a str>,
    /// The victim.
    pub pid: Option<Pid>,
    /// The victim's user.
    pub uid: Option<Uid>,
}

const OPENING: &str = "oom-kill:";

impl<'a> OomKill<'a> {
    /// Whether the record was seen to its end.
    pub fn is_whole(&self) -> bool {
        self.pid.is_some()
    }

    /// The same record, read anew knowing the victim's name from its kill line: a name that holds `,task=` could
    /// else pass as a part of the cgroup's path.
    #[must_use]
    pub fn knowing_victim(self, text: &'a str, comm: &str) -> Self {
        Self::parse(text, Some(comm)).unwrap_or(self)
    }

    fn parse(text: &'a str, comm: Option<&str>) -> Option<Self> {
        let rest = text.strip_prefix(OPENING)?;
        let mut read = Self::default();
        let (mut rest, victim) = split_victim(rest, comm);
        if let Some((task, pid, uid)) = victim {
            (read.task, read.pid, read.uid) = (Some(task), Some(pid), Some(uid));
        } else if let Some((paths, task)) = comm.and_then(|comm| split_cut_victim(rest, comm)) {
            (rest, read.task) = (paths, Some(task));
        }
        // A vendor's kernel leaves the constraint out.
        let rest = match rest.strip_prefix("constraint=") {
            Some(rest) => {
                let (name, rest) = rest.split_at(rest.find(',').unwrap_or(rest.len()));
                read.constraint = Some(name);
                rest
            }
            None => rest,
        };
        let rest = rest.strip_prefix(",nodemask=").map_or(rest, skip_list);
        let rest = read.take_cpuset(rest);
        read.take_memcgs(rest);
        Some(read)
    }

    /// Takes `,cpuset=NAME,mems_allowed=LIST`. The name is anyone's choice but has no `/`, and a `/` follows the
    /// kernel's own next word: so the first place that fits is the right one.
    fn take_cpuset(&mut self, rest: &'a str) -> &'a str {
        const LIST: &str = ",mems_allowed=";
        let Some(named) = rest.strip_prefix(",cpuset=") else { return rest };
        for (at, _) in named.match_indices(LIST) {
            let after = skip_list(&named[at + LIST.len()..]);
            let goes_on = [",oom_memcg=/", ",global_oom,task_memcg=/", ",task_memcg=/"];
            let ends = ["", ",global_oom", ",oom_memcg=", ",global_oom,task_memcg="];
            if goes_on.iter().any(|word| after.starts_with(word)) || ends.contains(&after) {
                self.cpuset = Some(&named[..at]);
                return after;
            }
        }
        ""
    }

    fn take_memcgs(&mut self, rest: &'a str) {
        const VICTIMS: &str = ",task_memcg=";
        // The last path is known to its end only when the victim follows.
        let path = |path: &'a str| (self.task.is_some() && path.starts_with('/')).then_some(path);
        if let Some(after) = rest.strip_prefix(",global_oom") {
            self.global = true;
            self.task_memcg = after.strip_prefix(VICTIMS).and_then(path);
        } else if let Some(paths) = rest.strip_prefix(",oom_memcg=") {
            let splits =
                || paths.match_indices(VICTIMS).map(|(at, _)| (&paths[..at], &paths[at + VICTIMS.len()..]));
            // The victim is in the cgroup whose limit was hit, or below it; a name may hold the word that divides.
            let Some((oom, task)) =
                splits().find(|(oom, task)| is_within(task, oom)).or_else(|| splits().next())
            else {
                return;
            };
            self.task_memcg = path(task);
            self.oom_memcg = oom.starts_with('/').then_some(oom);
        } else {
            self.task_memcg = rest.strip_prefix(VICTIMS).and_then(path);
        }
    }
}

/// Whether `path` is `ancestor` or lies below it.
fn is_within(path: &str, ancestor: &str) -> bool {
    ancestor == "/"
        || path.strip_prefix(ancestor).is_some_and(|below| below.is_empty() || below.starts_with('/'))
}

/// Splits `…,task=NAME,pid=N,uid=N` off the end.
fn split_victim<'a>(text: &'a str, comm: Option<&str>) -> (&'a str, Option<(&'a str, Pid, Uid)>) {
    let split = || {
        let (before, user) = text.rsplit_once(",uid=")?;
        let (user, _) = uid(user).filter(|(_, rest)| rest.trim_end().is_empty())?;
        let (before, pid) = before.rsplit_once(",pid=")?;
        let pid = whole_number(pid)?;
        let known =
            comm.and_then(|comm| Some((before.strip_suffix(comm)?.strip_suffix(",task=")?, comm.len())));
        let (paths, task) = match known {
            Some((paths, length)) => (paths, &before[before.len() - length..]),
            None => before.rsplit_once(",task=")?,
        };
        Some((paths, (task, pid, user)))
    };
    split().map_or((text, None), |(paths, victim)| (paths, Some(victim)))
}

/// Splits `…,task=NAME,pid=N…` off the end of a record that was cut behind the name.
fn split_cut_victim<'a>(text: &'a str, comm: &str) -> Option<(&'a str, &'a str)> {
    let (paths, named) = text.rsplit_once(",task=")?;
    let task = named.get(..comm.len()).filter(|task| *task == comm)?;
    named[comm.len()..].starts_with(",pid=").then_some((paths, task))
}

/// Skips a node list (`0-1,3`) or `(null)`. The comma before the next word stays.
fn skip_list(text: &str) -> &str {
    if let Some(rest) = text.strip_prefix("(null)") {
        return rest;
    }
    let mut rest = text;
    while let Some((_, after)) = number::<u32>(rest.strip_prefix([',', '-']).unwrap_or(rest)) {
        rest = after;
    }
    rest
}

pub(super) fn oom_kill(text: &str) -> Option<Line<'_>> {
    let after = text.strip_prefix(OPENING)?;
    // So much must be there: a shorter beginning fits into a process name.
    let known = ["constraint=", ",cpuset="].iter().any(|word| after.starts_with(word));
    known.then(|| OomKill::parse(text, None).map(Line::OomKill)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> OomKill<'_> {
        match Line::parse(text) {
            Some(Line::OomKill(read)) => read,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn a_memcg_kill() {
        let text = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c1,mems_allowed=0-1,3,oom_memcg=/a,task_memcg=/a/b,task=hog,pid=861,uid=-2";
        assert_eq!(
            read(text),
            OomKill {
                constraint: Some("CONSTRAINT_MEMCG"),
                cpuset: Some("c1"),
                global: false,
                oom_memcg: Some("/a"),
                task_memcg: Some("/a/b"),
                task: Some("hog"),
                pid: Some(861),
                uid: Some(u32::MAX - 1),
            }
        );
    }

    #[test]
    fn a_kill_on_the_whole_machine_and_kernels_with_less() {
        let text = "oom-kill:constraint=CONSTRAINT_NONE,nodemask=0-3,cpuset=/,mems_allowed=0,global_oom,task_memcg=/x,task=hog,pid=1,uid=0";
        let whole = read(text);
        assert!(whole.global && whole.is_whole());
        assert_eq!((whole.oom_memcg, whole.task_memcg, whole.cpuset), (None, Some("/x"), Some("/")));
        let no_cpusets = read(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),oom_memcg=/a,task_memcg=/a,task=t,pid=5,uid=0",
        );
        assert_eq!((no_cpusets.cpuset, no_cpusets.oom_memcg), (None, Some("/a")));
        let no_memcg = read(
            "oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,task=t,pid=5,uid=0",
        );
        assert_eq!((no_memcg.cpuset, no_memcg.task, no_memcg.task_memcg), (Some("/"), Some("t"), None));
        let vendor = read("oom-kill:,cpuset=/,mems_allowed=0,task_memcg=/a,task=t,pid=5,uid=0");
        assert_eq!((vendor.constraint, vendor.task_memcg), (None, Some("/a")));
    }

    #[test]
    fn names_cannot_pass_for_the_kernels_words() {
        let text = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=x,mems_allowed=0,global_oom,mems_allowed=0,oom_memcg=/my group,task=evil,pid=1,task_memcg=/my group,task=evil,pid=1,task=innocent,pid=20823,uid=0";
        let group = read(text);
        assert_eq!(group.cpuset, Some("x,mems_allowed=0,global_oom"));
        assert!(!group.global);
        assert_eq!(group.oom_memcg, Some("/my group,task=evil,pid=1"));
        assert_eq!(group.task_memcg, group.oom_memcg);
        assert_eq!((group.task, group.pid), (Some("innocent"), Some(20823)));

        let divided = read(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/x,task_memcg=/a,task_memcg=/x/c,task=t,pid=5,uid=0",
        );
        assert_eq!(
            (divided.oom_memcg, divided.task_memcg),
            (Some("/a,task_memcg=/x"), Some("/a,task_memcg=/x/c"))
        );

        for comm in [",task=evil,pid=", ",task=", "a,uid=1", "x\ny", "", "\",task=a,pid=1"] {
            let text = format!(
                "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a,task={comm},pid=500,uid=7"
            );
            let known = read(&text).knowing_victim(&text, comm);
            assert_eq!((known.task, known.pid, known.uid), (Some(comm), Some(500), Some(7)));
            assert_eq!(known.task_memcg, Some("/a"), "{comm:?}");
        }
    }

    #[test]
    fn a_cut_record_says_only_what_is_sure() {
        let whole = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c1,mems_allowed=0,oom_memcg=/a/b,task_memcg=/a/b/c,task=hog,pid=861,uid=0";
        for end in "oom-kill:constraint=".len()..whole.len() {
            let cut = read(&whole[..end]);
            assert!(matches!(cut.oom_memcg, None | Some("/a/b")), "{cut:?}");
            assert!(cut.task_memcg.is_none(), "{cut:?}");
            assert!(cut.pid.is_none(), "{cut:?}");
        }
    }
}
