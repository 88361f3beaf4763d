//! The lines that open a report: who asked for memory, on which kernel.

use std::sync::LazyLock;

use memchr::memmem::Finder;

use super::Line;
use super::scan::{number, uid};
use crate::report::{Pid, Uid};

/// `COMM invoked oom-killer: gfp_mask=…, order=…, oom_score_adj=…`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Invoked<'a> {
    /// The task whose allocation failed.
    pub comm: &'a str,
    /// The flags of the allocation.
    pub gfp_bits: Option<u64>,
    /// Their names, since Linux 4.6.
    pub gfp_names: Option<&'a str>,
    /// 2^order pages were asked for; −1 is `SysRq-F`.
    pub order: Option<i32>,
    /// The task's `oom_score_adj`.
    pub oom_score_adj: Option<i16>,
}

/// `CPU: 0 UID: 0 PID: 861 Comm: COMM Not tainted 6.18.44 #1`, or `Pid: 861, comm: COMM …` up to Linux 3.8
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpu<'a> {
    /// The task's user, since Linux 6.12.
    pub uid: Option<Uid>,
    /// The task, by its thread id.
    pub pid: Pid,
    /// Its name.
    pub comm: &'a str,
    /// The kernel's release.
    pub kernel: Option<&'a str>,
}

/// The kernel's own words in the first line of a report; longer than any process name.
static INVOKED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(" invoked oom-killer:"));

pub(super) fn invoked(text: &str) -> Option<Line<'_>> {
    let at = INVOKED.find(text.as_bytes())?;
    let (comm, rest) =
        (&text[..at], text[at..].strip_prefix(" invoked oom-killer:")?.trim_start_matches(' '));
    let comm = name_at_end(comm);
    if "gfp_mask=0x".starts_with(rest.trim_end()) {
        // Cut, by a mailer or a console.
        return Some(Line::Invoked(Invoked {
            comm,
            gfp_bits: None,
            gfp_names: None,
            order: None,
            oom_score_adj: None,
        }));
    }
    let rest = rest.strip_prefix("gfp_mask=0x")?;
    let bits_end = rest.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(rest.len());
    let (bits, rest) = rest.split_at(bits_end);
    let (gfp_names, rest) = match rest.strip_prefix('(').and_then(|rest| rest.split_once(')')) {
        Some((names, rest)) => (Some(names), rest),
        None => (None, rest),
    };
    let after = |key: &str| rest.split_once(key).map(|(_, value)| value);
    Some(Line::Invoked(Invoked {
        comm,
        gfp_bits: u64::from_str_radix(bits, 16).ok(),
        gfp_names: gfp_names.filter(|names| !names.is_empty()),
        order: after("order=").and_then(number).map(|(order, _)| order),
        oom_score_adj: after("oom_score_adj=").and_then(number).map(|(adj, _)| adj),
    }))
}

/// No name is longer; one of a kernel's worker is 15 bytes and what it works at.
const LONGEST_COMM: usize = 64;

/// The name at the end of `text`: what is too long for one begins with what a source that is not known here wrote.
fn name_at_end(text: &str) -> &str {
    if text.len() <= LONGEST_COMM {
        return text;
    }
    let marks = ["] ", ": ", "=", ">", "\"", "\t", ","];
    let begin = marks.iter().filter_map(|mark| Some(text.rfind(mark)? + mark.len())).max();
    begin.map_or(text, |begin| &text[begin..])
}

/// `COMM cpuset=NAME mems_allowed=LIST`, the second line up to Linux 4.20: the cpuset of the task that asked.
pub(super) fn cpuset(text: &str) -> Option<Line<'_>> {
    static ALLOWED: LazyLock<Finder<'static>> = LazyLock::new(|| Finder::new(" mems_allowed="));
    ALLOWED.find(text.as_bytes())?;
    let (before, nodes) = text.rsplit_once(" mems_allowed=")?;
    let (_, name) = before.split_once(" cpuset=")?;
    let is_list = nodes.trim_end().bytes().all(|byte| matches!(byte, b'0'..=b'9' | b',' | b'-'));
    is_list.then_some(Line::Cpuset { name })
}

/// `Call Trace:`; `Call trace:` on arm64.
pub(super) fn call_trace(text: &str) -> Option<Line<'_>> {
    matches!(text.trim_end(), "Call Trace:" | "Call trace:").then_some(Line::CallTrace)
}

pub(super) fn cpu(text: &str) -> Option<Line<'_>> {
    let (_, rest) = number::<u32>(text.strip_prefix("CPU: ")?)?;
    let (user, rest) = match rest.strip_prefix(" UID: ") {
        Some(rest) => uid(rest).map(|(user, rest)| (Some(user), rest))?,
        None => (None, rest),
    };
    let (pid, rest) = number(rest.strip_prefix(" PID: ")?)?;
    let (comm, kernel) = task_and_release(rest.strip_prefix(" Comm: ")?);
    // Where a crash kernel is loaded, this stands between.
    let comm = comm.strip_suffix(" Kdump: loaded").unwrap_or(comm);
    Some(Line::Cpu(Cpu { uid: user, pid, comm, kernel }))
}

