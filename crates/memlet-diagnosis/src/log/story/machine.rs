//! The memory of the whole machine, when the whole machine was short.

use memlet_bytes::Bytes;
use memlet_oomlog::{MachineMemory, Pages, Report, Scope, Zone};

use super::{Scene, percent};
use crate::tasks;

/// What ran out, as the subject of a sentence.
pub(super) fn what_ran_out(report: &Report) -> &'static str {
    match report.scope {
        Some(Scope::Cpuset) => "the memory nodes that a cpuset allows",
        Some(Scope::Mempolicy) => "the memory nodes that a memory policy allows",
        _ => "the whole machine",
    }
}

/// What takes much of the machine and is no process's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::log) enum Hog {
    /// Huge pages that were set aside.
    HugePages(Bytes),
    /// Kernel caches that cannot be reclaimed.
    Slab(Bytes),
    /// Shared memory and tmpfs.
    Shared(Bytes),
    /// Memory that no counter of the report shows.
    Uncounted(Bytes),
}

impl Hog {
    /// How much.
    pub(in crate::log) fn amount(self) -> Bytes {
        match self {
            Self::HugePages(amount) | Self::Slab(amount) | Self::Shared(amount) | Self::Uncounted(amount) => {
                amount
            }
        }
    }
}

/// A machine's memory in bytes.
struct Picture<'a> {
    machine: &'a MachineMemory,
    page_size: Bytes,
    ram: Bytes,
}

impl<'a> Picture<'a> {
    fn of(report: &'a Report) -> Option<Self> {
        let (machine, page_size) = (report.machine.as_ref()?, report.page_size?);
        let ram = machine.ram?.bytes(page_size);
        Some(Self { machine, page_size, ram })
    }

    /// The sum of these counters; `None` where none of them is there.
    fn counted(&self, keys: &[&str]) -> Option<Bytes> {
        let pages = keys.iter().filter_map(|key| self.machine.counters.get(*key));
        pages.map(|pages| pages.bytes(self.page_size)).reduce(|sum, part| sum + part)
    }

    /// What can be swapped: the kernel keeps tmpfs and shared memory in the same lists.
    fn swappable(&self) -> Option<Bytes> {
        self.counted(&["active_anon", "inactive_anon"])
    }

    fn anonymous(&self) -> Option<Bytes> {
        Some(self.swappable()?.saturating_sub(self.shared().unwrap_or_default()))
    }

    fn slab_unreclaimable(&self) -> Option<Bytes> {
        self.counted(&["slab_unreclaimable"])
    }

    fn shared(&self) -> Option<Bytes> {
        self.counted(&["shmem"])
    }

    /// What no counter shows. `None` where the report has too few counters to tell.
    fn uncounted(&self) -> Option<Bytes> {
        let counters = [
            self.swappable()?,
            self.counted(&["active_file", "inactive_file"])?,
            self.counted(&["slab_reclaimable", "slab_unreclaimable"])?,
            self.counted(&["free"])?,
            self.counted(&["unevictable", "pagetables", "kernel_stack", "free_pcp", "bounce"])
                .unwrap_or_default(),
            self.machine.huge_pages.unwrap_or_default(),
            self.machine.reserved.unwrap_or(Pages(0)).bytes(self.page_size),
        ];
        Some(self.ram.saturating_sub(counters.into_iter().sum()))
    }
}

/// What takes a fifth of the machine or more and is no process's, largest first.
pub(in crate::log) fn hogs(report: &Report) -> Vec<Hog> {
    let Some(picture) = Picture::of(report) else { return Vec::new() };
    let mut hogs: Vec<_> = [
        (picture.machine.huge_pages, Hog::HugePages as fn(Bytes) -> Hog),
        (picture.slab_unreclaimable(), Hog::Slab),
        (picture.shared(), Hog::Shared),
        (picture.uncounted(), Hog::Uncounted),
    ]
    .into_iter()
    .filter_map(|(amount, hog)| Some((amount?, hog)))
    .filter(|(amount, _)| percent(*amount, picture.ram).is_some_and(|share| share >= 20))
    .collect();
    hogs.sort_by_key(|(amount, _)| std::cmp::Reverse(*amount));
    hogs.into_iter().map(|(amount, hog)| hog(amount)).collect()
}

