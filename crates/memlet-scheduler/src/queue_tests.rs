use serde_json::json;

use super::*;
use crate::cluster::Cluster;
use crate::fixture::{pod, priority, with};

struct Bench {
    cluster: Cluster,
    queue: Queue,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        Self { cluster: Cluster::default(), queue: Queue::default(), now: Instant::now() }
    }

    fn put(&mut self, name: &str, importance: i32, created: &str) -> PodKey {
        let more = with(priority(importance), &json!({"metadata": {"creationTimestamp": created}}));
        let pod = pod(name, "1Mi", &more);
        let facts = Arc::new(self.cluster.read(&pod));
        self.queue.put(Arc::new(pod), Arc::clone(&facts));
        facts.key.clone()
    }

    fn pop(&mut self) -> Option<String> {
        Some(self.queue.pop(self.now)?.name.to_string())
    }

    fn fail(&mut self) -> PodKey {
        let key = self.queue.pop(self.now).unwrap();
        self.queue.park(&key, self.now, false, false);
        key
    }

    fn due_in(&self) -> Option<Duration> {
        self.queue.next_due().map(|due| due - self.now)
    }
}

const EARLY: &str = "2026-01-01T00:00:00Z";
const LATE: &str = "2026-01-01T00:00:01Z";

#[test]
fn the_most_important_then_the_oldest_then_the_first_to_come() {
    let mut bench = Bench::new();
    bench.put("late", 0, LATE);
    bench.put("early", 0, EARLY);
    bench.put("vip", 7, LATE);
    bench.put("early2", 0, EARLY);
    let order: Vec<String> = std::iter::from_fn(|| bench.pop()).collect();
    assert_eq!(order, ["vip", "early", "early2", "late"]);
}

#[test]
fn who_fits_now_need_not_wait_and_who_may_fit_waits_longer_each_time() {
    let mut bench = Bench::new();
    bench.put("p", 0, EARLY);
    for seconds in [1, 2, 4, 8, 10, 10] {
        let key = bench.fail();
        assert_eq!((bench.pop(), bench.due_in()), (None, Some(LONGEST_PARKING)));
        bench.queue.wake(&key, Wake::AfterBackoff);
        assert_eq!(bench.due_in(), Some(Duration::from_secs(seconds)));
        assert_eq!(bench.pop(), None);
        bench.now += Duration::from_secs(seconds);
        assert!(bench.queue.has_ready(bench.now));
    }
    let key = bench.fail();
    bench.queue.wake(&key, Wake::No);
    assert!(!bench.queue.has_ready(bench.now));
    bench.queue.wake(&key, Wake::Now);
    assert_eq!((bench.pop(), bench.due_in()), (Some("p".to_owned()), None));
}

#[test]
fn nobody_is_forgotten() {
    let mut bench = Bench::new();
    bench.put("p", 0, EARLY);
    bench.fail();
    bench.now += LONGEST_PARKING;
    assert_eq!(bench.pop(), Some("p".to_owned()));
}

#[test]
fn what_happens_while_a_pod_is_in_hand_is_not_missed() {
    let mut bench = Bench::new();
    let key = bench.put("p", 0, EARLY);
    assert_eq!(bench.pop(), Some("p".to_owned()));
    bench.queue.wake(&key, Wake::Now);
    bench.queue.wake(&key, Wake::AfterBackoff);
    assert_eq!(bench.pop(), None);
    bench.queue.park(&key, bench.now, false, false);
    assert_eq!(bench.pop(), Some("p".to_owned()));
}

#[test]
fn only_a_pod_that_asks_for_something_else_is_tried_again() {
    let mut bench = Bench::new();
    bench.put("p", 0, EARLY);
    bench.fail();
    bench.put("p", 0, EARLY);
    assert_eq!(bench.pop(), None);
    bench.put("p", 1, EARLY);
    assert_eq!(bench.pop(), Some("p".to_owned()));
}

#[test]
fn who_is_removed_is_gone_from_everywhere() {
    let mut bench = Bench::new();
    let ready = bench.put("ready", 0, LATE);
    let parked = bench.put("parked", 1, EARLY);
    assert_eq!(bench.fail(), parked);
    bench.queue.remove(&ready);
    bench.queue.remove(&parked);
    assert_eq!((bench.pop(), bench.due_in(), bench.queue.keys().count()), (None, None, 0));
}
