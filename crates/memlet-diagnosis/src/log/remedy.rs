//! What to change. Numbers follow from the report or are not given.

mod machine; // where the machine, or the node, was short

use memlet_bytes::Bytes;
use memlet_oomlog::{Ending, Report, Usage};
use serde::Serialize;

use super::place::{Place, PlaceKind};
use super::reached::Reached;
use super::{Level, Scene};
use crate::amount::quantity;
use crate::remedy::{EMPTY_DIR, how_much, shared_first, suggested_limit};

/// What to change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// What, to how much, and why so much.
    pub text: String,
    /// Commands to copy, each on its own line. Those that change something are safe to read first: none is more than
    /// the text says.
    pub commands: Vec<String>,
}

impl Advice {
    fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), commands: Vec::new() }
    }

    fn with(mut self, command: Option<String>) -> Self {
        self.commands.extend(command);
        self
    }
}

pub(super) fn of(scene: Scene<'_>) -> Option<Advice> {
    if scene.is_by_hand() {
        return Some(Advice::new("nothing: the kill was asked for, and memory need not have been short"));
    }
    match scene.report.ending {
        Some(ending @ (Ending::Panic | Ending::Deadlock)) => {
            let mut advice = machine::advice(scene);
            advice.text.push_str(if ending == Ending::Deadlock {
                ". Nothing was left that the kernel may kill, so it panicked: let it kill something there \
                 (oom_score_adj above -1000)"
            } else {
                ". A panic instead of a kill is asked for by vm.panic_on_oom; at 0 the kernel kills one process and goes on"
            });
            return Some(advice);
        }
        Some(Ending::NoKillableProcess) => {
            return Some(Advice::new(
                "let the kernel kill something there: what holds the memory has oom_score_adj -1000, or is no process \
                 at all (tmpfs, kernel memory)",
            ));
        }
        _ => {}
    }
    match scene.level? {
        Level::Machine => Some(machine::advice(scene)),
        Level::NodeAllocatable => Some(machine::node(scene)),
        Level::QosClass => Some(Advice::new(
            "Kubernetes sets no memory limit on a QoS class unless kubelet reserves for the others (--qos-reserved): find \
             out who set this one, or lower what the Pods of the class use together",
        )),
        Level::Container | Level::Pod | Level::Other => raise(scene),
    }
}

/// Raise the limit that was hit, where it is set.
fn raise(scene: Scene<'_>) -> Option<Advice> {
    let place = scene.place?;
    let old = scene.report.memory.and_then(|memory| memory.limit.bytes());
    if scene.trace_has(&["memory_max_write", "mem_cgroup_resize"]) {
        return Some(Advice::new(
            "lower a limit only to what is in use, or stop the processes first: the kill came from setting the limit",
        ));
    }
    match scene.reached() {
        Reached::Memory => {}
        Reached::MemoryAndSwap(both) if follows_memory(scene, both) => {}
        Reached::MemoryAndSwap(both) => return Some(memory_and_swap(place, both)),
        Reached::KernelMemory(kmem) => return Some(kernel_memory(kmem)),
        Reached::Policy => {
            return Some(Advice::new(
                "no limit was hit: look at the BPF program that watches this cgroup, and at what it calls short",
            ));
        }
        Reached::NoLimit => return None,
    }
    let first = volume(scene);
    let raised = old.map(|old| {
        let needed = needed(scene, old);
        (old, needed, suggested_limit(needed))
    });
    let change = |what: &str| match raised {
        Some((old, needed, new)) => {
            let sum = if needed > old { "× 1.5 of what it held, rounded up" } else { how_much(new) };
            format!(
                "{what} {} → {} ({}). The true need is not known, only that it is above {}: it was still asking. If {} runs \
                 out too, look for a leak",
                quantity(old),
                quantity(new),
                sum,
                needed,
                quantity(new)
            )
        }
        None => {
            format!("{what}: raise it; by how much, the log does not tell, as the old limit is not in it")
        }
    };
    let new = raised.map(|(_, _, new)| new);
    let advice = match place.kind {
        _ if !place.is_whole => Advice::new(format!(
            "{}; whoever made that cgroup set its limit, not the manager of what it lies in",
            change("the limit of that inner cgroup")
        )),
        PlaceKind::KubernetesContainer => {
            Advice::new(change("limits.memory of that container")).with(find_pod(scene))
        }
        PlaceKind::KubernetesPod => pod(scene, old, &change).with(find_pod(scene)),
        PlaceKind::DockerContainer => Advice::new(change("docker's --memory (mem_limit in a Compose file)"))
            .with(new.and_then(|new| container_update("docker", scene.report, place, new))),
        PlaceKind::PodmanContainer => Advice::new(change("podman's --memory"))
            .with(new.and_then(|new| container_update("podman", scene.report, place, new))),
        PlaceKind::LxcContainer => {
            Advice::new(change("the container's memory (limits.memory of LXD and Incus, memory of Proxmox)"))
        }
        PlaceKind::SystemdUnit | PlaceKind::SystemdSlice | PlaceKind::User | PlaceKind::UserSession => {
            let property = memory_property(scene.report);
            Advice::new(change(&format!("{property}=")))
                .with(new.and_then(|new| set_property(place, property, new)))
        }
        PlaceKind::SlurmJob => Advice::new(change("the job's --mem or --mem-per-cpu")),
        PlaceKind::EcsTask => Advice::new(change("memory of the task definition")),
        PlaceKind::Machine => Advice::new(change("the limit of the machine's scope")),
        _ => Advice::new(change("the cgroup's limit (memory.max, or memory.limit_in_bytes of cgroup v1)")),
    };
    let first = if first.is_empty() { crew(scene) } else { first };
    Some(Advice { text: format!("{first}{}", advice.text), ..advice })
}

