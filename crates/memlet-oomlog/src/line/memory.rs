//! The lines that say how much memory there was: counters, `memory.stat`, the machine's figures.

use memlet_bytes::Bytes;

use super::scan::{kilobytes, number, whole_number};
use super::{Line, Torn};
use crate::amount::{Limit, Pages, Usage};
use crate::report::{Slab, Zone};

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
pub enum Machine<'a> {
    /// `N pages RAM`
    Ram(Pages),
    /// `N pages reserved`
    Reserved(Pages),
    /// `Total swap = NkB`
    TotalSwap(Bytes),
    /// `Free swap  = NkB`
    FreeSwap(Bytes),
    /// `N total pagecache pages`
    PageCache(Pages),
    /// `Node N hugepages_total=N … hugepages_size=NkB`: what they take together.
    HugePages(Bytes),
    /// `active_anon:N inactive_anon:N …`: see [`pages_by_name`].
    Counters(&'a str),
    /// `Node N NAME free:NkB min:NkB …`: see [`zone`].
    Zone(&'a str),
}

pub(super) fn counter(text: &str) -> Option<Line<'_>> {
    const NAMES: [(&str, Counter); 4] = [
        ("memory: usage ", Counter::Memory),
        ("memory+swap: usage ", Counter::MemorySwap),
        ("swap: usage ", Counter::Swap),
        ("kmem: usage ", Counter::Kmem),
    ];
    let (counter, rest) =
        NAMES.iter().find_map(|(name, counter)| Some((*counter, text.strip_prefix(name)?)))?;
    let (usage, rest) = kilobytes(rest)?;
    let (limit, rest) = number(rest.strip_prefix(", limit ")?)?;
    let rest = rest.strip_prefix("kB,")?;
    let failcnt = rest.strip_prefix(" failcnt ").and_then(number).map(|(failcnt, _)| failcnt);
    Some(Line::Counter(counter, Usage { usage, limit: Limit::from_kib(limit), failcnt }))
}

pub(super) fn title(text: &str) -> Option<Line<'_>> {
    if text.trim_end() == "Mem-Info:" {
        return Some(Line::MemInfo);
    }
    let path = text.strip_prefix("Memory cgroup stats for")?.trim_start_matches(' ');
    if !path.starts_with('/') {
        return Some(Line::Torn(Torn::StatsFor));
    }
    // Up to Linux 5.2 the figures stand on the same line, and a line tells one cgroup of the tree.
    if let Some(at) = path.rfind(": cache:") {
        return Some(Line::StatsOf { path: &path[..at], stats: &path[at + 2..] });
    }
    Some(match path.trim_end().strip_suffix(':') {
        Some(path) => Line::StatsFor { path },
        None => Line::Torn(Torn::StatsFor),
    })
}

/// The figures of [`Line::StatsOf`]: `cache:NKB rss:NKB …`.
pub fn kilobytes_by_name(stats: &str) -> impl Iterator<Item = (&str, Bytes)> {
    stats.split_ascii_whitespace().filter_map(|word| {
        let (key, value) = word.split_once(':')?;
        let (kib, unit) = number(value)?;
        unit.eq_ignore_ascii_case("kb").then_some((key, Bytes::from_kib(kib)))
    })
}

pub(super) fn stat(text: &str) -> Option<Line<'_>> {
    let is_of_key = |byte: &u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    let length = text.bytes().take_while(is_of_key).count();
    let (key, value) = text.split_at(length);
    let value =
        value.strip_prefix(' ').filter(|_| key.starts_with(|first: char| first.is_ascii_lowercase()))?;
    Some(Line::Stat { key, value: whole_number(value.trim_end())? })
}