pub(super) fn sentence(scene: Scene<'_>) -> Option<String> {
    let report = scene.report;
    let machine = report.machine.as_ref()?;
    let mut sentences: Vec<String> =
        Picture::of(report).and_then(|picture| composition(&picture)).into_iter().collect();
    sentences.extend(swap(machine));
    sentences.extend(by_processes(report));
    sentences.extend(hogs(report).into_iter().map(|hog| describe(hog, machine)));
    if !scene.is_by_hand() && report.scope == Some(Scope::System) {
        sentences.extend(zones(scene, machine));
    }
    (!sentences.is_empty()).then(|| sentences.join(". "))
}

/// `RAM 16Gi: 14Gi anonymous, 200Mi page cache, …`.
fn composition(picture: &Picture<'_>) -> Option<String> {
    let parts: Vec<_> = [
        (picture.anonymous(), "anonymous"),
        (picture.counted(&["active_file", "inactive_file"]), "of files"),
        (picture.shared(), "shared or tmpfs"),
        (picture.slab_unreclaimable(), "kernel caches that cannot shrink"),
        (picture.machine.huge_pages.filter(|pages| *pages > Bytes::ZERO), "huge pages"),
        (picture.counted(&["unevictable"]).filter(|locked| *locked > Bytes::ZERO), "locked"),
        (picture.counted(&["pagetables"]), "page tables"),
        (picture.counted(&["free"]), "free"),
    ]
    .into_iter()
    .filter_map(|(amount, kind)| Some(format!("{} {kind}", amount?)))
    .collect();
    let reserved = picture.machine.reserved.unwrap_or(Pages(0)).bytes(picture.page_size);
    let reserved = match percent(reserved, picture.ram) {
        Some(5..) => format!(", of which the kernel keeps {reserved} for itself"),
        _ => String::new(),
    };
    (!parts.is_empty()).then(|| format!("RAM {}{reserved}: {}", picture.ram, parts.join(", ")))
}

fn swap(machine: &MachineMemory) -> Option<String> {
    let total = machine.total_swap?;
    if total == Bytes::ZERO {
        return Some("There is no swap".to_owned());
    }
    let free = machine.free_swap?;
    Some(match percent(free, total) {
        Some(0..=2) => format!("Swap of {total} is full"),
        _ => format!("Swap: {free} of {total} free"),
    })
}

/// How much of the machine the listed processes hold.
fn by_processes(report: &Report) -> Option<String> {
    if report.dropped.tasks > 0 || report.dropped.records > 0 {
        return None;
    }
    let picture = Picture::of(report)?;
    let used = picture.ram.saturating_sub(picture.counted(&["free", "active_file", "inactive_file"])?);
    let sum: Bytes = tasks::by_size(report).into_iter().map(|(_, held)| held).sum();
    let share = percent(sum, used)?;
    (!report.tasks.is_empty() && share < 50).then(|| {
        format!("The processes listed hold only {sum}, {share} % of what is in use: most of it is not theirs")
    })
}

fn describe(hog: Hog, machine: &MachineMemory) -> String {
    match hog {
        Hog::HugePages(amount) => format!("{amount} are set aside as huge pages, which no kill frees"),
        Hog::Slab(amount) => {
            let mut slabs: Vec<_> = machine.slabs.iter().collect();
            slabs.sort_by_key(|slab| std::cmp::Reverse(slab.total));
            let names: Vec<_> =
                slabs.iter().take(3).map(|slab| format!("{} {}", slab.name, slab.total)).collect();
            let names =
                if names.is_empty() { String::new() } else { format!(", most in {}", names.join(", ")) };
            format!(
                "{amount} are kernel caches that cannot be reclaimed{names}: the kernel leaks, or holds for others"
            )
        }
        Hog::Shared(amount) => format!(
            "{amount} are shared memory or files on tmpfs, of which a kill frees only what nobody else refers to"
        ),
        Hog::Uncounted(amount) => {
            format!(
                "{amount} are in no counter of this report: compressed swap (zram), ZFS's cache, a balloon, drivers (GPU, network), or vmalloc"
            )
        }
    }
}