/// What was in use at least: with swap a process may hold more than its limit.
fn needed(scene: Scene<'_>, old: Bytes) -> Bytes {
    let by_size = crate::tasks::by_size(scene.report);
    let victim = scene.report.victims.first().map(|victim| victim.pid);
    let swaps = |task: &memlet_oomlog::Task| task.swap_entries.is_some_and(|pages| pages.0 > 0);
    let held =
        by_size.iter().find(|(task, _)| Some(task.pid) == victim && swaps(task)).map(|(_, held)| *held);
    held.filter(|held| *held > old).unwrap_or(old)
}

/// Processes of one name, where they fill the limit together.
fn crew(scene: Scene<'_>) -> String {
    crate::tasks::crew(scene.report).map_or_else(String::new, |crew| {
        format!(
            "{} processes called {} hold {} of it together, {} at most each: fewer of them may do. Otherwise ",
            crew.count, crew.name, crew.held, crew.most
        )
    })
}

/// Whether the limit of memory and swap together is set with that of memory: who gives a container no swap sets both
/// to the same.
fn follows_memory(scene: Scene<'_>, both: Usage) -> bool {
    scene.report.memory.is_some_and(|memory| memory.limit == both.limit)
}

fn memory_and_swap(place: &Place, both: Usage) -> Advice {
    let old = both.limit.bytes().unwrap_or_default();
    let new = suggested_limit(old);
    let text = format!(
        "the limit of memory and swap together (memory.memsw.limit_in_bytes, --memory-swap) {} → {} ({}). That of memory \
         alone was not hit. The true need is not known, only that it is above {old}",
        quantity(old),
        quantity(new),
        how_much(new)
    );
    let program = match place.kind {
        PlaceKind::DockerContainer if place.is_whole => Some("docker"),
        PlaceKind::PodmanContainer if place.is_whole => Some("podman"),
        _ => None,
    };
    let command = program
        .zip(own_id(place))
        .map(|(program, id)| format!("{program} update --memory-swap {} {id}", new.get()));
    Advice::new(text).with(command)
}

fn kernel_memory(kmem: Usage) -> Advice {
    let limit = kmem.limit.bytes().map(|limit| format!(" of {limit}")).unwrap_or_default();
    Advice::new(format!(
        "take off the limit of kernel memory{limit} (memory.kmem.limit_in_bytes; docker's --kernel-memory): it counts apart \
         from memory, whose limit was not hit, and cgroup v2 has no such limit any more. Page tables, stacks, sockets and \
         cached names of files are kernel memory: look for many processes, connections or files first"
    ))
}

