//! What measurements from outside have in common: the moment of a kill, and how figures are told.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use memlet_oomlog::kmsg::{Entry, Reader};
use memlet_oomlog::line::Line;

/// When the kernel killed a process whose cgroup's path holds `place`, since boot.
pub(crate) fn own_kill(kernel: &mut Reader, place: &str) -> Result<Duration> {
    let mut victim = None;
    while let Some(entry) = kernel.read_entry()? {
        let Entry::Record(record) = entry else { continue };
        match Line::parse(&record.text) {
            Some(Line::OomKill(chosen)) => {
                let ours = chosen.task_memcg.is_some_and(|cgroup| cgroup.contains(place));
                victim = chosen.pid.filter(|_| ours);
            }
            Some(Line::Killed(killed)) if victim == Some(killed.pid) => {
                return record.since_boot.context("the kernel's log has no times");
            }
            _ => {}
        }
    }
    bail!("the kernel's log holds no kill below {place}")
}

pub(crate) fn since_boot() -> Result<Duration> {
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    Ok(Duration::new(clock.tv_sec.try_into()?, clock.tv_nsec.try_into()?))
}

/// The median, the least and the most.
pub(crate) fn report(what: &str, mut times: Vec<Duration>, aim: &str) {
    times.sort();
    let (Some(least), Some(most)) = (times.first(), times.last()) else { return };
    let median = times[times.len() / 2];
    println!("{what}: median {median:.1?}, {least:.1?} to {most:.1?}, {} runs ({aim})", times.len());
}
