//! The join of the kernel's reports with what is known of a container. Pure.
//!
//! A container is `OOMKilled` when the OOM killer killed its main process, and never otherwise. Container
//! runtimes go by the cgroup's counter or notification alone, and so blame bystanders of a kill at a higher
//! level, and containers that lost a child long before they ended by themselves.

use memlet_cgroup::CgroupPath;
use memlet_diagnosis::evidence::{Exit, Level};
use memlet_oomlog::{Report, Scope};

/// What is known when a container has ended.
#[derive(Clone, Copy, Debug)]
pub(crate) struct End<'a> {
    pub(crate) exit: Exit,
    /// The runtime itself killed it, for another process that the OOM killer had taken.
    pub(crate) taken_along: bool,
    /// The main process as the kernel's log names it; `None` where the runtime did not say.
    pub(crate) main_pid: Option<i32>,
    /// The kernel's reports about this container, oldest first, without those settled as a child's.
    pub(crate) reports: &'a [Report],
    /// Processes of this container that an OOM killer killed, by its cgroup.
    pub(crate) oom_kills: Option<u64>,
    /// Kills among these that are settled: a child died and the main process went on.
    pub(crate) settled_kills: u64,
    /// Whether the kernel's log can be read.
    pub(crate) log_is_read: bool,
    /// The runtime's own opinion, used only where neither log nor counter can be had.
    pub(crate) runtime_says_oom: bool,
}

/// What a container died of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ruling {
    /// The OOM killer killed the main process; the index of the report that says so.
    OomKilled { report: Option<usize> },
    /// Something else.
    NotOom,
    /// The counter tells of a kill whose report is still to come: wait for it a little, then take
    /// [`Ruling::OomKilled`] without a report.
    AwaitReport,
}

/// Judges the end of a container.
pub(crate) fn judge(end: &End<'_>) -> Ruling {
    if !end.exit.is_sigkill() {
        return Ruling::NotOom;
    }
    if let Some(report) = end.reports.iter().rposition(|report| takes_main(report, end.main_pid)) {
        return Ruling::OomKilled { report: Some(report) };
    }
    if end.taken_along {
        return Ruling::NotOom;
    }
    let told: u64 = end.reports.iter().map(|report| report.victims.len() as u64).sum();
    match end.oom_kills {
        Some(kills) if kills <= told + end.settled_kills => Ruling::NotOom,
        Some(_) if end.log_is_read => Ruling::AwaitReport,
        Some(_) => Ruling::OomKilled { report: None },
        None if end.log_is_read => Ruling::NotOom,
        None if end.runtime_says_oom => Ruling::OomKilled { report: None },
        None => Ruling::NotOom,
    }
}

/// Whether this kill, in the container with this main process, took the main process.
pub(crate) fn takes_main(report: &Report, main_pid: Option<i32>) -> bool {
    // A kill of the whole cgroup (memory.oom.group) takes everything in it; its further victims follow the
    // report line by line and may not all be known yet.
    if report.group_kill.is_some() {
        return true;
    }
    match main_pid {
        Some(main) => victims(report).any(|pid| pid == main),
        // Nobody said which process is the main one. A report that was not settled before the container died
        // of SIGKILL is the likely cause; that this is so, the record says.
        None => true,
    }
}

/// The processes that this report says were killed.
pub(crate) fn victims(report: &Report) -> impl Iterator<Item = i32> {
    let chosen = report.chosen.as_ref().map(|chosen| chosen.pid);
    let chosen = chosen.filter(|pid| report.victims.iter().all(|victim| victim.pid != *pid));
    chosen.into_iter().chain(report.victims.iter().map(|victim| victim.pid))
}

