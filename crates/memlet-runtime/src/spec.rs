//! From CRI's container configuration to an OCI runtime spec. Pure: no file is read.
//!
//! Defaults (capabilities, masked and read-only paths, devices, mounts) are containerd's, so that a program
//! finds here what it finds on a node.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use k8s_cri::v1 as cri;
use libcontainer::oci_spec::OciSpecError;
use libcontainer::oci_spec::runtime::{
    Capability, LinuxBuilder, LinuxCapabilitiesBuilder, LinuxCpuBuilder, LinuxDeviceCgroupBuilder,
    LinuxNamespace, LinuxNamespaceBuilder, LinuxNamespaceType, LinuxResources, LinuxResourcesBuilder, Mount,
    MountBuilder, PosixRlimitBuilder, PosixRlimitType, ProcessBuilder, RootBuilder, Spec, SpecBuilder,
    UserBuilder,
};

/// What the image and the sandbox add to CRI's configuration.
#[derive(Clone, Debug, Default)]
pub struct Surroundings {
    /// The container's root filesystem.
    pub rootfs: PathBuf,
    /// Its cgroup, the same path in every hierarchy.
    pub cgroup: String,
    /// The pause process, whose namespaces are joined.
    pub pause: i32,
    /// The program and its arguments, after the image's defaults.
    pub arguments: Vec<String>,
    /// The environment, after the image's defaults.
    pub environment: Vec<String>,
    /// The folder to start in.
    pub working_folder: PathBuf,
    /// How many files its processes may have open.
    pub open_files: u64,
    /// The container's cgroups on the host, and where it sees them.
    pub cgroup_folders: Vec<(PathBuf, PathBuf)>,
    /// The folder that is `/dev/shm` in all containers of the Pod; the host's own with the host's IPC.
    pub shared_memory: PathBuf,
    /// Files of the sandbox, and where containers see them unless they mount something there.
    pub network_files: Vec<(PathBuf, &'static str)>,
    /// Whether the devices cgroup keeps containers from devices (v1). Without, on v2, a container is not
    /// given the capability to make device nodes unless it asks for it.
    pub devices_are_filtered: bool,
    /// What this process may hand on: `CapBnd` of `/proc/self/status`.
    pub grantable_capabilities: u64,
    /// User, group and further groups.
    pub user: (u32, u32, Vec<u32>),
}

/// The program and its arguments: Kubernetes' `command` replaces the image's entry point and drops its
/// arguments, `args` replaces the arguments alone.
pub fn arguments(config: &cri::ContainerConfig, entrypoint: &[String], cmd: &[String]) -> Vec<String> {
    if !config.command.is_empty() {
        return [config.command.as_slice(), &config.args].concat();
    }
    let arguments = if config.args.is_empty() { cmd } else { &config.args };
    [entrypoint, arguments].concat()
}

/// The environment: a PATH and a HOME, then the image's, then the Pod's; later ones win.
///
/// HOME is always there: libcontainer would look for one by itself, through the C library's name services,
/// which it would load from within the container's own root.
pub fn environment(
    config: &cri::ContainerConfig,
    image: &[String],
    hostname: Option<&str>,
    home: &Path,
) -> Vec<String> {
    const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let mut environment = vec![PATH.to_owned(), format!("HOME={}", home.display())];
    environment.extend(hostname.map(|name| format!("HOSTNAME={name}")));
    if config.tty {
        environment.push("TERM=xterm".to_owned());
    }
    environment.extend(image.iter().cloned());
    environment.extend(config.envs.iter().map(|entry| format!("{}={}", entry.key, entry.value)));
    let mut named = HashSet::new();
    let mut kept: Vec<_> = environment
        .into_iter()
        .rev()
        .filter(|entry| named.insert(entry.split('=').next().unwrap_or(entry).to_owned()))
        .collect();
    kept.reverse();
    kept
}

/// The whole spec.
///
/// # Errors
/// A capability that does not exist, or a cgroup or mount that OCI's types refuse.
pub fn build(config: &cri::ContainerConfig, around: &Surroundings) -> Result<Spec, SpecError> {
    let security = security_context(config);
    let privileged = security.privileged;
    let (uid, gid, groups) = around.user.clone();
    let mut capabilities = capabilities(&security, around.grantable_capabilities)?;
    if !around.devices_are_filtered && !asks_for_device_nodes(&security) {
        capabilities.remove(&Capability::Mknod);
    }
    // A user other than root keeps no permitted capability across exec, as with every runtime.
    let effective = if uid == 0 { capabilities.clone() } else { HashSet::new() };
    let process = ProcessBuilder::default()
        .terminal(config.tty)
        .args(around.arguments.clone())
        .env(around.environment.clone())
        .cwd(around.working_folder.clone())
        .user(UserBuilder::default().uid(uid).gid(gid).additional_gids(groups).build()?)
        .capabilities(
            LinuxCapabilitiesBuilder::default()
                .bounding(capabilities)
                .effective(effective.clone())
                .permitted(effective)
                .inheritable(HashSet::new())
                .ambient(HashSet::new())
                .build()?,
        )
        .no_new_privileges(security.no_new_privs)
        .rlimits(vec![
            PosixRlimitBuilder::default()
                .typ(PosixRlimitType::RlimitNofile)
                .soft(around.open_files)
                .hard(around.open_files)
                .build()?,
        ])
        .build()?;
    let mut linux = LinuxBuilder::default()
        .namespaces(namespaces(&security, around.pause)?)
        .cgroups_path(&around.cgroup)
        .resources(resources(config, privileged)?);
    linux = if privileged {
        linux.masked_paths(Vec::<String>::new()).readonly_paths(Vec::<String>::new())
    } else {
        linux
            .masked_paths(or_default(&security.masked_paths, &MASKED))
            .readonly_paths(or_default(&security.readonly_paths, &READ_ONLY))
    };
    let mut spec = SpecBuilder::default()
        .version("1.0.2")
        .process(process)
        .root(RootBuilder::default().path(&around.rootfs).readonly(security.readonly_rootfs).build()?)
        .mounts(mounts(config, &security, around)?)
        .linux(linux.build()?)
        .build()?;
    // The builder has a default; the name is the sandbox's, which set it when it made the namespace.
    spec.set_hostname(None);
    Ok(spec)
}

/// Why no spec can be made.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    /// A capability name that no kernel knows.
    #[error("there is no capability {0:?}; names are as in capabilities(7), without CAP_ or with it")]
    UnknownCapability(String),
    /// OCI's types refuse a value.
    #[error("the container's settings make no OCI spec")]
    Oci(#[from] OciSpecError),
}

/// containerd's default set, in which Kubernetes containers run.
const CAPABILITIES: [Capability; 14] = [
    Capability::Chown,
    Capability::DacOverride,
    Capability::Fsetid,
    Capability::Fowner,
    Capability::Mknod,
    Capability::NetRaw,
    Capability::Setgid,
    Capability::Setuid,
    Capability::Setfcap,
    Capability::Setpcap,
    Capability::NetBindService,
    Capability::SysChroot,
    Capability::Kill,
    Capability::AuditWrite,
];

const MASKED: [&str; 12] = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];

