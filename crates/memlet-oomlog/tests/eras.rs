//! Reports as each era of the kernel writes them: texts made by the formats in the kernel's sources, shortened.

mod reading;

use memlet_bytes::Bytes;
use memlet_oomlog::{Choice, Constraint, Ending, Limit, Obstacle, Pages, Report, Scope, Scored};
use reading::reports;

fn one(log: &str) -> Report {
    let mut reports = reports(log.as_bytes());
    assert_eq!(reports.len(), 1, "{reports:#?}");
    reports.remove(0)
}

fn kib(bytes: Option<Bytes>) -> Option<u64> {
    bytes.map(|bytes| bytes.get() / 1024)
}

/// 2.6.24: the score has no unit, the kill line no sizes.
#[test]
fn linux_2_6_24() {
    let report = one("\
httpd invoked oom-killer: gfp_mask=0x201d2, order=0, oomkilladj=0
Mem-info:
Free swap  = 0kB
Total swap = 1052248kB
Out of memory: kill process 2592 (oracle) score 65536 or a child
Killed process 2610 (oracle)
");
    assert_eq!((report.scope, report.ending), (Some(Scope::System), Some(Ending::Killed)));
    assert_eq!(report.scored, Some(Scored { pid: 2592, comm: "oracle".into(), score: 65536 }));
    let victim = &report.victims[0];
    assert_eq!(
        (victim.pid, victim.comm.as_str(), victim.total_vm, victim.score),
        (2610, "oracle", None, Some(65536))
    );
    assert_eq!(report.choice(), Choice::Unknown { why: Obstacle::NoTable });
}

/// 2.6.18: a capital M, and a full stop at the end.
#[test]
fn linux_2_6_18() {
    let report = one("\
oom-killer: gfp_mask=0x201d2, order=0
Out of Memory: Kill process 2592 (oracle) score 65536 and children.
Out of memory: Killed process 2592 (oracle).
");
    assert_eq!(
        (report.scope, report.victims[0].pid, report.victims[0].score),
        (Some(Scope::System), 2592, Some(65536))
    );
    assert!(!report.complete, "its first line is no header that later kernels have");
}

/// 2.6.32 of RHEL 6: `oom_adj` beside `oom_score_adj`, the user before the name.
#[test]
fn rhel_6() {
    let report = one("\
Feb 12 01:37:00 qa01 kernel: java invoked oom-killer: gfp_mask=0x201da, order=0, oom_adj=0, oom_score_adj=0
Feb 12 01:37:00 qa01 kernel: java cpuset=/ mems_allowed=0
Feb 12 01:37:00 qa01 kernel: Pid: 1211, comm: java Not tainted 2.6.32-431.el6.x86_64 #1
Feb 12 01:37:00 qa01 kernel: Call Trace:
Feb 12 01:37:00 qa01 kernel: Mem-Info:
Feb 12 01:37:00 qa01 kernel: active_anon:100 inactive_anon:20 isolated_anon:0
Feb 12 01:37:00 qa01 kernel: Node 0 DMA32 free:44kB min:45kB low:56kB high:67kB active_anon:1kB present:9kB
Feb 12 01:37:00 qa01 kernel: 3145712 pages RAM
Feb 12 01:37:00 qa01 kernel: 94497 pages reserved
Feb 12 01:37:00 qa01 kernel: [ pid ]   uid  tgid total_vm      rss cpu oom_adj oom_score_adj name
Feb 12 01:37:00 qa01 kernel: [  517]     0   517     2819       20   1     -17         -1000 udevd
Feb 12 01:37:00 qa01 kernel: [18938]   500 18938  3120736  1919908   2       0             0 java
Feb 12 01:37:00 qa01 kernel: Out of memory: Kill process 18938 (java) score 417 or sacrifice child
Feb 12 01:37:00 qa01 kernel: Killed process 18938, UID 500, (java) total-vm:12482944kB, anon-rss:7678888kB, file-rss:744kB
");
    assert!(report.complete);
    assert_eq!((report.host.as_deref(), report.cpuset.as_deref()), (Some("qa01"), Some("/")));
    let victim = &report.victims[0];
    assert_eq!((victim.uid, victim.score, kib(victim.anon_rss)), (Some(500), Some(417), Some(7_678_888)));
    assert_eq!(
        (report.tasks[0].oom_adj, report.tasks[0].oom_score_adj, report.tasks[0].other["cpu"]),
        (Some(-17), Some(-1000), 1)
    );
    let machine = report.machine.as_ref().unwrap();
    assert_eq!((machine.ram, machine.counters["inactive_anon"]), (Some(Pages(3_145_712)), Pages(20)));
    assert_eq!((machine.zones[0].name.as_str(), kib(machine.zones[0].min)), ("DMA32", Some(45)));
    assert_eq!(report.choice(), Choice::Agrees);
}

/// Up to 2.6.35 the formula weighs what the table does not have.
#[test]
fn the_old_formula() {
    let report = one("\
x invoked oom-killer: gfp_mask=0x201da, order=0, oom_adj=0
[ pid ]   uid  tgid total_vm      rss cpu oom_adj name
[18938]   500 18938  3120736  1919908   2       0 java
Out of memory: kill process 18938 (java) score 417000 or a child
Killed process 18938 (java) vsz:12482944kB, anon-rss:7678888kB, file-rss:744kB
");
    assert_eq!(report.choice(), Choice::Unknown { why: Obstacle::OldFormula });
    assert_eq!(kib(report.victims[0].total_vm), Some(12_482_944));
}

/// 3.10 of RHEL 7: a cgroup's limit, told by `Task in`; the figures of all its cgroups one by one.
#[test]
fn rhel_7() {
    let report = one("\
hog invoked oom-killer: gfp_mask=0xd0, order=0, oom_score_adj=998
hog cpuset=1f0c mems_allowed=0
CPU: 3 PID: 4711 Comm: hog Kdump: loaded Tainted: G               ------------ T 3.10.0-957.el7.x86_64 #1
Task in /kubepods.slice/kubepods-pod77aa.slice/docker-1f0c.scope killed as a result of limit of /kubepods.slice/kubepods-pod77aa.slice
memory: usage 65536kB, limit 65536kB, failcnt 41
memory+swap: usage 65536kB, limit 18014398509481983kB, failcnt 0
kmem: usage 0kB, limit 9007199254740988kB, failcnt 0
Memory cgroup stats for /kubepods.slice/kubepods-pod77aa.slice: cache:0KB rss:0KB rss_huge:0KB mapped_file:0KB swap:0KB
Memory cgroup stats for /kubepods.slice/kubepods-pod77aa.slice/docker-1f0c.scope: cache:1636KB rss:63900KB rss_huge:0KB mapped_file:180KB swap:0KB
[ pid ]   uid  tgid total_vm      rss nr_ptes swapents oom_score_adj name
[ 4699]     0  4699      255        1       4        0          -998 pause
[ 4711]  1000  4711    20113    16020      44        0           998 hog
Memory cgroup out of memory: Kill process 4711 (hog) score 1978 or sacrifice child
Killed process 4711 (hog), UID 1000, total-vm:80452kB, anon-rss:63900kB, file-rss:180kB, shmem-rss:0kB
");
    assert!(report.complete);
    assert_eq!((report.scope, report.constraint.as_ref()), (Some(Scope::Memcg), None));
    assert_eq!(report.oom_memcg.as_deref(), Some("/kubepods.slice/kubepods-pod77aa.slice"));
    assert_eq!(
        report.task_memcg.as_deref(),
        Some("/kubepods.slice/kubepods-pod77aa.slice/docker-1f0c.scope")
    );
    assert_eq!(report.stats_for, report.oom_memcg);
    assert_eq!((report.stats["rss"], report.stats["cache"]), (63900 * 1024, 1636 * 1024));
    assert_eq!(kib(report.charged().unwrap().anon), Some(63900));
    assert_eq!(report.memory_swap.unwrap().limit, Limit::Unlimited);
    assert_eq!((report.victims[0].score, report.victims[0].oom_score_adj), (Some(1978), Some(998)));
    assert_eq!((report.kernel.as_deref(), report.choice()), (Some("3.10.0-957.el7.x86_64"), Choice::Agrees));
}

/// 4.9 to 4.20: a nodemask in the header; a child that was sacrificed.
#[test]
fn linux_4_14_child_sacrificed() {
    let report = one("\
[  100.000000] kworker/u8:2 invoked oom-killer: gfp_mask=0x14200ca(GFP_HIGHUSER_MOVABLE), nodemask=(null),  order=0, oom_score_adj=0
[  100.000001] kworker/u8:2 cpuset=/ mems_allowed=0-1
[  100.000002] Mem-Info:
[  100.000003] 901120 pages RAM
[  100.000004] [ pid ]   uid  tgid total_vm      rss nr_ptes nr_pmds swapents oom_score_adj name
[  100.000005] [  400]     0   400   901120   870012    1700       8        0             0 parent
[  100.000006] [  401]     0   401   901120       12    1700       8        0             0 child
[  100.000007] Out of memory: Kill process 400 (parent) score 868 or sacrifice child
[  100.000008] Killed process 401 (child) total-vm:3604480kB, anon-rss:48kB, file-rss:0kB, shmem-rss:0kB
[  100.500000] oom_reaper: reaped process 401 (child), now anon-rss:0kB, file-rss:0kB, shmem-rss:0kB
");
    assert!(report.complete);
    assert_eq!((report.victims.len(), report.victims[0].pid), (1, 401));
    let scored = report.scored.as_ref().map(|scored| (scored.pid, scored.score));
    assert_eq!((scored, report.victims[0].score), (Some((400, 868)), None), "the score is the parent's");
    assert_eq!(report.tasks[0].page_table_pages, Some(Pages(1708)));
    assert_eq!(report.choice(), Choice::Agrees, "the parent scores highest");
    assert!(report.victims[0].reaped.is_some());
}

/// 5.0 to 5.2 print `CONSTRAINT_NONE` for a cgroup's limit.
#[test]
fn linux_5_1() {
    let report = one("\
stress invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
memory: usage 1024kB, limit 1024kB, failcnt 75131
swap: usage 0kB, limit 9007199254740988kB, failcnt 0
Memory cgroup stats for /foo: cache:0KB rss:0KB unevictable:0KB
Tasks state (memory values in pages):
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[    210]     0   210    66442       56    65536        0             0 stress
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),oom_memcg=/foo,task_memcg=/foo,task=stress,pid=210,uid=0
Memory cgroup out of memory: Killed process 210 (stress) total-vm:265768kB, anon-rss:0kB, file-rss:224kB, shmem-rss:0kB
");
    assert!(report.complete);
    assert_eq!((report.scope, report.constraint), (Some(Scope::Memcg), Some(Constraint::None)));
}

/// 5.3 to 6.3: the statistics are one record of many lines, with the keys of cgroup v2 and cut at its end.
#[test]
fn linux_5_10_statistics_in_one_record() {
    let texts = [
        "hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=969",
        "memory: usage 65536kB, limit 65536kB, failcnt 120",
        "swap: usage 0kB, limit 0kB, failcnt 0",
        "Memory cgroup stats for /pod:\nanon 63737856\nfile 12288\nkernel_stack 49152\nslab_unrec",
        "Tasks state (memory values in pages):",
        "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name",
        "[   4700]  1000  4700      250       16    45056        0           969 sh",
        "[   4711]  1000  4711    20113    16020   172032        0           969 hog",
        "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=c.scope,mems_allowed=0,oom_memcg=/pod,task_memcg=/pod/c.scope,task=hog,pid=4711,uid=1000",
        "Memory cgroup out of memory: Killed process 4711 (hog) total-vm:80452kB, anon-rss:63900kB, file-rss:180kB, shmem-rss:0kB, UID:1000 pgtables:168kB oom_score_adj:969",
        "Tasks in /pod/c.scope are going to be killed due to memory.oom.group set",
        "Memory cgroup out of memory: Killed process 4700 (sh) total-vm:1000kB, anon-rss:64kB, file-rss:0kB, shmem-rss:0kB, UID:1000 pgtables:44kB oom_score_adj:969",
        "Memory cgroup out of memory: Killed process 4711 (hog) total-vm:80452kB, anon-rss:63900kB, file-rss:180kB, shmem-rss:0kB, UID:1000 pgtables:168kB oom_score_adj:969",
    ];
    // As the kernel escapes it, as rsyslog does, as the journal prints it, as dmesg repeats its times.
    let kmsg = |text: &str| text.replace('\n', "\\x0a");
    let logs = [
        texts
            .iter()
            .zip(1..)
            .map(|(text, number)| format!("6,{number},5000000,-;{}\n", kmsg(text)))
            .collect::<String>(),
        texts
            .iter()
            .map(|text| format!("Nov 22 10:01:02 n1 kernel: {}\n", text.replace('\n', "#012")))
            .collect(),
        texts
            .iter()
            .map(|text| {
                format!(
                    "Nov 22 10:01:02 n1 kernel: {}\n",
                    text.replace('\n', "\n                           ")
                )
            })
            .collect(),
        texts.iter().flat_map(|text| text.lines()).map(|text| format!("[    5.000000] {text}\n")).collect(),
        texts
            .iter()
            .map(|text| format!("[    5.000000] {}\n", text.replace('\n', "\n               ")))
            .collect(),
        texts
            .iter()
            .map(|text| {
                format!(
                    "{{\"_TRANSPORT\":\"kernel\",\"MESSAGE\":{}}}\n",
                    serde_json::to_string(text).unwrap()
                )
            })
            .collect(),
    ];
    for log in logs {
        let report = one(&log);
        assert!(report.complete, "{log}");
        assert_eq!(
            (report.stats.get("anon"), report.stats.get("kernel_stack"), report.stats.len()),
            (Some(&63_737_856), Some(&49152), 3),
            "{log}"
        );
        assert_eq!(report.group_kill.as_deref(), Some("/pod/c.scope"));
        assert_eq!(report.victims.iter().map(|victim| victim.pid).collect::<Vec<_>>(), [4711, 4700]);
        assert_eq!(report.choice(), Choice::Agrees);
    }
}

/// The first 5.4 kernels print page tables in bytes and call them kB.
#[test]
fn linux_5_4_page_tables() {
    let report = one("\
[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[     77]     0    77    20113    16020   421888        0             0 hog
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/,task=hog,pid=77,uid=0
Out of memory: Killed process 77 (hog) total-vm:80452kB, anon-rss:63900kB, file-rss:180kB, shmem-rss:0kB, UID:0 pgtables:421888kB oom_score_adj:0
");
    assert_eq!(kib(report.victims[0].pgtables), Some(412));
    assert!(!report.complete);
}

/// The whole machine, with all that `Mem-Info` tells; 64 KiB pages.
#[test]
fn a_machine_of_large_pages() {
    let report = one("\
nginx invoked oom-killer: gfp_mask=0x140cca(GFP_HIGHUSER_MOVABLE|__GFP_COMP), order=0, oom_score_adj=0
CPU: 3 UID: 0 PID: 25154 Comm: nginx Not tainted 6.12.0-64k #3 PREEMPTLAZY 
Call trace:
 show_stack+0x24/0x50 (C)
Mem-Info:
active_anon:3000 inactive_anon:100 isolated_anon:0
 active_file:10 inactive_file:5 isolated_file:0
 slab_reclaimable:40 slab_unreclaimable:900
 mapped:7 shmem:2000 pagetables:9
 sec_pagetables:0 bounce:0
 kernel_misc_reclaimable:0
 free:50 free_pcp:0 free_cma:0
Node 0 active_anon:192000kB inactive_anon:6400kB all_unreclaimable? yes
Node 0 Normal free:3200kB boost:0kB min:3300kB low:4400kB high:5500kB reserved_highatomic:0KB present:262144kB managed:250000kB mlocked:0kB
lowmem_reserve[]: 0 0 0
Node 0 Normal: 1*64kB (U) 2*128kB (UM) = 320kB
Node 0 hugepages_total=2 hugepages_free=2 hugepages_surp=0 hugepages_size=2048kB
2015 total pagecache pages
0 pages in swap cache
Free swap  = 0kB
Total swap = 65536kB
4096 pages RAM
0 pages HighMem/MovableOnly
190 pages reserved
Unreclaimable slab info:
Name                      Used          Total
kmalloc-8k               40960KB      41000KB
Tasks state (memory values in pages):
[  pid  ]   uid  tgid total_vm      rss rss_anon rss_file rss_shmem pgtables_bytes swapents oom_score_adj name
[   1000]     0  1000      500       30       20       10         0    65536        0         -1000 sshd
[   2000]    33  2000     4000     2500     2400        0       100   196608       20             0 nginx
oom-kill:constraint=CONSTRAINT_NONE,nodemask=(null),cpuset=/,mems_allowed=0,global_oom,task_memcg=/system.slice/nginx.service,task=nginx,pid=2000,uid=33
Out of memory: Killed process 2000 (nginx) total-vm:256000kB, anon-rss:153600kB, file-rss:0kB, shmem-rss:6400kB, UID:33 pgtables:192kB oom_score_adj:0
");
    assert!(report.complete);
    assert_eq!((report.page_size, report.scope), (Some(Bytes::from_kib(64)), Some(Scope::System)));
    let machine = report.machine.as_ref().unwrap();
    assert_eq!((machine.counters["shmem"], machine.page_cache), (Pages(2000), Some(Pages(2015))));
    assert_eq!(
        (kib(machine.huge_pages), kib(machine.total_swap), kib(machine.free_swap)),
        (Some(4096), Some(65536), Some(0))
    );
    assert_eq!((machine.zones.len(), kib(machine.zones[0].managed)), (1, Some(250_000)));
    assert_eq!(
        (machine.slabs[0].name.as_str(), kib(Some(machine.slabs[0].used))),
        ("kmalloc-8k", Some(40960))
    );
    assert_eq!((report.ranking().len(), report.ranking()[0].points), (1, 2523));
    assert_eq!(report.call_trace.last().map(String::as_str), Some(" show_stack+0x24/0x50 (C)"));
    assert_eq!(report.choice(), Choice::Agrees);
}

/// Reports that end otherwise.
#[test]
fn other_endings() {
    let header = "x invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=-1000\n";
    for (end, ending) in [
        ("Out of memory and no killable processes...", Ending::NoKillableProcess),
        ("Kernel panic - not syncing: System is deadlocked on memory", Ending::Deadlock),
        ("Kernel panic - not syncing: Out of memory: system-wide panic_on_oom is enabled", Ending::Panic),
        (
            "Memory cgroup out of memory: OOM victim 7 (x) is already exiting. Skip killing the task",
            Ending::AlreadyExiting,
        ),
    ] {
        let report = one(&format!(
            "{header}memory: usage 4kB, limit 4kB, failcnt 1\nMemory cgroup stats for /a:\n{end}\n"
        ));
        assert_eq!((report.ending, report.victims.len()), (Some(ending), 0), "{end}");
    }
    // By hand; and without any scoring.
    let manual = one(
        "[ 1.000000] sysrq: Manual OOM execution\n[ 1.000001] kworker/0:2 invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=-1, oom_score_adj=0\n",
    );
    assert_eq!(manual.order, Some(-1));
    let allocating = one(
        "Out of memory (oom_kill_allocating_task): Killed process 77 (java) total-vm:2000kB, anon-rss:1000kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:16kB oom_score_adj:0\n",
    );
    assert_eq!(allocating.choice(), Choice::NotByScore);
    // A custom constraint of a kernel to come; a vendor's without any.
    let custom = one(
        "oom-kill:constraint=CONSTRAINT_BPF_PSI,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=x,pid=5,uid=0\n",
    );
    assert_eq!(
        (custom.constraint, custom.scope),
        (Some(Constraint::Other("CONSTRAINT_BPF_PSI".into())), Some(Scope::Memcg))
    );
}

/// Names that anyone may choose cannot pass for the kernel's words, whatever the source.
#[test]
fn hostile_names() {
    for comm in [
        "a) b (c",
        "x: Killed proc",
        "(sd-pam)",
        "[  1.000000] x",
        "kernel: y",
        "",
        "6,1,1,-;z",
        "...",
        "日本",
    ] {
        let log = format!("\
[    5.000000] {comm} invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0
[    5.000001] memory: usage 4kB, limit 4kB, failcnt 1
[    5.000002] Memory cgroup stats for /a b,task=evil,pid=1:
[    5.000003] [  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name
[    5.000004] [     77]     0    77    20113    16020   421888        0             0 {comm}
[    5.000005] oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a b,task=evil,pid=1,task_memcg=/a b,task=evil,pid=1,task={comm},pid=77,uid=0
[    5.000006] Memory cgroup out of memory: Killed process 77 ({comm}) total-vm:80452kB, anon-rss:63900kB, file-rss:180kB, shmem-rss:0kB, UID:0 pgtables:412kB oom_score_adj:0
");
        let report = one(&log);
        assert!(report.complete, "{comm:?}");
        assert_eq!(report.invoked_by.as_ref().unwrap().comm, comm);
        assert_eq!((report.victims[0].pid, report.victims[0].comm.as_str()), (77, comm));
        assert_eq!(report.tasks[0].comm, comm);
        assert_eq!(
            (report.oom_memcg.as_deref(), report.task_memcg.as_deref()),
            (Some("/a b,task=evil,pid=1"), Some("/a b,task=evil,pid=1"))
        );
    }
}