/// `Pid: 861, comm: COMM Not tainted 2.6.32-431.el6.x86_64 #1`, which opens the stack dump up to Linux 3.8.
pub(super) fn pid_and_comm(text: &str) -> Option<Line<'_>> {
    let (pid, rest) = number(text.strip_prefix("Pid: ")?)?;
    let (comm, kernel) = task_and_release(rest.strip_prefix(", comm: ")?);
    Some(Line::Cpu(Cpu { uid: None, pid, comm, kernel }))
}

/// `COMM Not tainted RELEASE #BUILD`, or `COMM Tainted: G        W          RELEASE #BUILD`.
fn task_and_release(text: &str) -> (&str, Option<&str>) {
    // A name may hold either word; the kernel's own comes last.
    let last =
        [" Not tainted ", " Tainted: "].iter().filter_map(|word| Some((text.rfind(word)?, word.len()))).max();
    let Some((at, length)) = last else { return (text, None) };
    let taint = &text[at + length..];
    let release = taint.split_once(" #").map_or(taint, |(release, _)| release);
    // Where the line is cut, the letters of the taint are the last word.
    let release = release
        .split_ascii_whitespace()
        .next_back()
        .filter(|word| word.contains('.') && word.starts_with(|c: char| c.is_ascii_digit()));
    (&text[..at], release)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invoked_of(text: &str) -> Invoked<'_> {
        match Line::parse(text) {
            Some(Line::Invoked(invoked)) => invoked,
            other => panic!("{text:?} is {other:?}"),
        }
    }

    #[test]
    fn any_name_may_ask_for_memory() {
        for comm in [
            "memhog",
            "a) b (c",
            "",
            "oom02:4583",
            "x\ny",
            "[x] ",
            "oom-kill:constr",
            "CPU: 0 PID: 1",
            "mem 1",
            "[1] 0 1",
            "Call Trace:",
        ] {
            let text = format!(
                "{comm} invoked oom-killer: gfp_mask=0x100cca(GFP_HIGHUSER_MOVABLE), order=0, oom_score_adj=-998"
            );
            let read = invoked_of(&text);
            assert_eq!((read.comm, read.order, read.oom_score_adj), (comm, Some(0), Some(-998)));
            assert_eq!((read.gfp_bits, read.gfp_names), (Some(0x10_0cca), Some("GFP_HIGHUSER_MOVABLE")));
        }
    }

    #[test]
    fn headers_of_other_kernels() {
        let read = invoked_of(
            "x invoked oom-killer: gfp_mask=0x6200ca(GFP_HIGHUSER_MOVABLE), nodemask=(null),  order=-1, oom_score_adj=0",
        );
        assert_eq!((read.order, read.oom_score_adj), (Some(-1), Some(0)));
        let read = invoked_of("x invoked oom-killer: gfp_mask=0xd0, order=0, oom_adj=3, oom_score_adj=998");
        assert_eq!((read.gfp_names, read.oom_score_adj), (None, Some(998)));
        let cut = invoked_of("x invoked oom-killer: gfp_mask=0xcc0(GFP_KER");
        assert_eq!((cut.gfp_bits, cut.order), (Some(0xcc0), None));
    }

    #[test]
    fn the_stack_dump_names_task_and_kernel() {
        for (text, uid, pid, comm, kernel) in [
            (
                "CPU: 0 UID: 0 PID: 861 Comm: memhog Not tainted 6.18.44-fc-v657 #1 PREEMPT(none) ",
                Some(0),
                861,
                "memhog",
                Some("6.18.44-fc-v657"),
            ),
            (
                "CPU: 11 PID: 7 Comm: a Not tainted b Tainted: G        W          6.1.0-9 #1 Debian",
                None,
                7,
                "a Not tainted b",
                Some("6.1.0-9"),
            ),
            (
                "CPU: 40 PID: 7 Comm: x Kdump: loaded Tainted: G               ------------ T 3.10.0-957.el7.x86_64 #1",
                None,
                7,
                "x",
                Some("3.10.0-957.el7.x86_64"),
            ),
            ("CPU: 1 UID: 4294967294 PID: 7 Comm: x", Some(u32::MAX - 1), 7, "x", None),
            ("CPU: 4 PID: 7 Comm: x Tainted: G      D", None, 7, "x", None),
            (
                "Pid: 7, comm: a, comm: b Tainted: G        W  ---------------    2.6.32-431.11.2.el6.x86_64 #1",
                None,
                7,
                "a, comm: b",
                Some("2.6.32-431.11.2.el6.x86_64"),
            ),
        ] {
            assert_eq!(Line::parse(text), Some(Line::Cpu(Cpu { uid, pid, comm, kernel })));
        }
    }
}
