//! A node's memory for people. Pure.

use anstyle::{AnsiColor, Style as Ansi};
use jiff::Timestamp;
use memlet_bytes::Bytes;
use memlet_diagnosis::render::{Page, Style};

use super::past::{Kind, Past};
use super::plot::Plot;
use super::{Now, Story};
use crate::top::order_table;
use memlet_node::{PressureHistory, PressureThreshold};

/// How it is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Look {
    pub(super) colour: bool,
    pub(super) width: Option<usize>,
    /// Whether the plot may be drawn with block elements.
    pub(super) unicode: bool,
    /// Rows of the tables.
    pub(super) most: usize,
}

/// All of it.
pub(super) fn text(story: &Story, look: &Look) -> String {
    let mut page = Page::new(Style { colour: look.colour, width: look.width, with_pod: false });
    if let Some(now) = &story.now {
        present(&mut page, story, now, look);
    } else {
        let title = format!("node {} does not run: this is what it recorded", story.node);
        page.title(&title, AnsiColor::Cyan);
        happened(&mut page, &story.past);
    }
    for advice in &story.advice {
        page.paragraph("change", &advice.text);
        for line in advice.patch.iter().flat_map(|patch| patch.lines()) {
            page.preformatted(line);
        }
    }
    page.finish()
}

fn present(page: &mut Page, story: &Story, now: &Now, look: &Look) {
    let (title, colour) = title(&story.node, now);
    page.title(&title, colour);
    for condition in now.conditions.iter().filter(|condition| is_telling(&condition.type_, &condition.status))
    {
        let message = condition.message.as_deref().unwrap_or_default();
        page.paragraph("state", &format!("{}={}: {message}", condition.type_, condition.status));
    }
    if let Some(over) = over(now) {
        page.paragraph("short", &over);
    }
    page.paragraph("now", &present_use(now));
    page.paragraph("evicts", &thresholds(now));
    if let Some(pressure) = now.pressure.as_ref().filter(|pressure| !pressure.samples.is_empty()) {
        page.paragraph("hour", &extremes(pressure));
        let plot = Plot {
            samples: &pressure.samples,
            total: total(now),
            threshold: threshold(now),
            now: story.at,
            unicode: look.unicode,
        };
        lines(page, &plot.text());
    }
    happened(page, &story.past);
    let what = match now.next.kill_order.of {
        crate::top::held::Owner::Machine => "the machine's memory and swap run out",
        _ => "its limit for all Pods runs out",
    };
    page.paragraph(
        "next",
        &format!(
            "the kernel kills in this order where {what} ({}), the node evicts in that one:",
            now.next.kill_order.total
        ),
    );
    lines(page, &order_table::both(&now.next, look.most, look.width));
}

fn lines(page: &mut Page, text: &str) {
    for line in text.lines() {
        page.line(&format!("  {line}"), Ansi::new());
    }
}

/// Ready is only told where it is not so, the others where they are.
fn is_telling(type_: &str, status: &str) -> bool {
    (type_ == "Ready") != (status == "True")
}

fn since(now: &Now) -> Option<Timestamp> {
    now.pressure.as_ref()?.under_pressure_since
}

fn is_under_pressure(now: &Now) -> bool {
    let condition = now.conditions.iter().find(|condition| condition.type_ == "MemoryPressure");
    condition.is_some_and(|condition| condition.status == "True") || since(now).is_some()
}

fn title(node: &str, now: &Now) -> (String, AnsiColor) {
    if is_under_pressure(now) {
        let since =
            since(now).map_or_else(String::new, |since| format!(" since {}", since.strftime("%H:%M:%SZ")));
        return (format!("node {node}: under memory pressure{since}"), AnsiColor::Red);
    }
    (format!("node {node}: no memory pressure"), AnsiColor::Green)
}

/// Whether anything is short where the node has the condition, which outlives the shortage; `None` where it has it not, or what
/// is available is not known.
fn over(now: &Now) -> Option<String> {
    let usage = &now.usage;
    let available =
        usage.available.filter(|_| is_under_pressure(now) && usage.eviction_thresholds.is_some())?;
    if usage.met().next().is_some() {
        return None;
    }
    Some(format!(
        "nothing any more: {} is available. The condition stays until nothing has been short for a while \
         (--eviction-pressure-transition-period)",
        available.least()
    ))
}