const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

fn or_default(asked: &[String], default: &[&str]) -> Vec<String> {
    if asked.is_empty() { default.iter().map(ToString::to_string).collect() } else { asked.to_vec() }
}

/// The container's security context, empty where none was given.
pub fn security_context(config: &cri::ContainerConfig) -> cri::LinuxContainerSecurityContext {
    config.linux.as_ref().and_then(|linux| linux.security_context.clone()).unwrap_or_default()
}

fn capabilities(
    security: &cri::LinuxContainerSecurityContext,
    grantable: u64,
) -> Result<HashSet<Capability>, SpecError> {
    let grantable = in_mask(grantable);
    if security.privileged {
        return Ok(grantable);
    }
    let mut set: HashSet<_> = CAPABILITIES.into_iter().collect();
    let Some(asked) = &security.capabilities else { return Ok(&set & &grantable) };
    let is_all = |name: &String| name.eq_ignore_ascii_case("all");
    if asked.add_capabilities.iter().any(is_all) {
        set.clone_from(&grantable);
    }
    if asked.drop_capabilities.iter().any(is_all) {
        set.clear();
    }
    for name in asked.add_capabilities.iter().filter(|name| !is_all(name)) {
        set.insert(capability(name)?);
    }
    for name in asked.drop_capabilities.iter().filter(|name| !is_all(name)) {
        set.remove(&capability(name)?);
    }
    // What root itself lacks it cannot hand on; asking the kernel for it would fail the start.
    Ok(&set & &grantable)
}

