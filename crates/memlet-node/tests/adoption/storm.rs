//! The daemon is killed again and again, at moments that nobody chose, while Pods start, run, run out of memory, exit
//! and restart.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::Pod;
use memlet_diagnosis::evidence::Victim;

use crate::bench::{Bench, is_running, last_end, phase, starts, status};

const KILLS: u32 = 22;

/// What must become of a Pod.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Runs,
    Exits(i32),
    IsOomKilled,
}

/// Moments that can be had again from the seed.
struct Moments(u64);

impl Moments {
    fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}

pub(crate) async fn a_storm_of_kills_loses_nothing(bench: &mut Bench) {
    let seed = std::env::var("STORM_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| jiff::Timestamp::now().as_microsecond().unsigned_abs() | 1);
    println!("STORM_SEED={seed}");
    let mut moments = Moments(seed);
    let mut fates = BTreeMap::new();
    for number in 0..3 {
        let name = format!("stable-{number}");
        bench.create(&name, "Always", "64Mi", "8 0 --hold").await;
        bench.until(&name, is_running).await;
        fates.insert(name, Fate::Runs);
    }
    let mut ids = Vec::new();
    for name in fates.keys() {
        ids.push(status(&bench.pods().get(name).await.unwrap()).container_id.unwrap());
    }
    bench.create("loop", "Always", "64Mi", "8 0.2 --exit 7").await;
    for kill in 0..KILLS {
        let pause = f64::from(u32::try_from(moments.below(400)).unwrap()) / 1000.0;
        let name = format!("job-{kill}");
        if kill % 3 == 0 {
            bench.create(&name, "Never", "16Mi", &format!("60 {pause}")).await;
            fates.insert(name, Fate::IsOomKilled);
        } else {
            let code = i32::try_from(kill % 5).unwrap();
            bench.create(&name, "Never", "64Mi", &format!("8 {pause} --exit {code}")).await;
            fates.insert(name, Fate::Exits(code));
        }
        // Mostly while it works, sometimes while it is still starting.
        let most = if kill % 4 == 3 { 300 } else { 1100 };
        tokio::time::sleep(Duration::from_millis(moments.below(most))).await;
        bench.kill();
        tokio::time::sleep(Duration::from_millis(moments.below(300))).await;
        bench.spawn();
    }
    bench.wait_until_ready().await;
    for (name, fate) in &fates {
        check(bench, name, *fate).await;
    }
    for (number, id) in ids.into_iter().enumerate() {
        let pod = bench.pods().get(&format!("stable-{number}")).await.unwrap();
        assert_eq!((status(&pod).container_id, status(&pod).restart_count), (Some(id), 0));
        assert!(bench.told(&format!("stable-{number}"), "Started").await <= 1);
    }
    check_loop(bench).await;
}

async fn check(bench: &Bench, name: &str, fate: Fate) {
    let pod = bench
        .until(name, |pod| match fate {
            Fate::Runs => is_running(pod),
            Fate::Exits(0) => phase(pod) == "Succeeded",
            Fate::Exits(_) | Fate::IsOomKilled => phase(pod) == "Failed",
        })
        .await;
    let end = last_end(&pod).map(|(code, reason, _)| (code, reason));
    let kills = bench.kills(name);
    match fate {
        Fate::Runs => assert_eq!((end, kills.len()), (None, 0), "{name}"),
        Fate::Exits(0) => assert_eq!((end, kills.len()), (Some((0, "Completed".into())), 0), "{name}"),
        Fate::Exits(code) => {
            assert_eq!((end, kills.len()), (Some((code, "Error".into())), 0), "{name}");
            assert_eq!(bench.deaths(name), 1, "{name}");
        }
        Fate::IsOomKilled => {
            assert_eq!(end, Some((137, "OOMKilled".into())), "{name}: {}", bench.complaints());
            let victims: Vec<_> = kills.iter().map(|kill| kill.victim).collect();
            assert_eq!((victims, bench.deaths(name)), (vec![Victim::Main], 1), "{name}");
        }
    }
    assert_eq!(begun(bench, &pod), [1], "{name}: started once, logged once");
}

/// How often each attempt began.
fn begun(bench: &Bench, pod: &Pod) -> Vec<usize> {
    bench.logs(pod).iter().map(|log| starts(log)).collect()
}

/// Each of its instances began once, and each but the last is counted.
async fn check_loop(bench: &Bench) {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        let pod = bench.pods().get("loop").await.unwrap();
        let restarts = usize::try_from(status(&pod).restart_count).unwrap();
        let begun = begun(bench, &pod);
        if begun.len() == restarts + 1 && begun.iter().all(|starts| *starts == 1) {
            assert!(restarts >= 1, "it has not even restarted");
            assert_eq!(last_end(&pod).map(|(code, ..)| code), Some(7));
            return;
        }
        assert!(Instant::now() < deadline, "{restarts} restarts, and began {begun:?} times");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
