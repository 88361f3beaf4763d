//! The thread that keeps the node above its thresholds: it waits for the kernel's word, looks, and acts. One thing at a
//! time: page cache is asked back, or one Pod leaves, and what that gave is looked at before anything else.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use memlet_bytes::Bytes;
use memlet_cgroup::{Cgroup, Limit, UsageWatch};
use memlet_diagnosis::eviction::{Course, Eviction, GraceStory, Reclaim};
use memlet_policy::eviction::pace::{self, Grace, Growth};
use memlet_policy::eviction::{Due, HARD_GRACE, Kind, Observation, Watch};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec};
use tokio::runtime::Handle;

use super::alarm::{is_other, level};
use super::choice::{Choice, choose, ranked};
use super::departure::{self, Departure, Step};
use super::gauge::{Gauge, Reading};
use super::reclaim::{AskedBack, Reclaiming};
use crate::events::Severity;
use crate::node::Node;
use crate::records::Record;
use crate::termination;

/// Far from every threshold: the kernel tells, and this is for what it does not tell of.
const CALM: Duration = Duration::from_secs(1);
/// Near one.
const NEAR: Duration = Duration::from_millis(50);
/// While something is under way.
const BUSY: Duration = Duration::from_millis(3);
/// Notices within this time are one.
const SHORTEST: Duration = Duration::from_millis(1);
/// Page cache is asked back only where the memory lasts this much longer.
const RECLAIM_NEEDS: Duration = Duration::from_millis(500);
/// The least grace that a Pod has which is asked, as everywhere.
const LEAST_GRACE: Duration = Duration::from_secs(termination::LEAST_GRACE.unsigned_abs());
/// What is cleared away after a Pod is waited for only where the memory lasts this much longer.
const CLEARING_NEEDS: Duration = Duration::from_millis(200);
/// The agent's first Pods are known by then.
const SETTLING: Duration = Duration::from_secs(5);
/// Linux's highest.
const NICE: i32 = -20;

/// The running thread. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Keeper {
    stop: Arc<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Starts the thread.
    ///
    /// # Errors
    /// Where a thread, a descriptor or a watch on `kubepods` cannot be had.
    pub(crate) fn start(node: Arc<Node>, watch: Watch, runtime: Handle) -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let stop = Arc::new(rustix::event::eventfd(0, flags)?);
        let kubepods =
            Cgroup::open(node.cgroups.hierarchy(), node.cgroups.kubepods()).map_err(io::Error::other)?;
        let alarm = UsageWatch::start(kubepods, Limit::Max).map_err(io::Error::other)?;
        node.pressure.history.set_rules(watch.rules().copied().collect());
        let gauge = Gauge { capacity: node.shape.capacity, is_machine: node.config.memory.is_none() };
        let work = Work {
            node,
            runtime,
            watch,
            gauge,
            last_read: None,
            blind: false,
            alarm,
            growth: Growth::default(),
            start: Instant::now(),
            stage: Stage::Calm,
            before: None,
            asked_back: AskedBack::default(),
            sure_until: Duration::ZERO,
            helpless: false,
            hurried_since: None,
        };
        let until = stop.clone();
        let thread = std::thread::Builder::new().name("memlet-pressure".to_owned());
        let thread = thread.spawn(move || work.run(&until))?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        // An eventfd takes it unless it was written 2⁶⁴ times.
        let _ = rustix::io::write(&*self.stop, &1_u64.to_ne_bytes());
        if let Some(thread) = self.thread.take() {
            // A panic in there was a bug, and has told of itself.
            let _ = thread.join();
        }
    }
}

/// What is under way.
#[derive(Debug)]
enum Stage {
    Calm,
    Reclaiming(Reclaiming),
    /// What came of it is to be read.
    Reclaimed(Reclaim),
    Leaving(Box<Departure>),
}

struct Work {
    node: Arc<Node>,
    /// Writes the records: a disk may be slow.
    runtime: Handle,
    watch: Watch,
    gauge: Gauge,
    last_read: Option<Reading>,
    /// It cannot be read at present, which is told once.
    blind: bool,
    alarm: UsageWatch,
    growth: Growth,
    /// Moments are durations since then.
    start: Instant,
    stage: Stage,
    /// The thresholds as they were before the shortage that page cache is asked back for.
    before: Option<Watch>,
    asked_back: AskedBack,
    /// Until then what is asked back is known to be page cache, however fast memory seems to be used up.
    sure_until: Duration,
    /// Nobody may be evicted, which is told once.
    helpless: bool,
    /// Since when orphans end without grace.
    hurried_since: Option<Duration>,
}