/// Whose limit ran out: `oom_memcg` against the groups above `container`. `None` where the report says nothing.
///
/// Where a container's limit equals its Pod's, the kernel blames the Pod: pause is charged to it too. That is
/// told as it is.
pub(crate) fn level(
    report: &Report,
    container: &CgroupPath,
    pod: &CgroupPath,
    kubepods: &CgroupPath,
) -> Option<Level> {
    match report.scope {
        Some(Scope::System | Scope::Cpuset | Scope::Mempolicy) => return Some(Level::Machine),
        Some(Scope::Memcg) | None => {}
    }
    let limit_of = report.oom_memcg.as_deref()?;
    // Inside a cgroup namespace our paths lack what the kernel prints before them.
    let prefix = report.task_memcg.as_deref().and_then(|task| task.split_once(container.as_str()));
    let limit_of = prefix.and_then(|(prefix, _)| limit_of.strip_prefix(prefix)).unwrap_or(limit_of);
    let tier = pod.parent().filter(|tier| tier != kubepods);
    Some(match limit_of {
        path if path == container.as_str() => Level::Container,
        path if path == pod.as_str() => Level::Pod,
        path if tier.is_some_and(|tier| path == tier.as_str()) => Level::QosClass,
        path if path == kubepods.as_str() => Level::NodeAllocatable,
        _ => Level::Other,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use memlet_oomlog::{Chosen, Victim};

    const MAIN: i32 = 100;

    /// A name, what is known, and the ruling.
    type Case<'a> = (&'a str, Exit, &'a [Report], Option<u64>, Ruling);

    fn report(pid: i32) -> Report {
        Report {
            victims: vec![Victim { pid, comm: "hog".into(), ..Victim::default() }],
            scope: Some(Scope::Memcg),
            ..Report::default()
        }
    }

    fn end(exit: Exit, reports: &[Report], oom_kills: Option<u64>) -> End<'_> {
        End {
            exit,
            taken_along: false,
            main_pid: Some(MAIN),
            reports,
            oom_kills,
            settled_kills: 0,
            log_is_read: true,
            runtime_says_oom: true,
        }
    }

    #[test]
    fn only_the_death_of_the_main_process_is_oom_killed() {
        let killed = Exit::Signal(9);
        let (main, child, group) =
            (report(MAIN), report(7), Report { group_kill: Some("/x".into()), ..report(7) });
        let one = std::slice::from_ref;
        let cases: [Case<'_>; 10] = [
            ("main killed", killed, one(&main), Some(1), Ruling::OomKilled { report: Some(0) }),
            (
                "main after child",
                killed,
                &[child.clone(), main.clone()],
                Some(2),
                Ruling::OomKilled { report: Some(1) },
            ),
            ("the whole group", killed, &[group], Some(2), Ruling::OomKilled { report: Some(0) }),
            ("child killed, pid 1 ends by itself", Exit::Code(0), one(&child), Some(1), Ruling::NotOom),
            ("child killed, pid 1 passes 137 on", Exit::Code(137), one(&child), Some(1), Ruling::NotOom),
            ("child killed, pid 1 gets kill -9", killed, one(&child), Some(1), Ruling::NotOom),
            ("kill -9", killed, &[], Some(0), Ruling::NotOom),
            ("a bystander, runtime blames it", killed, &[], Some(0), Ruling::NotOom),
            ("report still to come", killed, &[], Some(1), Ruling::AwaitReport),
            ("TERM", Exit::Signal(15), one(&main), Some(1), Ruling::NotOom),
        ];
        for (case, exit, reports, oom_kills, ruling) in cases {
            assert_eq!(judge(&end(exit, reports, oom_kills)), ruling, "{case}");
        }
    }

    #[test]
    fn without_the_log_the_counter_decides_and_without_both_the_runtime() {
        let deaf = |oom_kills, settled_kills, runtime_says_oom| {
            let end = end(Exit::Signal(9), &[], oom_kills);
            judge(&End { log_is_read: false, settled_kills, runtime_says_oom, ..end })
        };
        let oom = Ruling::OomKilled { report: None };
        assert_eq!(deaf(Some(1), 0, false), oom);
        assert_eq!(deaf(Some(1), 1, true), Ruling::NotOom, "that one was a child");
        assert_eq!(deaf(Some(0), 0, true), Ruling::NotOom, "a bystander");
        assert_eq!(deaf(None, 0, true), oom);
        assert_eq!(deaf(None, 0, false), Ruling::NotOom);
    }

    #[test]
    fn whom_the_runtime_killed_the_kernel_did_not() {
        let killed = |reports: &[Report], oom_kills| {
            judge(&End { taken_along: true, ..end(Exit::Signal(9), reports, oom_kills) })
        };
        assert_eq!(killed(&[], Some(1)), Ruling::NotOom, "the child's report is still to come");
        assert_eq!(killed(&[report(7)], Some(1)), Ruling::NotOom);
        let both = [report(7), report(MAIN)];
        assert_eq!(killed(&both, Some(2)), Ruling::OomKilled { report: Some(1) }, "the kernel was first");
    }

    #[test]
    fn a_victim_may_be_named_only_by_the_choice() {
        let chosen = Chosen { pid: MAIN, comm: "hog".into(), uid: 0 };
        let report = Report { victims: Vec::new(), chosen: Some(chosen), ..report(1) };
        assert!(takes_main(&report, Some(MAIN)));
        assert!(!takes_main(&report, Some(7)));
    }

    #[test]
    fn the_level_is_whose_limit_ran_out() {
        let path = |text: &str| text.parse::<CgroupPath>().unwrap();
        let [kubepods, pod, container] =
            ["/m/kubepods", "/m/kubepods/burstable/podu", "/m/kubepods/burstable/podu/c"].map(path);
        let of = |scope, oom: Option<&str>, task: &str| {
            let report = Report {
                scope: Some(scope),
                oom_memcg: oom.map(str::to_owned),
                task_memcg: Some(task.to_owned()),
                ..Report::default()
            };
            level(&report, &container, &pod, &kubepods)
        };
        for (oom, expected) in [
            ("/m/kubepods/burstable/podu/c", Level::Container),
            ("/m/kubepods/burstable/podu", Level::Pod),
            ("/m/kubepods/burstable", Level::QosClass),
            ("/m/kubepods", Level::NodeAllocatable),
            ("/m", Level::Other),
            ("/m/kubepods/burstable/podother", Level::Other),
        ] {
            assert_eq!(of(Scope::Memcg, Some(oom), container.as_str()), Some(expected), "{oom}");
            // The same from outside of a cgroup namespace.
            let (oom, task) = (format!("/outer{oom}"), format!("/outer{container}"));
            assert_eq!(of(Scope::Memcg, Some(&oom), &task), Some(expected), "{oom}");
        }
        assert_eq!(of(Scope::System, None, container.as_str()), Some(Level::Machine));
        assert_eq!(of(Scope::Memcg, None, container.as_str()), None);
    }
}