/// The Pod's limit is the sum of its containers', or its own.
fn pod(scene: Scene<'_>, old: Option<Bytes>, change: &dyn Fn(&str) -> String) -> Advice {
    let of = old.map(|old| format!(" of {old}")).unwrap_or_default();
    let largest = crate::tasks::larger_survivor(scene.report);
    match largest {
        Some((task, held)) => Advice::new(format!(
            "the Pod's limit{of} is the sum of its containers', or its own (spec.resources): look at pid {} ({}) first, \
             which held {held} of it and lives on, and lower what its container may use, or raise the limit of the one \
             that was killed",
            task.pid, task.comm
        )),
        None => Advice::new(format!(
            "{}. The Pod's limit is the sum of its containers' limits, or its own (spec.resources): raise that of the \
             container that was killed",
            change("the Pod's limit")
        )),
    }
}

/// Memory-backed files, where they filled the limit.
fn volume(scene: Scene<'_>) -> String {
    let such_as = match scene.place.map(|place| place.kind) {
        Some(PlaceKind::KubernetesContainer | PlaceKind::KubernetesPod) => EMPTY_DIR,
        _ => {
            "/dev/shm or /tmp on tmpfs, which count against this limit: remove files there, or mount it smaller"
        }
    };
    shared_first(scene.report, such_as).unwrap_or_default()
}

/// How to find the Pod by the uid that the log has. A static Pod's is kubelet's own, and stands in an annotation.
fn find_pod(scene: Scene<'_>) -> Option<String> {
    let uid = super::Kubernetes::of(scene.report)?.pod_uid.filter(|uid| is_plain(uid))?;
    let is_static = uid.len() == 32 && !uid.contains('-');
    let column = if is_static {
        "HASH:.metadata.annotations.kubernetes\\.io/config\\.hash"
    } else {
        "UID:.metadata.uid"
    };
    Some(format!(
        "kubectl get pods -A -o 'custom-columns=NAMESPACE:.metadata.namespace,NAME:.metadata.name,{column}' | grep {uid}"
    ))
}

/// `docker update`, which wants both limits where both are set.
fn container_update(program: &str, report: &Report, place: &Place, new: Bytes) -> Option<String> {
    let id = own_id(place)?;
    let old = report.memory?.limit.bytes()?;
    // Both programs refuse a memory limit above that of memory and swap together; the allowance of swap is kept.
    let swap = match (report.memory_swap, report.swap) {
        (Some(both), _) => match both.limit.bytes() {
            Some(both) => format!(" --memory-swap {}", (both.saturating_sub(old) + new).get()),
            None => " --memory-swap -1".to_owned(),
        },
        (None, Some(swap)) => match swap.limit.bytes() {
            Some(swap) => format!(" --memory-swap {}", (swap + new).get()),
            None => " --memory-swap -1".to_owned(),
        },
        (None, None) => return None,
    };
    Some(format!("{program} update --memory {}{swap} {id}", new.get()))
}

/// The id of a container that the machine's own Docker or Podman knows: none inside another container, and none of a
/// user's.
fn own_id(place: &Place) -> Option<&str> {
    let id = place.id.as_deref().filter(|id| is_plain(id))?;
    let is_others = |component: &str| {
        component == "user.slice"
            || ["lxc", "kubepods"].iter().any(|name| component.starts_with(name))
            || (place.kind == PlaceKind::DockerContainer && component.len() == id.len())
    };
    let is_here = !place.path.split('/').take_while(|component| !component.contains(id)).any(is_others);
    is_here.then_some(id)
}

/// The limit's name: `MemoryMax=` since systemd 231, which no distribution with Linux 3 has.
fn memory_property(report: &Report) -> &'static str {
    match &report.kernel {
        Some(kernel) if kernel.starts_with("3.") => "MemoryLimit",
        _ => "MemoryMax",
    }
}

/// `systemctl set-property`; a user's own units have a manager of their own.
fn set_property(place: &Place, property: &str, new: Bytes) -> Option<String> {
    if !matches!(place.kind, PlaceKind::SystemdUnit | PlaceKind::SystemdSlice) {
        return None;
    }
    // A scope ends with its processes, and belongs to whoever started them.
    let is_lasting = |unit: &&str| unit.strip_suffix(".service").or(unit.strip_suffix(".slice")).is_some();
    let unit = place.id.as_deref().filter(|unit| is_plain(unit)).filter(is_lasting)?;
    // In a container the unit is not this machine's.
    let is_here =
        place.name == format!("systemd unit {unit}") || place.name == format!("systemd slice {unit}");
    is_here.then(|| format!("systemctl set-property {unit} {property}={}", new.get()))
}