impl Work {
    fn run(mut self, stop: &OwnedFd) {
        // Among busy containers the thread must not wait its turn; where that may not be set, it does.
        let _ = rustix::process::setpriority_process(None, NICE);
        loop {
            let began = Instant::now();
            let pause = match self.gauge.read(self.alarm.group()) {
                Ok(reading) => {
                    self.last_read = Some(reading);
                    self.blind = false;
                    self.look(&reading)
                }
                Err(error) => self.look_blindly(&error),
            };
            let stopped = self.wait(stop, pause);
            if stopped {
                // The runtime may end before it comes to that.
                return self.node.kills.records().flush();
            }
            std::thread::sleep(SHORTEST.saturating_sub(began.elapsed()));
        }
    }

    /// Nobody new goes for what cannot be read; the Pod that leaves is looked after all the same.
    fn look_blindly(&mut self, error: &memlet_cgroup::Error) -> Duration {
        if !std::mem::replace(&mut self.blind, true) {
            tracing::warn!("the node's memory cannot be read: {error}");
        }
        match (&self.stage, self.last_read) {
            (Stage::Leaving(_), Some(reading)) => self.look(&reading),
            _ => CALM,
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Takes in one reading and acts; says how long to wait for the next.
    fn look(&mut self, reading: &Reading) -> Duration {
        let now = self.now();
        self.growth.look(now, reading.used_up());
        let before = self.watch.clone();
        let mut seen = self.watch.observe(|signal| reading.available(signal), now);
        let held_back = self.before.is_some();
        let busy = self.act(reading, &seen, before, now);
        if held_back && self.before.is_none() {
            // The thresholds may be as they were before the shortage.
            seen = self.watch.observe(|signal| reading.available(signal), now);
        }
        if self.before.is_none() {
            self.tell_condition(seen.under_pressure);
        }
        self.node.pressure.history.note(now, reading.least_available(), reading.working_set);
        let distance = reading.distance(&self.watch);
        let armed = self.arm(reading, distance);
        let near = distance.is_some_and(|distance| self.is_near(distance));
        let pause = match (busy, armed, near || seen.met) {
            (true, ..) => BUSY,
            (_, false, _) => SHORTEST,
            (_, _, true) => NEAR,
            _ => CALM,
        };
        seen.again.map_or(pause, |again| pause.min(again.max(SHORTEST)))
    }

    /// So near that what the kernel does not tell of may cross the threshold within a second.
    fn is_near(&self, distance: Bytes) -> bool {
        let largest = self.watch.rules().map(|rule| rule.threshold).max();
        largest.is_some_and(|threshold| distance < threshold)
    }

    /// Whether something is under way now.
    fn act(&mut self, reading: &Reading, seen: &Observation, before: Watch, now: Duration) -> bool {
        match std::mem::replace(&mut self.stage, Stage::Calm) {
            Stage::Calm => {}
            Stage::Reclaiming(reclaiming) => match reclaiming.result() {
                Ok(reclaim) => {
                    // This reading may be older than the end of it.
                    self.stage = Stage::Reclaimed(reclaim);
                    return true;
                }
                Err(reclaiming) if self.lasts(reading, RECLAIM_NEEDS) || now < self.sure_until => {
                    self.stage = Stage::Reclaiming(reclaiming);
                    return true;
                }
                Err(reclaiming) => {
                    self.asked_back.note(now, reclaiming.give_up(), false);
                    self.before = None;
                }
            },
            Stage::Reclaimed(reclaim) => self.take_reclaimed(reclaim, reading, seen, now),
            Stage::Leaving(departure) => {
                // Also where it has left: what that freed is read before anybody else is chosen, and soon.
                self.look_after(departure, reading, seen, now);
                return true;
            }
        }
        let Some(due) = seen.due else {
            self.helpless &= seen.met;
            if let Some(before) = self.before.take() {
                // Page cache went by itself.
                self.watch = before;
            }
            return false;
        };
        if self.could_be_cache(&due, reading, now) {
            if self.asked_back.rests(now) {
                // It gave enough, and is in use again: nobody needs to go for that.
                self.before.get_or_insert(before);
                return false;
            }
            self.ask_back(&due, before, now);
            return true;
        }
        self.evict(&due, reading, before, now)
    }

    /// Whether the memory lasts for so long at the pace of now.
    fn lasts(&self, reading: &Reading, time: Duration) -> bool {
        let rate = self.growth.rate().unwrap_or(0);
        pace::time_left(reading.left(), rate).is_none_or(|left| left > time)
    }

    /// Whether page cache that the kernel can take back is why the threshold is met, and there is the time to ask. It is not
    /// asked twice without a pause: what the first asking did not give, the second does not.
    fn could_be_cache(&self, due: &Due, reading: &Reading, now: Duration) -> bool {
        let was_too_little = self.asked_back.was_too_little(now);
        reading.active_file >= due.missing() && !was_too_little && self.lasts(reading, RECLAIM_NEEDS)
    }

    /// Has page cache asked back.
    fn ask_back(&mut self, due: &Due, before: Watch, now: Duration) {
        let hierarchy = self.node.cgroups.hierarchy().clone();
        let kubepods = self.node.cgroups.kubepods().clone();
        let pods = self.node.pressure.pods.list();
        if let Some(reclaiming) = Reclaiming::start(due.missing(), pods, kubepods, hierarchy) {
            self.before.get_or_insert(before);
            self.stage = Stage::Reclaiming(reclaiming);
        } else {
            tracing::warn!("page cache cannot be asked back: there is no thread for it");
            self.asked_back.note(now, Reclaim::nothing(due.missing(), Duration::ZERO), false);
        }
    }

    fn take_reclaimed(&mut self, reclaim: Reclaim, reading: &Reading, seen: &Observation, now: Duration) {
        let before = self.before.take();
        let was_enough = seen.due.is_none();
        if was_enough {
            // There was no shortage that anybody had to go for.
            if let Some(before) = before {
                self.watch = before;
            }
            let asked: Vec<_> =
                reclaim.from.iter().map(|pod| format!("{}/{}", pod.namespace, pod.name)).collect();
            let from = if asked.is_empty() {
                "all Pods, those that are gone included,".to_owned()
            } else {
                asked.join(", ")
            };
            let text = format!(
                "{} of page cache were taken back from {} in {} ms, and {} are available: no Pod is evicted",
                reclaim.reclaimed,
                from,
                reclaim.took.as_millis(),
                reading.least_available(),
            );
            self.node.tell(Severity::Normal, "ReclaimedPageCache", text);
        }
        self.asked_back.note(now, reclaim, was_enough);
    }

    /// Has the first Pod of the order leave; whether there is one.
    fn evict(&mut self, due: &Due, reading: &Reading, before: Watch, now: Duration) -> bool {
        let hierarchy = self.node.cgroups.hierarchy().clone();
        if self.orphans_go(now) {
            return true;
        }
        let all = &self.node.pressure.pods;
        let pods = all.list();
        if now < SETTLING && (pods.is_empty() || !all.are_complete()) {
            // Among those that an earlier run left and this one does not know yet may be the one to go.
            return false;
        }
        let Some(choice) = choose(pods, &hierarchy) else {
            self.before = None;
            self.tell_helpless();
            return false;
        };
        self.helpless = false;
        if self.asked_back.lately(now).is_none() && choice.is_mostly_cache(&hierarchy) {
            self.sure_until = now + RECLAIM_NEEDS;
            self.ask_back(due, before, now);
            return true;
        }
        self.before = None;
        let grace = match due.rule.kind {
            Kind::Hard => HARD_GRACE,
            Kind::Soft { .. } => {
                let most = self.node.config.reservations.eviction.max_pod_grace;
                choice.pod.own_grace.map_or(most, |own| own.min(most)).max(LEAST_GRACE)
            }
        };
        let (left, growth) = (reading.left(), self.growth.rate());
        let story = match pace::grace(grace, left, growth.unwrap_or(0)) {
            Grace::Given => GraceStory::Given { grace },
            Grace::TooLate { in_ } => GraceStory::Skipped { grace, left: in_ },
        };
        let record = self.record(due, reading, &choice, story, now);
        let annotations = choice.annotations();
        let Choice { pod, ranking, .. } = choice;
        self.node.pressure.pods.mark(&pod.name.uid);
        let start = self.start;
        let clock = move || start.elapsed();
        let mut departure = Departure::begin(record, pod, grace, annotations, &hierarchy, now, clock);
        if departure.record.ranked.is_empty() {
            departure.record.ranked = ranked(ranking, &departure.record.pod.uid, &hierarchy);
        }
        // The agent may be killed before the Pod has gone: its next run reads here that it is to go.
        self.keep(departure.record.clone());
        self.stage = Stage::Leaving(Box::new(departure));
        self.node.tell(Severity::Warning, "EvictionThresholdMet", "Attempting to reclaim memory");
        true
    }

    /// Whether what an earlier run left of Pods that are no more goes first: nobody else need, if that is enough. It has no
    /// grace where memory is short; what does not end is not waited for longer than for a Pod.
    fn orphans_go(&mut self, now: Duration) -> bool {
        if !self.node.pressure.pods.hurry_orphans() {
            self.hurried_since = None;
            return false;
        }
        let since = *self.hurried_since.get_or_insert(now);
        now.saturating_sub(since) < departure::PATIENCE
    }

    fn record(
        &self,
        due: &Due,
        reading: &Reading,
        choice: &Choice,
        grace: GraceStory,
        now: Duration,
    ) -> Eviction {
        let at = jiff::Timestamp::now();
        let order = choice.pod.orders.borrow().clone();
        if let Some(first) = order.and_then(|order| order.recalled.clone()) {
            // Why it has to go is what it was when it was chosen.
            return Eviction { at, grace, course: Course::default(), ..*first };
        }
        Eviction {
            at,
            node: self.node.config.name.clone(),
            pod: choice.pod.name.clone(),
            containers: choice.containers.clone(),
            pod_level_request: choice.pod.pod_level_request,
            pod_level_limit: choice.pod.pod_level_limit,
            rule: due.rule,
            available: due.available,
            capacity: reading.whole(due.rule.signal),
            allocatable: Some(self.node.shape.allocatable),
            left: reading.left(),
            growth: self.growth.rate(),
            reclaim: self.asked_back.lately(now).cloned(),
            grace,
            ranked: Vec::new(),
            candidates: choice.ranking.len(),
            message: choice.message(due.rule.threshold, due.available),
            course: Course::default(),
        }
    }

    /// Looks after the one that leaves.
    fn look_after(
        &mut self,
        mut departure: Box<Departure>,
        reading: &Reading,
        seen: &Observation,
        now: Duration,
    ) {
        let rate = self.growth.rate().unwrap_or(0);
        let (pods, hierarchy) = (&self.node.pressure.pods, self.node.cgroups.hierarchy());
        if seen.due.is_some_and(|due| due.rule.kind == Kind::Hard) {
            departure.hurry(HARD_GRACE, now);
        }
        let step = departure.look(pods, hierarchy, reading.left(), rate, now);
        if departure.ended() == Some(now) {
            // What was growing has ended with it.
            self.growth = Growth::default();
        }
        // Also where enough is free at this moment: were it short again before all of it is, another would go for nothing.
        let can_wait = self.lasts(reading, CLEARING_NEEDS);
        if step == Step::Stays || (step == Step::Ended && can_wait) {
            self.stage = Stage::Leaving(departure);
            return;
        }
        let mut record = departure.record;
        let after = self.gauge.read(self.alarm.group());
        record.course.available_after = after.ok().map(|reading| reading.available(record.rule.signal));
        self.keep(record);
    }

    fn keep(&self, eviction: Eviction) {
        self.node.kills.records().add_soon(Record::Eviction(Box::new(eviction)), &self.runtime);
    }

    fn tell_condition(&self, on: bool) {
        let changed = self.node.pressure.condition.send_if_modified(|was| std::mem::replace(was, on) != on);
        if changed {
            self.node.pressure.history.set_pressure(on);
        }
    }

    fn tell_helpless(&mut self) {
        if !std::mem::replace(&mut self.helpless, true) {
            let text =
                "Attempting to reclaim memory: no Pod may be evicted, so the kernel's OOM killer will choose";
            self.node.tell(Severity::Warning, "EvictionThresholdMet", text);
        }
    }

    /// Has the kernel tell when the threshold is near; whether it will.
    fn arm(&mut self, reading: &Reading, distance: Option<Bytes>) -> bool {
        let distance = distance.filter(|_| !self.helpless);
        let wanted = level(reading.usage, distance, self.alarm.group().version());
        let is_new = |wanted: &Limit| is_other(self.alarm.level(), *wanted, distance.unwrap_or_default());
        let Some(wanted) = wanted.filter(is_new) else {
            return true;
        };
        if let Err(error) = self.alarm.set_level(wanted) {
            tracing::warn!("the kernel cannot be asked to tell of a shortage: {error}");
            return true;
        }
        // What was crossed before the kernel listened is not told.
        let usage = self.alarm.group().usage().unwrap_or_default();
        !matches!(wanted, Limit::Bytes(level) if usage >= level)
    }

    /// Waits for the kernel's word, for a process to end, or for time; whether the thread is to end.
    fn wait(&self, stop: &OwnedFd, pause: Duration) -> bool {
        let leaving: Vec<BorrowedFd<'_>> = match &self.stage {
            Stage::Leaving(departure) => departure.residents().descriptors().collect(),
            _ => Vec::new(),
        };
        let all = [stop.as_fd(), self.alarm.as_fd()].into_iter().chain(leaving);
        let mut polled: Vec<_> = all.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)).collect();
        let pause = Timespec::try_from(pause).ok();
        if let Err(error) = rustix::event::poll(&mut polled, pause.as_ref())
            && error != rustix::io::Errno::INTR
        {
            tracing::warn!("the kernel's word cannot be waited for: {error}");
            std::thread::sleep(NEAR);
        }
        let told = |index: usize| polled.get(index).is_some_and(|polled| !polled.revents().is_empty());
        let (stopped, alarmed) = (told(0), told(1));
        if alarmed && let Err(error) = self.alarm.drain() {
            tracing::warn!("the kernel's word cannot be read: {error}");
        }
        stopped
    }
}
