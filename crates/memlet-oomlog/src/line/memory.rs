//! The lines that say how much memory there was: counters, `memory.stat`, the machine's figures.

use memlet_bytes::Bytes;

use super::scan::{kilobytes, number, whole_number};
use super::{Line, Torn};
use crate::amount::{Limit, Pages, Usage};

/// Which counter of a memory cgroup.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Counter {
    /// `memory`
    Memory,
    /// `memory+swap` (cgroup v1)
    MemorySwap,
    /// `swap` (cgroup v2)
    Swap,
    /// `kmem` (cgroup v1)
    Kmem,
}

/// A figure of the whole machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    /// `N pages RAM`
    Ram(Pages),
    /// `N pages reserved`
    Reserved(Pages),
    /// `Total swap = NkB`
    TotalSwap(Bytes),
    /// `Free swap  = NkB`
    FreeSwap(Bytes),
}

pub(super) fn counter(text: &str) -> Option<Line<'_>> {
    let (name, rest) = text.split_once(": usage ")?;
    let counter = match name {
        "memory" => Counter::Memory,
        "memory+swap" => Counter::MemorySwap,
        "swap" => Counter::Swap,
        "kmem" => Counter::Kmem,
        _ => return None,
    };
    let (usage, rest) = kilobytes(rest)?;
    let (limit, rest) = number(rest.strip_prefix(", limit ")?)?;
    let (failcnt, _) = number(rest.strip_prefix("kB, failcnt ")?)?;
    Some(Line::Counter(counter, Usage { usage, limit: Limit::from_kib(limit), failcnt }))
}

pub(super) fn title(text: &str) -> Option<Line<'_>> {
    if text == "Mem-Info:" {
        return Some(Line::MemInfo);
    }
    let path = text.strip_prefix("Memory cgroup stats for")?.trim_start_matches(' ');
    Some(match path.strip_suffix(':') {
        Some(path) if path.starts_with('/') => Line::StatsFor { path },
        _ => Line::Torn(Torn::StatsFor),
    })
}

pub(super) fn stat(text: &str) -> Option<Line<'_>> {
    let (key, value) = text.split_once(' ')?;
    let is_key = key.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'))
        && key.starts_with(|first: char| first.is_ascii_lowercase());
    if !is_key {
        return None;
    }
    Some(Line::Stat { key, value: whole_number(value)? })
}

pub(super) fn machine(text: &str) -> Option<Line<'_>> {
    let figure = if let Some(swap) = text.strip_prefix("Total swap = ") {
        Machine::TotalSwap(kilobytes(swap)?.0)
    } else if let Some(swap) = text.strip_prefix("Free swap  = ") {
        Machine::FreeSwap(kilobytes(swap)?.0)
    } else {
        match number(text)? {
            (pages, " pages RAM") => Machine::Ram(Pages(pages)),
            (pages, " pages reserved") => Machine::Reserved(Pages(pages)),
            _ => return None,
        }
    };
    Some(Line::Machine(figure))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_tell_usage_limit_and_failures() {
        let usage = Usage {
            usage: Bytes::from_kib(65536),
            limit: Limit::Bytes(Bytes::from_kib(65536)),
            failcnt: 423,
        };
        let text = "memory: usage 65536kB, limit 65536kB, failcnt 423";
        assert_eq!(Line::parse(text), Some(Line::Counter(Counter::Memory, usage)));
        let unlimited = Usage { usage: Bytes::ZERO, limit: Limit::Unlimited, failcnt: 0 };
        for (name, counter) in
            [("memory+swap", Counter::MemorySwap), ("swap", Counter::Swap), ("kmem", Counter::Kmem)]
        {
            let text = format!("{name}: usage 0kB, limit 9007199254740988kB, failcnt 0");
            assert_eq!(Line::parse(&text), Some(Line::Counter(counter, unlimited)));
        }
        assert_eq!(Line::parse("memory: usage 65536kB, limit 65536kB"), None, "cut");
    }

    #[test]
    fn statistics_and_the_machine() {
        for (text, line) in [
            ("Memory cgroup stats for /a b/c: d:", Line::StatsFor { path: "/a b/c: d" }),
            ("Memory cgroup stats for /:", Line::StatsFor { path: "/" }),
            ("Memory cgroup stats for ", Line::Torn(Torn::StatsFor)),
            ("Memory cgroup stats for /kube", Line::Torn(Torn::StatsFor)),
            ("total_rss 66576384", Line::Stat { key: "total_rss", value: 66_576_384 }),
            ("memory 1", Line::Stat { key: "memory", value: 1 }),
            ("sock 1", Line::Stat { key: "sock", value: 1 }),
            ("file 1", Line::Stat { key: "file", value: 1 }),
            ("Mem-Info:", Line::MemInfo),
            ("6291323 pages RAM", Line::Machine(Machine::Ram(Pages(6_291_323)))),
            ("123 pages reserved", Line::Machine(Machine::Reserved(Pages(123)))),
            ("Free swap  = 7kB", Line::Machine(Machine::FreeSwap(Bytes::from_kib(7)))),
            ("Total swap = 8kB", Line::Machine(Machine::TotalSwap(Bytes::from_kib(8)))),
        ] {
            assert_eq!(Line::parse(text), Some(line));
        }
        for text in ["0 pages HighMem/MovableOnly", "rss -1", "rss 1 2", "rss", "Rss 1"] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }
}