fn asks_for_device_nodes(security: &cri::LinuxContainerSecurityContext) -> bool {
    let added = security.capabilities.iter().flat_map(|asked| &asked.add_capabilities);
    let names = ["ALL", "MKNOD", "CAP_MKNOD"];
    security.privileged || added.into_iter().any(|name| names.contains(&name.to_ascii_uppercase().as_str()))
}

fn capability(name: &str) -> Result<Capability, SpecError> {
    let whole = name.to_ascii_uppercase();
    let bare = whole.strip_prefix("CAP_").unwrap_or(&whole);
    NUMBERED
        .into_iter()
        .find(|capability| capability.to_string().trim_start_matches("CAP_") == bare)
        .ok_or_else(|| SpecError::UnknownCapability(name.to_owned()))
}

/// Capabilities in the order of their numbers (`include/uapi/linux/capability.h`).
const NUMBERED: [Capability; 41] = {
    use Capability as C;
    [
        C::Chown,
        C::DacOverride,
        C::DacReadSearch,
        C::Fowner,
        C::Fsetid,
        C::Kill,
        C::Setgid,
        C::Setuid,
        C::Setpcap,
        C::LinuxImmutable,
        C::NetBindService,
        C::NetBroadcast,
        C::NetAdmin,
        C::NetRaw,
        C::IpcLock,
        C::IpcOwner,
        C::SysModule,
        C::SysRawio,
        C::SysChroot,
        C::SysPtrace,
        C::SysPacct,
        C::SysAdmin,
        C::SysBoot,
        C::SysNice,
        C::SysResource,
        C::SysTime,
        C::SysTtyConfig,
        C::Mknod,
        C::Lease,
        C::AuditWrite,
        C::AuditControl,
        C::Setfcap,
        C::MacOverride,
        C::MacAdmin,
        C::Syslog,
        C::WakeAlarm,
        C::BlockSuspend,
        C::AuditRead,
        C::Perfmon,
        C::Bpf,
        C::CheckpointRestore,
    ]
};

/// Those of a mask as `/proc/<pid>/status` shows it (`CapBnd`).
fn in_mask(mask: u64) -> HashSet<Capability> {
    NUMBERED.into_iter().enumerate().filter(|(number, _)| mask >> number & 1 == 1).map(|(_, it)| it).collect()
}

fn resources(config: &cri::ContainerConfig, privileged: bool) -> Result<LinuxResources, SpecError> {
    // Memory is limited by the supervisor before any process enters, not here.
    let mut resources = LinuxResourcesBuilder::default();
    if !privileged {
        // No device but those that libcgroups then allows: null, zero, full, random, tty and the like. Works
        // on cgroup v1; see `Surroundings::devices_are_filtered`.
        let none = LinuxDeviceCgroupBuilder::default().allow(false).access("rwm").build()?;
        resources = resources.devices(vec![none]);
    }
    let asked = config.linux.as_ref().and_then(|linux| linux.resources.as_ref());
    if let Some(asked) = asked.filter(|asked| asked.cpu_shares > 0 || asked.cpu_quota > 0) {
        let mut cpu = LinuxCpuBuilder::default();
        if let Ok(shares @ 1..) = u64::try_from(asked.cpu_shares) {
            cpu = cpu.shares(shares);
        }
        if let (quota @ 1.., Ok(period @ 1..)) = (asked.cpu_quota, u64::try_from(asked.cpu_period)) {
            cpu = cpu.quota(quota).period(period);
        }
        resources = resources.cpu(cpu.build()?);
    }
    Ok(resources.build()?)
}