pub(super) fn machine(text: &str) -> Option<Line<'_>> {
    let figure = if let Some(swap) = text.strip_prefix("Total swap = ") {
        Machine::TotalSwap(kilobytes(swap)?.0)
    } else if let Some(swap) =
        text.strip_prefix("Free swap  = ").or_else(|| text.strip_prefix("Free swap = "))
    {
        Machine::FreeSwap(kilobytes(swap)?.0)
    } else {
        let (pages, what) = number(text)?;
        match what.trim_end() {
            " pages RAM" => Machine::Ram(Pages(pages)),
            " pages reserved" => Machine::Reserved(Pages(pages)),
            " total pagecache pages" => Machine::PageCache(Pages(pages)),
            _ => return None,
        }
    };
    Some(Line::Machine(figure))
}

/// The counters behind `Mem-Info:`, which may begin with a blank.
pub(super) fn counters(text: &str) -> Option<Line<'_>> {
    let text = text.trim_ascii();
    // One line of them has at least one; the last may be cut.
    let key = text.bytes().take_while(|byte| byte.is_ascii_lowercase() || *byte == b'_').count();
    let (_, rest) = text.get(key..)?.strip_prefix(':').filter(|_| key > 0).and_then(number::<u64>)?;
    (rest.is_empty() || rest.starts_with(' ')).then_some(Line::Machine(Machine::Counters(text)))
}

/// The figures of [`Machine::Counters`].
pub fn pages_by_name(counters: &str) -> impl Iterator<Item = (&str, Pages)> {
    counters.split_ascii_whitespace().filter_map(|word| {
        let (key, value) = word.split_once(':')?;
        Some((key, Pages(whole_number(value)?)))
    })
}

pub(super) fn node(text: &str) -> Option<Line<'_>> {
    let (_, rest) = number::<u32>(text.strip_prefix("Node ")?)?;
    let rest = rest.trim_start_matches(' ');
    if let Some(rest) = rest.strip_prefix("hugepages_total=") {
        let (total, rest) = number::<u64>(rest)?;
        let (_, size) = rest.split_once("hugepages_size=")?;
        let bytes = kilobytes(size)?.0.get().saturating_mul(total);
        return Some(Line::Machine(Machine::HugePages(Bytes::new(bytes))));
    }
    let (name, rest) = rest.split_once(' ')?;
    let is_zone = name.bytes().all(|byte| byte.is_ascii_alphanumeric()) && rest.starts_with("free:");
    is_zone.then_some(Line::Machine(Machine::Zone(text)))
}

/// `Normal free:…`, as kernels without NUMA have it.
pub(super) fn bare_zone(text: &str) -> Option<Line<'_>> {
    let (name, rest) = text.split_once(' ')?;
    let is_zone =
        ["DMA", "DMA32", "Normal", "HighMem", "Movable"].contains(&name) && rest.starts_with("free:");
    is_zone.then_some(Line::Machine(Machine::Zone(text)))
}

/// The zone of [`Machine::Zone`].
pub fn zone(text: &str) -> Option<Zone> {
    let (node, rest) = match text.strip_prefix("Node ") {
        Some(rest) => number(rest)?,
        None => (0, text),
    };
    let (name, rest) = rest.trim_start_matches(' ').split_once(' ')?;
    let mut zone = Zone { node, name: name.to_owned(), ..Zone::default() };
    // What is kept stands first but for the last, which is among the first twenty.
    for (key, bytes) in kilobytes_by_name(rest).take(24) {
        let slot = match key {
            "free" => &mut zone.free,
            "min" => &mut zone.min,
            "low" => &mut zone.low,
            "high" => &mut zone.high,
            "managed" => &mut zone.managed,
            _ => continue,
        };
        *slot = Some(bytes);
    }
    Some(zone)
}