/// Names in a log are chosen by others: nothing that a shell would read in another way goes into a command.
fn is_plain(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with('-')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"@:._-".contains(&byte))
}

#[cfg(test)]
mod tests {
    use memlet_oomlog::{Limit, Scope, Usage};

    use super::*;
    use crate::log::explain;

    fn at(path: &str) -> Report {
        let limit = |mib| Usage {
            usage: Bytes::from_mib(mib),
            limit: Limit::Bytes(Bytes::from_mib(mib)),
            failcnt: Some(3),
        };
        Report {
            scope: Some(Scope::Memcg),
            oom_memcg: Some(path.to_owned()),
            task_memcg: Some(path.to_owned()),
            memory: Some(limit(128)),
            memory_swap: Some(limit(256)),
            ending: Some(Ending::Killed),
            ..Report::default()
        }
    }

    fn advice(report: &Report) -> Advice {
        explain(report).remedy.unwrap()
    }

    #[test]
    fn the_object_to_change_is_named() {
        const ID: &str = "2e088fe462e25e60be1dafafe2c05c47bda1a97978648d10ad2b7484fc0b8f50";
        for (path, text, command) in [
            (
                "/system.slice/db.service",
                "MemoryMax= 128Mi → 192Mi",
                "systemctl set-property db.service MemoryMax=201326592",
            ),
            (
                &format!("/docker/{ID}"),
                "--memory",
                &format!("docker update --memory 201326592 --memory-swap 335544320 {ID}"),
            ),
            ("/kubepods/podaa-bb/c1", "limits.memory of that container 128Mi → 192Mi", "kubectl get pods"),
            ("/kubepods/podaa-bb", "the Pod's limit 128Mi → 192Mi", "kubectl get pods"),
            ("/slurm/uid_1/job_7", "--mem", ""),
            ("/lxc/7", "Proxmox", ""),
            ("/foo", "memory.max", ""),
            ("/system.slice/db.service/inner", "inner cgroup", ""),
        ] {
            let advice = advice(&at(path));
            assert!(advice.text.contains(text), "{path}: {}", advice.text);
            assert!(advice.commands.concat().starts_with(command), "{path}: {:?}", advice.commands);
            assert_eq!(advice.commands.is_empty(), command.is_empty(), "{path}");
        }
    }

    /// What the machine's own Docker does not know gets no command of its.
    #[test]
    fn containers_inside_others_give_no_command() {
        const ID: &str = "2e088fe462e25e60be1dafafe2c05c47bda1a97978648d10ad2b7484fc0b8f50";
        for outer in [
            "lxc/101",
            "lxc.payload.x",
            "docker/aa088fe462e25e60be1dafafe2c05c47bda1a97978648d10ad2b7484fc0b8f50",
        ] {
            let advice = advice(&at(&format!("/{outer}/docker/{ID}")));
            assert_eq!(advice.commands, Vec::<String>::new(), "{outer}");
        }
        let rootless =
            format!("/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{ID}.scope/container");
        assert_eq!(advice(&at(&rootless)).commands, Vec::<String>::new());
    }

    #[test]
    fn hostile_names_give_no_command() {
        for path in
            ["/system.slice/a;reboot.service", "/system.slice/$(x).service", "/system.slice/-a.service"]
        {
            assert_eq!(advice(&at(path)).commands, Vec::<String>::new(), "{path}");
        }
    }

    #[test]
    fn what_no_limit_mends() {
        let by_hand = Report { order: Some(-1), scope: Some(Scope::System), ..Report::default() };
        assert!(advice(&by_hand).text.starts_with("nothing"));
        let protected = Report { ending: Some(Ending::NoKillableProcess), ..at("/foo") };
        assert!(advice(&protected).text.contains("-1000"));
        let mut tmpfs = at("/kubepods/podaa-bb/c1");
        tmpfs.stats =
            [("anon", 1), ("file", 100 << 20), ("shmem", 100 << 20)].map(|(k, v)| (k.to_owned(), v)).into();
        assert!(advice(&tmpfs).text.starts_with("most of it, 100Mi, is shared memory"));
        assert_eq!(explain(&Report::default()).remedy, None);
    }
}