fn namespaces(
    security: &cri::LinuxContainerSecurityContext,
    pause: i32,
) -> Result<Vec<LinuxNamespace>, SpecError> {
    let options = security.namespace_options.clone().unwrap_or_default();
    let on_node = |mode: i32| mode == cri::NamespaceMode::Node as i32;
    let shared = |kind, name: &str| {
        LinuxNamespaceBuilder::default().typ(kind).path(format!("/proc/{pause}/ns/{name}")).build()
    };
    let own = |kind| LinuxNamespaceBuilder::default().typ(kind).build();
    let mut namespaces = vec![own(LinuxNamespaceType::Mount)?];
    if !on_node(options.network) {
        namespaces.push(shared(LinuxNamespaceType::Network, "net")?);
        namespaces.push(shared(LinuxNamespaceType::Uts, "uts")?);
    }
    if !on_node(options.ipc) {
        namespaces.push(shared(LinuxNamespaceType::Ipc, "ipc")?);
    }
    if options.pid == cri::NamespaceMode::Pod as i32 {
        namespaces.push(shared(LinuxNamespaceType::Pid, "pid")?);
    } else if !on_node(options.pid) {
        namespaces.push(own(LinuxNamespaceType::Pid)?);
    }
    Ok(namespaces)
}

fn mounts(
    config: &cri::ContainerConfig,
    security: &cri::LinuxContainerSecurityContext,
    around: &Surroundings,
) -> Result<Vec<Mount>, SpecError> {
    let sysfs_access = if security.privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        filesystem("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"])?,
        filesystem("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"])?,
        filesystem(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        )?,
        filesystem("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"])?,
        bind(&around.shared_memory, Path::new("/dev/shm"), &["rbind", "nosuid", "noexec", "nodev", "rw"])?,
    ];
    // A fresh one also with the host's network: a bind of the host's /sys would bring its cgroup mounts along,
    // writable, and with them the way out of every limit.
    mounts.push(filesystem("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", sysfs_access])?);
    mounts.extend(cgroup_mounts(&around.cgroup_folders)?);
    let own = mounts.len();
    for mount in &config.mounts {
        let access = if mount.readonly { "ro" } else { "rw" };
        let propagation = match cri::MountPropagation::try_from(mount.propagation) {
            Ok(cri::MountPropagation::PropagationHostToContainer) => "rslave",
            Ok(cri::MountPropagation::PropagationBidirectional) => "rshared",
            _ => "rprivate",
        };
        let to = Path::new(&mount.container_path);
        mounts.push(bind(Path::new(&mount.host_path), to, &["rbind", propagation, access])?);
    }
    // What the Pod mounts itself comes before what the sandbox has.
    let access = if security.readonly_rootfs { "ro" } else { "rw" };
    for (file, at) in &around.network_files {
        if config.mounts.iter().all(|mount| mount.container_path != *at) {
            mounts.push(bind(file, Path::new(at), &["rbind", "rprivate", access])?);
        }
    }
    // A mount below another must come after it.
    mounts[own..].sort_by_key(|mount| mount.destination().components().count());
    Ok(mounts)
}

/// The container's own cgroups, to look at and not to write: a runtime of a language sizes its heap by them.
fn cgroup_mounts(folders: &[(PathBuf, PathBuf)]) -> Result<Vec<Mount>, SpecError> {
    const ROOT: &str = "/sys/fs/cgroup";
    let mut mounts = Vec::new();
    if folders.iter().any(|(_, at)| at != Path::new(ROOT)) {
        // On v1 the controllers are folders below.
        mounts.push(filesystem(
            ROOT,
            "tmpfs",
            "tmpfs",
            &["nosuid", "noexec", "nodev", "mode=755", "size=4k"],
        )?);
    }
    for (folder, at) in folders {
        mounts.push(bind(folder, at, &["rbind", "nosuid", "noexec", "nodev", "ro"])?);
    }
    Ok(mounts)
}

fn filesystem(at: &str, kind: &str, source: &str, options: &[&str]) -> Result<Mount, SpecError> {
    Ok(MountBuilder::default()
        .destination(at)
        .typ(kind)
        .source(source)
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build()?)
}