fn present_use(now: &Now) -> String {
    let usage = &now.usage;
    let held = &usage.held;
    let amount = |amount: Option<Bytes>| amount.map_or_else(|| "?".to_owned(), |amount| amount.to_string());
    let mut text = format!(
        "Pods have a working set of {} of {}: RSS {}, active page cache {}",
        amount(held.working_set),
        total(now),
        amount(held.rss),
        amount(held.active_file),
    );
    if let Some(left) = usage.left {
        text.push_str(&format!("; {} left until the {}'s limit", left.bytes, left.of.word()));
    }
    text.push_str(&format!(". They request {} of {} allocatable", usage.requests, usage.allocatable));
    text
}

fn total(now: &Now) -> Bytes {
    now.usage.limit.unwrap_or(now.usage.capacity)
}

/// The highest: who crosses it first.
fn threshold(now: &Now) -> Option<Bytes> {
    match &now.pressure {
        Some(pressure) => pressure.thresholds.iter().map(|threshold| threshold.bytes).max(),
        None => Some(now.usage.eviction_threshold).filter(|threshold| *threshold > Bytes::ZERO),
    }
}

fn thresholds(now: &Now) -> String {
    let Some(pressure) = &now.pressure else {
        return match threshold(now) {
            Some(threshold) => {
                format!("below {threshold} available; the node does not tell of its last hour")
            }
            None => "never; the node does not tell of its last hour".to_owned(),
        };
    };
    let one = |threshold: &PressureThreshold| {
        let after = threshold.after_seconds.map_or_else(String::new, |seconds| format!(" for {seconds} s"));
        format!("{} < {}{after} ({})", threshold.signal.as_str(), threshold.bytes, threshold.kind)
    };
    let all: Vec<String> = pressure.thresholds.iter().map(one).collect();
    if all.is_empty() {
        "never: no threshold is set".to_owned()
    } else {
        format!("where {}", all.join(", or "))
    }
}

fn extremes(pressure: &PressureHistory) -> String {
    let lowest = pressure.samples.iter().min_by_key(|sample| sample.lowest_available);
    lowest.map_or_else(String::new, |sample| {
        let at = sample.at.strftime("%H:%M:%SZ");
        format!(
            "the least that was available: {}, at {at}. The most that was used in each minute:",
            sample.lowest_available
        )
    })
}

/// So many of the last hour are told of, the newest; more are counted.
const TOLD: usize = 10;

fn happened(page: &mut Page, past: &Past) {
    let hour = counts(past.evictions_in_hour, past.kills_in_hour);
    let mut week = counts(past.evictions_in_week, past.kills_in_week);
    if past.kills_in_week > 0 {
        week.push_str(&format!(
            ", {} of them because the node or the machine was full",
            past.node_kills_in_week
        ));
    }
    page.paragraph("past", &format!("in the last hour {hour}; in the week that is recorded {week}"));
    let skipped = past.last_hour.len().saturating_sub(TOLD);
    for happening in &past.last_hour[skipped..] {
        let label = match happening.kind {
            Kind::Evicted => "evicted",
            Kind::Killed => "killed",
        };
        let at = happening.at.strftime("%H:%M:%SZ");
        page.paragraph(label, &format!("{at} {}/{}: {}", happening.namespace, happening.pod, happening.text));
    }
    if skipped > 0 {
        page.paragraph("", &format!("and {skipped} before"));
    }
}

