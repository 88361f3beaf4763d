//! Evidence for tests: reports in the kernel's own words, read by the real parser, and what surrounds them.
#![allow(clippy::format_push_string, reason = "a text of many lines, put together once")]

use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_cgroup::{Limit, Snapshot};
use memlet_diagnosis::Evidence;
use memlet_diagnosis::evidence::{
    ContainerEnd, Exit, KillRecord, Level, Missing, OomScoreAdj, Subject, Victim,
};
use memlet_oomlog::{Collector, Record, Report};
use memlet_policy::oom_score_adj::{Burstable, Explanation, Rule};

pub(crate) const POD: &str = "/kubepods/burstable/pod65a49b87-b4ca-46fd-8a90-1c3669d6427c";
pub(crate) const CONTAINER: &str = "59a7026fb18544e8208b2a91190dd8fa5c6bd927bb2d4b0371c97f0a222f80e7";

/// A process in the kernel's table, in pages of 4 KiB.
#[derive(Clone, Copy)]
pub(crate) struct Process {
    pub(crate) pid: i32,
    pub(crate) anon: u64,
    pub(crate) file: u64,
    pub(crate) shmem: u64,
    pub(crate) adj: i16,
    pub(crate) name: &'static str,
}

pub(crate) const PAUSE: Process =
    Process { pid: 815, anon: 0, file: 159, shmem: 0, adj: -998, name: "pause" };
pub(crate) const EATER: Process =
    Process { pid: 869, anon: 32_589, file: 143, shmem: 0, adj: 939, name: "memory-eater" };

/// A report as Linux 6.18 prints it on cgroup v1.
pub(crate) struct Kernel<'a> {
    /// The cgroup whose limit ran out; `None` for the whole machine.
    pub(crate) oom_memcg: Option<&'a str>,
    pub(crate) limit: Bytes,
    pub(crate) failcnt: u64,
    pub(crate) kmem: Bytes,
    /// Anonymous memory, cache (tmpfs included), tmpfs and shared memory.
    pub(crate) charged: [Bytes; 3],
    pub(crate) processes: &'a [Process],
    pub(crate) victim: Process,
    /// The others that `memory.oom.group` takes along.
    pub(crate) group: &'a [Process],
}

impl Default for Kernel<'_> {
    /// The 128Mi run: the Pod's limit, two processes.
    fn default() -> Self {
        Self {
            oom_memcg: Some(POD),
            limit: Bytes::from_mib(128),
            failcnt: 412,
            kmem: Bytes::from_kib(720),
            charged: [Bytes::from_kib(130_352), Bytes::ZERO, Bytes::ZERO],
            processes: &[PAUSE, EATER],
            victim: EATER,
            group: &[],
        }
    }
}

impl Kernel<'_> {
    pub(crate) fn report(&self) -> Report {
        let mut collector = Collector::default();
        for line in self.text().lines() {
            collector.push(&Record::of_text(line));
        }
        let reports = collector.finish();
        let [report] = reports.try_into().expect("one report");
        report
    }

    fn text(&self) -> String {
        let kib = |bytes: Bytes| bytes.get() / 1024;
        let Process { pid, adj, name, .. } = self.victim;
        let mut text = format!(
            "{name} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj={adj}\n\
             CPU: 1 UID: 0 PID: {pid} Comm: {name} Not tainted 6.18.44 #1 PREEMPT(none) \n\
             Call Trace:\n <TASK>\n dump_header+0x43/0x1c0\n do_anonymous_page+0x340/0x900\n </TASK>\n"
        );
        let (limit, constraint) = (kib(self.limit), self.constraint());
        if let Some(path) = self.oom_memcg {
            let [anon, cache, shmem] = self.charged.map(Bytes::get);
            text += &format!(
                "memory: usage {limit}kB, limit {limit}kB, failcnt {}\n\
                 memory+swap: usage {limit}kB, limit 9007199254740988kB, failcnt 0\n\
                 kmem: usage {}kB, limit 9007199254740988kB, failcnt 0\n\
                 Memory cgroup stats for {path}:\ncache 0\nrss 0\nshmem 0\n\
                 total_cache {cache}\ntotal_rss {anon}\ntotal_shmem {shmem}\n",
                self.failcnt,
                kib(self.kmem)
            );
        } else {
            text += &format!(
                "Mem-Info:\n{} pages RAM\n0 pages HighMem/MovableOnly\n0 pages reserved\n",
                limit / 4
            );
        }
        text += "Tasks state (memory values in pages):\n[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file \
                 rss_shmem pgtables_bytes swapents oom_score_adj name\n";
        for process in self.processes {
            let Process { pid, anon, file, shmem, adj, name } = process;
            let rss = anon + file + shmem;
            text += &format!(
                "[{pid:>7}]     0 {pid:>5} {:>8} {rss:>8} {anon:>8} {file:>8} {shmem:>9}   172032        0 {adj:>13} {name}\n",
                rss + 1000
            );
        }
        text += &format!(
            "oom-kill:constraint={constraint},task_memcg={POD}/{CONTAINER},task={name},pid={pid},uid=0\n"
        );
        text += &self.killed(self.victim);
        if !self.group.is_empty() {
            text +=
                &format!("Tasks in {POD}/{CONTAINER} are going to be killed due to memory.oom.group set\n");
            for member in self.group.iter().chain([&self.victim]) {
                text += &self.killed(*member);
            }
        }
        text
    }

    fn constraint(&self) -> String {
        match self.oom_memcg {
            Some(path) => {
                format!("CONSTRAINT_MEMCG,nodemask=(null),cpuset={CONTAINER},mems_allowed=0,oom_memcg={path}")
            }
            None => format!("CONSTRAINT_NONE,nodemask=(null),cpuset={CONTAINER},mems_allowed=0,global_oom"),
        }
    }

    fn killed(&self, process: Process) -> String {
        let Process { pid, anon, file, shmem, adj, name } = process;
        let message = if self.oom_memcg.is_some() { "Memory cgroup out of memory" } else { "Out of memory" };
        format!(
            "{message}: Killed process {pid} ({name}) total-vm:{}kB, anon-rss:{}kB, file-rss:{}kB, shmem-rss:{}kB, \
             UID:0 pgtables:168kB oom_score_adj:{adj}\n",
            (anon + file + shmem + 1000) * 4,
            anon * 4,
            file * 4,
            shmem * 4
        )
    }
}