fn bind(from: &Path, to: &Path, options: &[&str]) -> Result<Mount, SpecError> {
    Ok(MountBuilder::default()
        .destination(to)
        .typ("bind")
        .source(from)
        .options(options.iter().map(ToString::to_string).collect::<Vec<_>>())
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn command_and_args_override_the_image_as_kubernetes_says() {
        for (command, args, expected) in
            [("", "", "entry cmd"), ("", "a b", "entry a b"), ("c", "", "c"), ("c", "a", "c a")]
        {
            let config =
                cri::ContainerConfig { command: words(command), args: words(args), ..Default::default() };
            assert_eq!(arguments(&config, &words("entry"), &words("cmd")), words(expected));
        }
    }

    #[test]
    fn later_variables_win_and_path_is_always_there() {
        let config = cri::ContainerConfig {
            envs: vec![cri::KeyValue { key: "A".into(), value: "pod".into() }],
            ..Default::default()
        };
        let environment =
            environment(&config, &words("A=image B=image PATH=/x"), Some("host"), Path::new("/r"));
        assert_eq!(environment, words("HOME=/r HOSTNAME=host B=image PATH=/x A=pod"));
    }

    fn with_capabilities(add: &str, drop: &str) -> Result<HashSet<Capability>, SpecError> {
        capabilities(
            &cri::LinuxContainerSecurityContext {
                capabilities: Some(cri::Capability {
                    add_capabilities: words(add),
                    drop_capabilities: words(drop),
                    ..Default::default()
                }),
                ..Default::default()
            },
            u64::MAX,
        )
    }

    #[test]
    fn what_root_lacks_is_not_asked_for() {
        let privileged = cri::LinuxContainerSecurityContext { privileged: true, ..Default::default() };
        let without_sys_resource = capabilities(&privileged, 0x1ff_feff_ffff).unwrap();
        assert!(!without_sys_resource.contains(&Capability::SysResource));
        assert_eq!(without_sys_resource.len(), 40);
    }

    #[test]
    fn capabilities_are_added_and_dropped_by_name() {
        assert_eq!(with_capabilities("", "").unwrap().len(), CAPABILITIES.len());
        assert!(with_capabilities("SYS_ADMIN", "").unwrap().contains(&Capability::SysAdmin));
        assert!(with_capabilities("cap_sys_admin", "").unwrap().contains(&Capability::SysAdmin));
        assert_eq!(with_capabilities("NET_ADMIN", "ALL").unwrap(), HashSet::from([Capability::NetAdmin]));
        assert!(!with_capabilities("ALL", "KILL").unwrap().contains(&Capability::Kill));
        assert!(
            matches!(with_capabilities("FLY", ""), Err(SpecError::UnknownCapability(name)) if name == "FLY")
        );
    }

    #[test]
    fn mounts_of_the_pod_come_parents_first() {
        let mount = |path: &str| cri::Mount {
            container_path: path.into(),
            host_path: "/h".into(),
            ..Default::default()
        };
        let config =
            cri::ContainerConfig { mounts: vec![mount("/a/b/c"), mount("/a")], ..Default::default() };
        let security = cri::LinuxContainerSecurityContext::default();
        let mounts = mounts(&config, &security, &Surroundings::default()).unwrap();
        let at: Vec<_> = mounts[mounts.len() - 2..]
            .iter()
            .map(|mount| mount.destination().display().to_string())
            .collect();
        assert_eq!(at, ["/a", "/a/b/c"]);
    }

    #[test]
    fn pids_are_shared_only_where_asked() {
        let kinds = |pid: cri::NamespaceMode| {
            let options = cri::NamespaceOption { pid: pid as i32, ..Default::default() };
            let security =
                cri::LinuxContainerSecurityContext { namespace_options: Some(options), ..Default::default() };
            namespaces(&security, 7)
                .unwrap()
                .iter()
                .find(|namespace| namespace.typ() == LinuxNamespaceType::Pid)
                .map(|namespace| namespace.path().as_ref().map(|path| path.display().to_string()))
        };
        assert_eq!(kinds(cri::NamespaceMode::Container), Some(None));
        assert_eq!(kinds(cri::NamespaceMode::Pod), Some(Some("/proc/7/ns/pid".to_owned())));
        assert_eq!(kinds(cri::NamespaceMode::Node), None);
    }
}
