//! What the node has, and what of it is for Pods: memory, processors, storage, huge pages, places.
//!
//! kubelet's `MachineInfo` setter and `getNodeAllocatableAbsolute`: allocatable is capacity without reservations and
//! without what eviction keeps free.

use std::fs;
use std::path::Path;

use memlet_bytes::Bytes;
use memlet_policy::node_memory::{NodeMemory, ReservationTooLarge, Threshold};
use memlet_policy::quantity::{Format, Quantity};
use memlet_policy::resources::{self, CPU, MEMORY};

use crate::admission::MAX_PODS;
use crate::config::Reservations;

/// The resource name of space for logs, files and image layers.
pub(crate) const STORAGE: &str = "ephemeral-storage";
/// kubelet keeps this part of the file system free: `nodefs.available` of its default `evictionHard`.
const STORAGE_KEPT: Threshold = Threshold::Share(0.1);
/// Where the kernel tells its huge pages, a folder for each size.
const HUGE_PAGES: &str = "/sys/kernel/mm/hugepages";

/// More is reserved than there is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid Node Allocatable configuration. Resource \"{resource}\" has a reservation of {reservation} but capacity of {capacity}. Expected capacity >= reservation."
)]
pub struct Overreserved {
    /// Its name.
    pub resource: &'static str,
    /// What is set aside.
    pub reservation: String,
    /// What there is.
    pub capacity: String,
}

/// The node's figures.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeResources {
    pub(crate) memory: NodeMemory,
    pub(crate) cpus: u32,
    /// Thousandths of a processor that are not for Pods.
    pub(crate) reserved_cpu: i64,
    pub(crate) storage: Bytes,
    pub(crate) reserved_storage: Bytes,
    /// All pages of each size together, by the resource's name.
    pub(crate) huge_pages: Vec<(String, Bytes)>,
}