/// `1 eviction, 2 kills`.
fn counts(evictions: usize, kills: usize) -> String {
    let counted = |count: usize, one: &str| match count {
        0 => None,
        1 => Some(format!("1 {one}")),
        more => Some(format!("{more} {one}s")),
    };
    let all: Vec<_> =
        [counted(evictions, "eviction"), counted(kills, "kill")].into_iter().flatten().collect();
    if all.is_empty() { "nothing".to_owned() } else { all.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::super::{advice, sample};
    use super::*;

    const FILE: Look = Look { colour: false, width: None, unicode: true, most: 3 };

    fn story(now: Option<Now>, past: Past) -> Story {
        let advice = advice::of(now.as_ref(), &past);
        Story { at: sample::AT.parse().unwrap(), node: "memlet".to_owned(), now, past, advice }
    }

    #[test]
    fn a_node_under_pressure() {
        insta::assert_snapshot!(text(&story(Some(sample::now()), sample::past()), &FILE), @r"
        node memlet: under memory pressure since 09:49:50Z
          state    MemoryPressure=True: kubelet has insufficient memory available
          short    nothing any more: 200Mi is available. The condition stays until nothing has been short
                   for a while (--eviction-pressure-transition-period)
          now      Pods have a working set of 824Mi of 1Gi: RSS 804Mi, active page cache 20Mi; 200Mi left
                   until the node's limit. They request 128Mi of 924Mi allocatable
          evicts   where memory.available < 100Mi (hard), or allocatableMemory.available < 100Mi (hard)
          hour     the least that was available: 74Mi, at 09:50:00Z. The most that was used in each minute:
              924Mi │┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄▁▃┄┄┄┄┄┄┄┄┄┄ evicts above
                    │                                            ▂▄▆▇██         ▂
                    │                                       ▁▃▅▆███████       ▃▆█
                    │                                   ▂▄▆▇███████████    ▂▅████
                    │                              ▁▃▅▇████████████████ ▁▄▇██████
                    │                          ▂▄▆▇████████████████████▅█████████
                    │                     ▁▃▅▇███████████████████████████████████
                  0 │                    ████████████████████████████████████████
                    └────────────────────────────────────────────────────────────
                     60 min ago                                               now
          past     in the last hour 1 eviction, 1 kill; in the week that is recorded 1 eviction, 2 kills, 2
                   of them because the node or the machine was full
          killed   09:30:00Z lab/burst: main: kernel killed a process, the main process, at the node's limit
                   for all Pods
          evicted  09:49:59Z lab/greedy: used 700Mi; 74Mi was available, the threshold is 100Mi
          next     the kernel kills in this order where its limit for all Pods runs out (1Gi), the node
                   evicts in that one:
          THE KERNEL KILLS   PID   OF                      POINTS   BECAUSE                     |   THE NODE EVICTS     USES    BECAUSE
          1. main            302   default/hog main        1.5Gi    600Mi held + 1000‰ of 1Gi   |   1. lab/hog          613Mi   613Mi above a request of nothing
          2. server          301   default/steady server   1.0Gi    100Mi held + 939‰ of 1Gi    |   2. default/steady   169Mi   41Mi above its request of 128Mi
          change   lab/greedy, evicted last: requests.memory of main 64Mi → 704Mi (it used 700Mi), so that
                   it is placed where that much is free. No request would have put another before it: no
                   other Pod may be evicted
                   spec:
                     containers:
                     - name: main
                       resources:
                         requests: {memory: 704Mi}
          change   lab/hog, next in order: requests.memory of main none → 640Mi (it uses 612Mi)
                   spec:
                     containers:
                     - name: main
                       resources:
                         requests: {memory: 640Mi}
        ");
    }

    #[test]
    fn what_is_short_is_not_over() {
        let mut now = sample::now();
        now.usage.available.as_mut().unwrap().memory = Bytes::from_mib(99);
        assert_eq!(over(&now), None);
        now.usage.available = None;
        assert_eq!(over(&now), None, "nobody knows");
    }

    #[test]
    fn a_node_that_has_enough() {
        let mut now = sample::now();
        now.conditions.clear();
        now.pressure = None;
        insta::assert_snapshot!(text(&story(Some(now), Past::default()), &FILE), @r"
        node memlet: no memory pressure
          now      Pods have a working set of 824Mi of 1Gi: RSS 804Mi, active page cache 20Mi; 200Mi left
                   until the node's limit. They request 128Mi of 924Mi allocatable
          evicts   below 100Mi available; the node does not tell of its last hour
          past     in the last hour nothing; in the week that is recorded nothing
          next     the kernel kills in this order where its limit for all Pods runs out (1Gi), the node
                   evicts in that one:
          THE KERNEL KILLS   PID   OF                      POINTS   BECAUSE                     |   THE NODE EVICTS     USES    BECAUSE
          1. main            302   default/hog main        1.5Gi    600Mi held + 1000‰ of 1Gi   |   1. lab/hog          613Mi   613Mi above a request of nothing
          2. server          301   default/steady server   1.0Gi    100Mi held + 939‰ of 1Gi    |   2. default/steady   169Mi   41Mi above its request of 128Mi
        ");
    }

    #[test]
    fn a_node_that_does_not_run() {
        insta::assert_snapshot!(text(&story(None, sample::past()), &FILE), @r"
        node memlet does not run: this is what it recorded
          past     in the last hour 1 eviction, 1 kill; in the week that is recorded 1 eviction, 2 kills, 2
                   of them because the node or the machine was full
          killed   09:30:00Z lab/burst: main: kernel killed a process, the main process, at the node's limit
                   for all Pods
          evicted  09:49:59Z lab/greedy: used 700Mi; 74Mi was available, the threshold is 100Mi
          change   lab/greedy, evicted last: requests.memory of main 64Mi → 704Mi (it used 700Mi), so that
                   it is placed where that much is free. No request would have put another before it: no
                   other Pod may be evicted
                   spec:
                     containers:
                     - name: main
                       resources:
                         requests: {memory: 704Mi}
        ");
    }
}
