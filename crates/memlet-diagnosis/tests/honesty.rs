//! What holds for every verdict, whatever the evidence.

#[allow(dead_code, reason = "the other tests use the rest")]
mod evidence;

use evidence::*;
use memlet_diagnosis::evidence::{Exit, KillRecord, Level, Victim};
use memlet_diagnosis::render::{self, Style};
use memlet_diagnosis::{Evidence, Outcome, judge};
use proptest::prelude::*;

fn exits() -> impl Strategy<Value = Option<Exit>> {
    proptest::option::weighted(
        0.9,
        prop_oneof![
            3 => Just(Exit::Signal(9)),
            1 => (1..64).prop_map(Exit::Signal),
            2 => (0..256).prop_map(Exit::Code),
        ],
    )
}

fn kills() -> impl Strategy<Value = Vec<KillRecord>> {
    let victim =
        prop_oneof![Just(Victim::Main), Just(Victim::Child), Just(Victim::Unknown), Just(Victim::Sandbox),];
    let level = proptest::option::of(prop_oneof![
        Just(Level::Container),
        Just(Level::Pod),
        Just(Level::QosClass),
        Just(Level::NodeAllocatable),
        Just(Level::Machine),
        Just(Level::Other),
    ]);
    let kill = (victim, level, any::<bool>()).prop_map(|(victim, level, reported)| KillRecord {
        victim,
        level,
        report: reported.then(|| Kernel::default().report()),
        ..kill(Level::Pod, &Kernel::default())
    });
    proptest::collection::vec(kill, 0..4)
}

fn evidences() -> impl Strategy<Value = Evidence> {
    let counter = proptest::option::of(0..4_u64);
    let reason = proptest::option::of(prop_oneof![Just("OOMKilled"), Just("Error"), Just("Completed")]);
    (exits(), kills(), counter, reason, any::<[bool; 3]>()).prop_map(
        |(exit, kills, counter, reason, [tty, limited, pod_limited])| {
            let pod_2 = pod_2();
            let end = exit.map(|exit| {
                let mut end = end(exit, 0);
                end.container.as_mut().expect("a snapshot").oom_kills = counter;
                end
            });
            Evidence {
                end,
                kills,
                tty,
                reason: reason.map(str::to_owned),
                limit: pod_2.limit.filter(|_| limited),
                pod_limit: pod_2.pod_limit.filter(|_| pod_limited),
                ..pod_2
            }
        },
    )
}

proptest! {
    #[test]
    fn oom_killed_needs_sigkill_and_a_kill_by_the_kernel(evidence in evidences()) {
        let verdict = judge(&evidence);
        let sigkill = evidence.end.as_ref().is_some_and(|end| end.exit == Exit::Signal(9));
        let counted = evidence.end.as_ref().and_then(|end| end.container.as_ref()?.oom_kills);
        let by_kernel = counted.is_some_and(|kills| kills > 0)
            || evidence.kills.iter().any(|kill| matches!(kill.victim, Victim::Main | Victim::Unknown));
        match verdict.outcome {
            Outcome::OomKilled { .. } => prop_assert!(sigkill && by_kernel),
            Outcome::KilledByUnknown { .. } => prop_assert!(sigkill && counted.is_none() && !verdict.missing.is_empty()),
            _ => {}
        }
    }

    #[test]
    fn no_exit_code_and_no_kill_is_lost(evidence in evidences()) {
        let verdict = judge(&evidence);
        prop_assert_eq!(verdict.outcome.exit_code(), evidence.end.as_ref().map(|end| end.exit.code()));
        let deadly = usize::from(matches!(verdict.outcome, Outcome::OomKilled { .. }));
        let of_container = evidence.kills.iter().filter(|kill| kill.victim != Victim::Sandbox).count();
        prop_assert!(verdict.children.len() + deadly >= of_container);
        prop_assert!(verdict.children.len() <= of_container);
    }

    /// The pause process's death shows in the verdict of a container that went with it.
    #[test]
    fn no_kill_of_the_sandbox_is_silent(evidence in evidences()) {
        let verdict = judge(&evidence);
        let lost = evidence.kills.iter().any(|kill| kill.victim == Victim::Sandbox);
        let concerned = matches!(
            verdict.outcome,
            Outcome::KilledByOther { signal: 9 } | Outcome::KilledByUnknown { signal: 9 }
        );
        let told = verdict.facts.iter().any(|fact| fact.text.contains("pause process"));
        prop_assert_eq!(told, lost && concerned);
    }

    /// From 72 on: below, a cgroup's path does not fit and keeps a longer line.
    #[test]
    fn text_keeps_to_its_width(evidence in evidences(), width in 72_usize..140) {
        let text = render::text(&judge(&evidence), Style { width: Some(width), ..Style::default() });
        prop_assert!(text.ends_with('\n'));
        for line in text.lines().skip(1) {
            prop_assert!(line.chars().count() <= width, "{line}");
            prop_assert_eq!(line, line.trim_end());
        }
    }
}