/// Whether memory was free, and only not in as many pages in a row as were asked for. Small zones do not count: the kernel
/// keeps them for those who can use no other (`vm.lowmem_reserve_ratio`).
pub(in crate::log) fn is_fragmented(report: &Report) -> bool {
    let Some(machine) = report.machine.as_ref().filter(|_| report.order.is_some_and(|order| order > 0))
    else {
        return false;
    };
    let size = |zone: &Zone| zone.managed.or(zone.min).unwrap_or_default().get();
    let all: u64 = machine.zones.iter().map(size).sum();
    if all > 0 {
        return machine.zones.iter().any(|zone| size(zone) >= all / 10 && zone.free > zone.high);
    }
    // Without zones: a tenth of all free is more than any watermark.
    let free = machine.counters.get("free").copied();
    free.zip(machine.ram).is_some_and(|(free, ram)| free.0 >= ram.0 / 10)
}

/// Where the zones that could serve the request stood, if not below their watermarks.
fn zones(scene: Scene<'_>, machine: &MachineMemory) -> Option<String> {
    let report = scene.report;
    let low: Vec<&Zone> =
        machine.zones.iter().filter(|zone| zone.managed.is_none_or(|it| it > Bytes::ZERO)).collect();
    if low.is_empty() || low.iter().any(|zone| zone.free.is_none() || zone.min.is_none()) {
        return None;
    }
    let short: Vec<_> = low.iter().filter(|zone| zone.free < zone.min.map(|min| min + min)).collect();
    let order = report.order.unwrap_or(0);
    if is_fragmented(report) {
        return Some(format!(
            "Memory is free, but not {} pages in a row where they were asked for (order {order}): it is fragmented",
            1_u64.checked_shl(u32::try_from(order).ok()?)?
        ));
    }
    let flags = report.gfp.as_ref().and_then(|gfp| gfp.names.as_deref()).unwrap_or_default();
    if flags.split('|').any(|flag| flag.trim_start_matches('_') == "GFP_DMA") {
        return Some("The request could only be served from low memory (DMA), which is small".to_owned());
    }
    match short.as_slice() {
        [] => Some(
            "No zone is near its lowest watermark: the memory that is free could not serve this request"
                .to_owned(),
        ),
        zones => {
            let zone = zones.iter().max_by_key(|zone| zone.managed)?;
            Some(format!(
                "Node {} {}: {} free, lowest watermark {}",
                zone.node,
                zone.name,
                zone.free.unwrap_or_default(),
                zone.min.unwrap_or_default()
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let counters = [
            ("active_anon", 100_000),
            ("inactive_anon", 20_000),
            ("active_file", 1_000),
            ("inactive_file", 1_000),
            ("slab_reclaimable", 2_000),
            ("slab_unreclaimable", 120_000),
            ("shmem", 60_000),
            ("free", 3_000),
        ];
        Report {
            scope: Some(Scope::System),
            page_size: Some(Bytes::from_kib(4)),
            machine: Some(MachineMemory {
                ram: Some(Pages(262_144)),
                total_swap: Some(Bytes::ZERO),
                huge_pages: Some(Bytes::ZERO),
                counters: counters.into_iter().map(|(key, pages)| (key.to_owned(), Pages(pages))).collect(),
                ..MachineMemory::default()
            }),
            ..Report::default()
        }
    }

    #[test]
    fn what_is_no_process_s_is_told() {
        let report = report();
        let scene = Scene { report: &report, level: None, place: None, task_place: None };
        insta::assert_snapshot!(sentence(scene).unwrap(), @"RAM 1Gi: 234.3Mi anonymous, 7.8Mi of files, 234.3Mi shared or tmpfs, 468.7Mi kernel caches that cannot shrink, 11.7Mi free. There is no swap. 468.7Mi are kernel caches that cannot be reclaimed: the kernel leaks, or holds for others. 234.3Mi are shared memory or files on tmpfs, of which a kill frees only what nobody else refers to");
        assert_eq!(hogs(&report).len(), 2);
    }

    #[test]
    fn what_is_not_counted_is_a_hog_of_its_own() {
        let mut report = report();
        let machine = report.machine.as_mut().unwrap();
        machine.counters.insert("slab_unreclaimable".to_owned(), Pages(0));
        machine.counters.insert("shmem".to_owned(), Pages(0));
        assert_eq!(hogs(&report), [Hog::Uncounted(Bytes::new((262_144 - 127_000) * 4096))]);
        report.page_size = None;
        assert_eq!(hogs(&report), []);
    }
}