/// The node is too small for what is set aside of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReservationError {
    /// Of its memory.
    #[error(transparent)]
    Memory(#[from] ReservationTooLarge),
    /// Of something else.
    #[error(transparent)]
    Other(#[from] Overreserved),
}

impl NodeResources {
    /// The machine's figures with the memory that the node pretends to have. `state` is on the file system of which
    /// the storage is told.
    pub(crate) fn of_machine(memory: Bytes, reservations: &Reservations, state: &Path) -> Self {
        let both = |name: &str| {
            let of =
                |amounts: &crate::config::Amounts| amounts.get(name).cloned().unwrap_or_else(Quantity::zero);
            (of(&reservations.kube), of(&reservations.system))
        };
        let huge_pages = huge_pages(Path::new(HUGE_PAGES));
        let (kube, system) = both(MEMORY);
        let memory = NodeMemory {
            kube_reserved: kube.bytes(),
            system_reserved: system.bytes(),
            eviction_hard: reservations.eviction.hard,
            huge_pages: huge_pages.iter().map(|(_, bytes)| *bytes).sum(),
            ..NodeMemory::new(memory)
        };
        let (kube, system) = both(CPU);
        let reserved_cpu = kube.milli_value().saturating_add(system.milli_value());
        let (kube, system) = both(STORAGE);
        let storage = file_system_size(state);
        let cpus = std::thread::available_parallelism();
        let cpus = cpus.map_or(1, |cpus| u32::try_from(cpus.get()).unwrap_or(u32::MAX));
        let reserved_storage = kube.bytes() + system.bytes();
        Self { memory, cpus, reserved_cpu, storage, reserved_storage, huge_pages }
    }

    /// Whether there is what is reserved, as kubelet checks at its start.
    pub(crate) fn check(&self) -> Result<(), ReservationError> {
        self.memory.check()?;
        let milli = |milli: i64| Quantity::zero().plus(&milli_cpu(milli)).canonical();
        let capacity = i64::from(self.cpus) * 1000;
        if self.reserved_cpu > capacity {
            let (reservation, capacity) = (milli(self.reserved_cpu), milli(capacity));
            return Err(Overreserved { resource: CPU, reservation, capacity }.into());
        }
        let reservation = self.reserved_storage + STORAGE_KEPT.of(self.storage);
        if self.reserved_storage > Bytes::ZERO && reservation > self.storage {
            let text = |bytes: Bytes| Quantity::from_bytes(bytes).canonical();
            let (reservation, capacity) = (text(reservation), text(self.storage));
            return Err(Overreserved { resource: STORAGE, reservation, capacity }.into());
        }
        Ok(())
    }

    /// Thousandths of a processor.
    pub(crate) fn allocatable_cpu(&self) -> i64 {
        (i64::from(self.cpus) * 1000 - self.reserved_cpu).max(0)
    }

    pub(crate) fn allocatable_storage(&self) -> Bytes {
        self.storage.saturating_sub(self.reserved_storage).saturating_sub(STORAGE_KEPT.of(self.storage))
    }

    /// As the Node's status has it.
    pub(crate) fn capacity(&self) -> resources::ApiAmounts {
        let cpu = Quantity::from_integer(self.cpus.into(), Format::DecimalSi);
        self.amounts(&cpu, self.memory.capacity, &Quantity::from_bytes(self.storage))
    }

    /// The same without what is set aside.
    pub(crate) fn allocatable(&self) -> resources::ApiAmounts {
        // kubelet computes this one as a plain number, so that it has no binary suffix.
        let storage = i64::try_from(self.allocatable_storage().get()).unwrap_or(i64::MAX);
        let storage = Quantity::from_integer(storage, Format::DecimalSi);
        self.amounts(&milli_cpu(self.allocatable_cpu()), self.memory.allocatable(), &storage)
    }

    fn amounts(&self, cpu: &Quantity, memory: Bytes, storage: &Quantity) -> resources::ApiAmounts {
        let memory = Quantity::from_bytes(memory);
        let pods = Quantity::from_integer(i64::try_from(MAX_PODS).unwrap_or(i64::MAX), Format::DecimalSi);
        let own = [(CPU, cpu), (MEMORY, &memory), (STORAGE, storage), ("pods", &pods)];
        let own = own.into_iter().map(|(name, amount)| (name.to_owned(), amount.into()));
        let huge = self
            .huge_pages
            .iter()
            .map(|(name, bytes)| (name.clone(), (&Quantity::from_bytes(*bytes)).into()));
        own.chain(huge).collect()
    }
}

fn milli_cpu(milli: i64) -> Quantity {
    format!("{milli}m").parse().unwrap_or_else(|_| Quantity::zero())
}

/// The size of the file system on which this folder is; zero where the machine does not tell.
fn file_system_size(folder: &Path) -> Bytes {
    let stat = rustix::fs::statvfs(folder);
    stat.map_or(Bytes::ZERO, |stat| Bytes::new(stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// What the kernel has set aside, by size: `hugepages-2048kB/nr_hugepages`.
fn huge_pages(folder: &Path) -> Vec<(String, Bytes)> {
    let sizes = fs::read_dir(folder).into_iter().flatten().flatten();
    let of_size = |entry: fs::DirEntry| {
        let name = entry.file_name().into_string().ok()?;
        let size = Bytes::from_kib(name.strip_prefix("hugepages-")?.strip_suffix("kB")?.parse().ok()?);
        let count: u64 = fs::read_to_string(entry.path().join("nr_hugepages")).ok()?.trim().parse().ok()?;
        let resource = format!("hugepages-{}", Quantity::from_bytes(size).canonical());
        Some((resource, Bytes::new(size.get().saturating_mul(count))))
    };
    sizes.filter_map(of_size).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A recorded node, see golden/child/child-oom/node.json of the recording.
    fn recorded() -> NodeResources {
        let capacity = Bytes::from_kib(24_684_092);
        NodeResources {
            memory: NodeMemory { system_reserved: Bytes::from_kib(23_635_516), ..NodeMemory::new(capacity) },
            cpus: 2,
            reserved_cpu: 0,
            storage: Bytes::from_kib(264_212_084),
            reserved_storage: Bytes::ZERO,
            huge_pages: vec![
                ("hugepages-1Gi".to_owned(), Bytes::ZERO),
                ("hugepages-2Mi".to_owned(), Bytes::ZERO),
            ],
        }
    }

    fn lines(amounts: &resources::ApiAmounts) -> String {
        amounts.iter().map(|(name, amount)| format!("{name}: {}\n", amount.0)).collect()
    }

    #[test]
    fn a_real_node_shows_the_same() {
        let node = recorded();
        node.check().unwrap();
        insta::assert_snapshot!(lines(&node.capacity()), @r"
        cpu: 2
        ephemeral-storage: 264212084Ki
        hugepages-1Gi: 0
        hugepages-2Mi: 0
        memory: 24684092Ki
        pods: 110
        ");
        insta::assert_snapshot!(lines(&node.allocatable()), @r"
        cpu: 2
        ephemeral-storage: 243497856212
        hugepages-1Gi: 0
        hugepages-2Mi: 0
        memory: 924Mi
        pods: 110
        ");
        assert_eq!(node.memory.kubepods_limit(), Bytes::from_gib(1));
    }

    #[test]
    fn reservations_of_all_kinds() {
        let quantity = |text: &str| text.parse().unwrap();
        let kube = [("memory", "128Mi"), ("cpu", "100m"), (STORAGE, "1Ki")];
        let system = [("memory", "64Mi"), ("cpu", "400m")];
        let amounts = |of: &[(&str, &str)]| {
            of.iter().map(|(name, amount)| ((*name).to_owned(), quantity(amount))).collect()
        };
        let reservations =
            Reservations { kube: amounts(&kube), system: amounts(&system), ..Reservations::default() };
        let folder = tempfile::tempdir().unwrap();
        let node = NodeResources::of_machine(Bytes::from_gib(1), &reservations, folder.path());
        assert_eq!(node.memory.kubepods_limit(), Bytes::from_mib(832));
        assert_eq!(node.memory.allocatable(), Bytes::from_mib(732).saturating_sub(node.memory.huge_pages));
        assert_eq!(node.reserved_cpu, 500);
        let kept = STORAGE_KEPT.of(node.storage);
        assert_eq!(node.allocatable_storage() + kept + Bytes::from_kib(1), node.storage);
        let two = NodeResources { reserved_cpu: 500, ..recorded() };
        assert_eq!(two.allocatable()[CPU].0, "1500m");
    }

    #[test]
    fn too_much_reserved_is_refused() {
        let cpu = NodeResources { reserved_cpu: 2001, ..recorded() };
        insta::assert_snapshot!(cpu.check().unwrap_err(), @r#"invalid Node Allocatable configuration. Resource "cpu" has a reservation of 2001m but capacity of 2. Expected capacity >= reservation."#);
        let storage = NodeResources { reserved_storage: Bytes::from_gib(300), ..recorded() };
        assert!(storage.check().unwrap_err().to_string().contains("\"ephemeral-storage\""));
    }

    #[test]
    fn huge_pages_by_size() {
        let folder = tempfile::tempdir().unwrap();
        for (size, count) in [("2048", "3\n"), ("1048576", "0\n")] {
            let size = folder.path().join(format!("hugepages-{size}kB"));
            fs::create_dir(&size).unwrap();
            fs::write(size.join("nr_hugepages"), count).unwrap();
        }
        let mut found = huge_pages(folder.path());
        found.sort();
        assert_eq!(
            found,
            [("hugepages-1Gi".to_owned(), Bytes::ZERO), ("hugepages-2Mi".to_owned(), Bytes::from_mib(6))]
        );
        assert!(huge_pages(Path::new("/nowhere")).is_empty());
    }
}