/// `NAME  NKB  NKB`: a row behind `Unreclaimable slab info:`. Others write such lines too.
pub fn slab(text: &str) -> Option<Slab> {
    let mut words = text.split_ascii_whitespace();
    let name = words.next()?;
    let mut size = || {
        let (kib, unit) = number(words.next()?)?;
        unit.eq_ignore_ascii_case("kb").then_some(Bytes::from_kib(kib))
    };
    let (used, total) = (size()?, size()?);
    words.next().is_none().then(|| Slab { name: name.to_owned(), used, total })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_tell_usage_limit_and_failures() {
        let usage = Usage {
            usage: Bytes::from_kib(65536),
            limit: Limit::Bytes(Bytes::from_kib(65536)),
            failcnt: Some(423),
        };
        let text = "memory: usage 65536kB, limit 65536kB, failcnt 423";
        assert_eq!(Line::parse(text), Some(Line::Counter(Counter::Memory, usage)));
        let unlimited = Usage { usage: Bytes::ZERO, limit: Limit::Unlimited, failcnt: Some(0) };
        for (name, counter) in
            [("memory+swap", Counter::MemorySwap), ("swap", Counter::Swap), ("kmem", Counter::Kmem)]
        {
            let text = format!("{name}: usage 0kB, limit 9007199254740988kB, failcnt 0");
            assert_eq!(Line::parse(&text), Some(Line::Counter(counter, unlimited)));
        }
        let cut = Usage { failcnt: None, ..usage };
        let text = "memory: usage 65536kB, limit 65536kB,";
        assert_eq!(Line::parse(text), Some(Line::Counter(Counter::Memory, cut)));
        assert_eq!(Line::parse("memory: usage 65536kB, limit 65536"), None, "the number may go on");
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
            ("9 total pagecache pages", Line::Machine(Machine::PageCache(Pages(9)))),
            (
                "Node 0 hugepages_total=3 hugepages_free=3 hugepages_surp=0 hugepages_size=2048kB",
                Line::Machine(Machine::HugePages(Bytes::from_mib(6))),
            ),
            (
                " active_file:7 inactive_file:8 ",
                Line::Machine(Machine::Counters("active_file:7 inactive_file:8")),
            ),
            (
                "Memory cgroup stats for /a: b: cache:0KB rss:48KB",
                Line::StatsOf { path: "/a: b", stats: "cache:0KB rss:48KB" },
            ),
            ("Total swap = 8kB", Line::Machine(Machine::TotalSwap(Bytes::from_kib(8)))),
        ] {
            assert_eq!(Line::parse(text), Some(line));
        }
        for text in ["0 pages HighMem/MovableOnly", "rss -1", "rss 1 2", "rss", "Rss 1"] {
            assert_eq!(Line::parse(text), None, "{text}");
        }
    }

    #[test]
    fn zones_and_slabs() {
        let text = "Node 1 Normal free:44kB boost:0kB min:45kB low:56kB high:67kB reserved_highatomic:0KB active_anon:1kB present:9kB managed:8kB";
        assert_eq!(Line::parse(text), Some(Line::Machine(Machine::Zone(text))));
        let read = zone(text).unwrap();
        assert_eq!((read.node, read.name.as_str()), (1, "Normal"));
        let kib = |bytes: Option<Bytes>| bytes.map(|bytes| bytes.get() / 1024);
        assert_eq!(
            [read.free, read.min, read.low, read.high, read.managed].map(kib),
            [Some(44), Some(45), Some(56), Some(67), Some(8)]
        );
        let bare = "Normal free:29116kB min:3072kB low:3840kB high:4608kB managed:1004kB";
        assert_eq!(Line::parse(bare), Some(Line::Machine(Machine::Zone(bare))));
        assert_eq!(zone(bare).map(|zone| (zone.node, zone.name)), Some((0, "Normal".to_owned())));
        assert_eq!(Line::parse("Node 0 active_anon:4kB inactive_anon:8kB"), None);
        let read = slab("kmalloc-8k           12328KB      12352KB").unwrap();
        assert_eq!(
            (read.name.as_str(), kib(Some(read.used)), kib(Some(read.total))),
            ("kmalloc-8k", Some(12328), Some(12352))
        );
        assert_eq!(slab("Name                      Used          Total"), None);
    }
}