pub(crate) fn at() -> Timestamp {
    "2026-11-22T03:00:00Z".parse().expect("a timestamp")
}

pub(crate) fn subject() -> Subject {
    Subject {
        namespace: "default".into(),
        pod: "memory-eater-128".into(),
        pod_uid: "65a49b87-b4ca-46fd-8a90-1c3669d6427c".into(),
        container: "memory-eater".into(),
        container_id: CONTAINER.into(),
        restart_count: 0,
    }
}

pub(crate) fn snapshot(path: &str, limit: Limit, failcnt: u64, oom_kills: u64) -> Snapshot {
    Snapshot {
        path: path.parse().expect("a path"),
        usage: Some(Bytes::from_kib(300)),
        limit: Some(limit),
        peak: limit.bytes(),
        failcnt: Some(failcnt),
        oom_kills: Some(oom_kills),
        working_set: None,
        anon: None,
        file: None,
        shmem: None,
        kernel: None,
        swap: None,
        stalled: None,
    }
}

/// An end with counters: the container's limit 128Mi never hit, the Pod's 412 times.
pub(crate) fn end(exit: Exit, oom_kills: u64) -> ContainerEnd {
    let limit = Limit::Bytes(Bytes::from_mib(128));
    ContainerEnd {
        exit,
        at: at(),
        container: Some(snapshot(&format!("{POD}/{CONTAINER}"), limit, 0, oom_kills)),
        pod: Some(snapshot(POD, limit, if oom_kills > 0 { 412 } else { 0 }, 0)),
        taken_along: None,
    }
}

/// A kill of the main process at this level, as the kernel reported it.
pub(crate) fn kill(level: Level, kernel: &Kernel) -> KillRecord {
    KillRecord {
        at: at(),
        subject: subject(),
        victim: Victim::Main,
        level: Some(level),
        report: Some(kernel.report()),
        container_memory: None,
        pod_memory: None,
        oom_score_adj: Some(OomScoreAdj { wanted: 939, actual: Some(939) }),
        neighbours: vec![],
        missing: vec![],
    }
}

/// The same, of a process that is not the main one.
pub(crate) fn child(level: Level, kernel: &Kernel) -> KillRecord {
    KillRecord { victim: Victim::Child, ..kill(level, kernel) }
}

/// The score of a Burstable container on the third article's node.
pub(crate) fn burstable(request: Bytes) -> Explanation {
    let capacity = Bytes::from_kib(2_041_888);
    let formula = 1000 - i64::try_from(request.get() * 1000 / capacity.get()).expect("small");
    let value = i32::try_from(formula).expect("small");
    let rule = Rule::Burstable(Burstable {
        request,
        pod_level_share: Bytes::ZERO,
        sidecar_raised_to: None,
        capacity,
        formula,
    });
    Explanation { value, rule }
}

pub(crate) fn best_effort() -> Explanation {
    Explanation { value: 1000, rule: Rule::BestEffort }
}

pub(crate) fn no_kernel_log() -> Missing {
    Missing {
        source: "/dev/kmsg".into(),
        reason: "permission denied; run as root, or with CAP_SYSLOG".into(),
    }
}

/// pod-2 of the first article, with the request and the node of the third: killed at 128Mi.
pub(crate) fn pod_2() -> Evidence {
    Evidence {
        subject: subject(),
        is_init: false,
        qos_class: "Burstable".into(),
        score: Some(burstable(Bytes::from_mib(123))),
        request: Some(Bytes::from_mib(123)),
        limit: Some(Bytes::from_mib(128)),
        pod_limit: Some(Bytes::from_mib(128)),
        node_memory: Bytes::from_kib(2_041_888),
        end: Some(end(Exit::Signal(9), 1)),
        reason: Some("OOMKilled".into()),
        message: None,
        tty: false,
        kills: vec![kill(Level::Pod, &Kernel::default())],
    }
}

/// The same container without any kill, ended so.
pub(crate) fn ended(exit: Exit) -> Evidence {
    Evidence { end: Some(end(exit, 0)), reason: None, kills: vec![], ..pod_2() }
}
