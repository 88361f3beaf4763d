//! Containers: prepared by the daemon, run by the sandbox's supervisor.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_cri::v1::{self as cri, ContainerEventType};
use memlet_cgroup::{CgroupPath, Hierarchy, Version};
use memlet_diagnosis::evidence::ContainerStatement;
use memlet_policy::oom_kill_mode::{self, OomKillMode, ParseModeError};
use tonic::Status;

use super::sandbox::{blocking, container_in, internal};
use super::table::{Container, ContainerState, Sandbox, SandboxState};
use super::{Runtime, nanoseconds_now, new_id};
use crate::causes::chain;
use crate::images::Image;
use crate::memory_controls::MemoryControls;
use crate::mount_points;
use crate::network_files;
use crate::shim::protocol::{Launch, Request, VERSION};
use crate::spec::{self, Surroundings};
use crate::state::records::ContainerRecord;
use crate::state::{self, ContainerFolder, SandboxFolder};
use crate::working_folder;
use crate::workload::Workload;

/// A container starts within this, or something is wrong with it: a cgroup frozen by hand, a dead disk.
const START_PATIENCE: Duration = Duration::from_mins(2);
/// A container that is killed ends within this, unless it waits for a device without end.
const LAST_PATIENCE: Duration = Duration::from_secs(10);
/// A log that is to be made anew is looked for so often,
const REOPEN_LOOKS: u32 = 500;
/// with so long between.
const REOPEN_LOOK: Duration = Duration::from_millis(10);
const STORE: &str = "the image store";

/// An image as a container needs it.
enum Root {
    BuiltIn(Workload),
    Stored(Box<Image>),
}

impl Runtime {
    pub(super) async fn create_container(
        &self,
        sandbox_id: &str,
        config: cri::ContainerConfig,
    ) -> Result<String, Status> {
        let sandbox = self.0.tables.look().sandboxes.get(sandbox_id).cloned();
        let sandbox = sandbox.ok_or_else(|| Status::not_found(format!("no sandbox {sandbox_id}")))?;
        let SandboxState::Ready { pause } = sandbox.state else {
            return Err(Status::failed_precondition(format!("sandbox {sandbox_id} does not run")));
        };
        let image = config.image.clone().unwrap_or_default();
        let root = self.find_root(&image.image).await?;
        let id = new_id().map_err(|error| internal("no id can be drawn", &error))?;
        let folder = sandbox.folder.container(&id);
        match self.prepare(&sandbox, pause, &folder, &id, config, image, root).await {
            Ok(container) => {
                self.0.tables.change(|rows| rows.containers.insert(id.clone(), container));
                self.announce(&id, ContainerEventType::ContainerCreatedEvent);
                Ok(id)
            }
            Err(error) => {
                if let Ok(images) = self.images().await {
                    let _ = images.unmount(folder.path());
                }
                let _ = fs::remove_dir_all(folder.path());
                Err(error)
            }
        }
    }

    async fn find_root(&self, name: &str) -> Result<Root, Status> {
        if let Some(workload) = Workload::from_image(name) {
            return Ok(Root::BuiltIn(workload));
        }
        let images = self.images().await.map_err(|error| internal(STORE, &error))?;
        match images.find(name).map_err(|error| internal(STORE, &error))? {
            Some(image) => Ok(Root::Stored(Box::new(image))),
            None => Err(Status::not_found(format!("image {name:?} is not in the store"))),
        }
    }

    #[allow(clippy::too_many_arguments, reason = "each is a different thing and used once")]
    async fn prepare(
        &self,
        sandbox: &Sandbox,
        pause: i32,
        folder: &ContainerFolder,
        id: &str,
        config: cri::ContainerConfig,
        image: cri::ImageSpec,
        root: Root,
    ) -> Result<Container, Status> {
        state::make_private_folder(folder.path())
            .map_err(|error| internal("the container's folder cannot be made", &error))?;
        let resources = config.linux.as_ref().and_then(|linux| linux.resources.clone()).unwrap_or_default();
        let cgroup = container_in(&sandbox.parent, id)
            .map_err(|error| internal("the container's cgroup has no name", &error))?;
        let log = (!config.log_path.is_empty())
            .then(|| Path::new(&sandbox.config.log_directory).join(&config.log_path));
        let mut around = Surroundings {
            cgroup: cgroup.to_string(),
            pause,
            cgroup_folders: cgroup_folders(&self.0.settings.hierarchy, &cgroup),
            shared_memory: sandbox.shared_memory(),
            network_files: network_files::of_sandbox(sandbox.folder.path()),
            devices_are_filtered: self.0.settings.hierarchy.version() == Version::V1,
            grantable_capabilities: self.0.grantable_capabilities,
            open_files: self.0.open_files,
            ..Default::default()
        };
        let (builtin, image_id, stop_signal, mounted) =
            self.surround(sandbox, folder, &config, &root, &mut around).await?;
        refuse_nul("the command", around.arguments.iter())?;
        refuse_nul("the environment", around.environment.iter())?;
        mount_points::check(&around.rootfs, &config.mounts).map_err(|error| invalid(&error))?;
        working_folder::make(&around.rootfs, &around.working_folder)
            .map_err(|error| internal("the working folder cannot be made", &error))?;
        let spec = spec::build(&config, &around).map_err(|error| invalid(&error))?;
        state::write_json(&folder.spec(), &spec)
            .map_err(|error| internal("the container's spec cannot be written", &error))?;
        let launch = Launch {
            cgroup,
            name: config.metadata.as_ref().map(|metadata| metadata.name.clone()).unwrap_or_default(),
            memory: MemoryControls::of(&resources).map_err(|error| invalid(&error))?,
            oom_kill_mode: oom_kill_mode(&config).map_err(|error| invalid(&error))?,
            log,
            oom_score_adj: i32::try_from(resources.oom_score_adj).unwrap_or(0),
            tty: config.tty,
            stdin: config.stdin,
            stdin_once: config.stdin_once,
            log_rotation: self.0.settings.log_rotation,
            builtin,
        };
        state::write_json(&folder.launch(), &launch)
            .map_err(|error| internal("how to start the container cannot be written", &error))?;
        let record = ContainerRecord {
            version: VERSION,
            config,
            image,
            image_id,
            created_at: nanoseconds_now(),
            stop_signal,
            is_mounted: mounted.is_some(),
        };
        state::write_json(&folder.record(), &record)
            .map_err(|error| internal("what the container is cannot be written", &error))?;
        Ok(Container::of_record(&sandbox.id, folder, record, launch))
    }

    /// Fills in what image and user give: the root filesystem, the program, its environment, who runs it.
    async fn surround(
        &self,
        sandbox: &Sandbox,
        folder: &ContainerFolder,
        config: &cri::ContainerConfig,
        root: &Root,
        around: &mut Surroundings,
    ) -> Result<(Option<String>, String, i32, Option<PathBuf>), Status> {
        let hostname = (!sandbox.config.hostname.is_empty()).then_some(sandbox.config.hostname.as_str());
        let security = spec::security_context(config);
        let asked_user = asked_user(&security);
        let asked_folder = (!config.working_dir.is_empty()).then(|| PathBuf::from(&config.working_dir));
        match root {
            Root::BuiltIn(workload) => {
                around.rootfs = folder.rootfs();
                state::make_private_folder(&around.rootfs)
                    .and_then(|()| {
                        fs::set_permissions(
                            &around.rootfs,
                            std::os::unix::fs::PermissionsExt::from_mode(0o755),
                        )
                    })
                    .map_err(|error| internal("the container's root cannot be made", &error))?;
                let entrypoint = [workload.name().to_owned()];
                around.arguments = spec::arguments(config, &entrypoint, &[]);
                if let Some(other) = around.arguments.first().filter(|name| **name != workload.name()) {
                    return Err(Status::invalid_argument(format!(
                        "the built-in image {} holds no program {other:?}, only {:?}: leave `command` out, and give \
                         `args`",
                        workload.image(),
                        workload.name()
                    )));
                }
                around.working_folder = asked_folder.unwrap_or_else(|| PathBuf::from("/"));
                let home;
                (around.user, home) =
                    resolve_user(&around.rootfs, asked_user.as_deref().unwrap_or("0"), &security)?;
                around.environment = spec::environment(config, &[], hostname, &home);
                Ok((Some(workload.name().to_owned()), workload.image(), libc::SIGTERM, None))
            }
            Root::Stored(image) => {
                let images = self.images().await.map_err(|error| internal(STORE, &error))?.clone();
                let (mounted, at) = (image.as_ref().clone(), folder.path().to_owned());
                let mounted = blocking(move || images.mount(&mounted, &at)).await?;
                around.rootfs = mounted.map_err(|error| internal(STORE, &error))?;
                let defaults = &image.config;
                around.arguments = spec::arguments(config, &defaults.entrypoint, &defaults.cmd);
                if around.arguments.is_empty() {
                    return Err(Status::invalid_argument("no command specified"));
                }
                around.working_folder = asked_folder
                    .or_else(|| defaults.working_dir.as_ref().map(PathBuf::from))
                    .unwrap_or_else(|| PathBuf::from("/"));
                let user = asked_user.or_else(|| defaults.user.clone()).unwrap_or_else(|| "0".to_owned());
                let home;
                (around.user, home) = resolve_user(&around.rootfs, &user, &security)?;
                around.environment = spec::environment(config, &defaults.env, hostname, &home);
                let stop_signal = defaults.stop_signal.as_deref().and_then(signal_number);
                let folder = Some(folder.path().to_owned());
                Ok((None, image.id.to_string(), stop_signal.unwrap_or(libc::SIGTERM), folder))
            }
        }
    }

    pub(super) async fn start_container(&self, id: &str) -> Result<(), Status> {
        let (supervisor, sandbox) = self.0.tables.change(|rows| {
            let container = rows.containers.get_mut(id).ok_or_else(|| not_found(id))?;
            if container.state != ContainerState::Created {
                return Err(Status::failed_precondition(format!("container {id} was started before")));
            }
            let sandbox = rows.sandboxes.get(&container.sandbox);
            let Some(supervised) = sandbox.filter(|sandbox| sandbox.supervised) else {
                let why =
                    sandbox.and_then(|sandbox| sandbox.state.failure()).unwrap_or("its supervisor has ended");
                return Err(Status::failed_precondition(format!("its sandbox is gone: {why}")));
            };
            container.state = ContainerState::Starting;
            Ok((supervised.supervisor.clone(), container.sandbox.clone()))
        })?;
        // One that has ended does not listen; then the container is lost, which is what is waited for.
        let _ = supervisor.ask(&Request::Start { container: id.to_owned() }).await;
        let state = self.0.tables.wait_for(|rows| match rows.containers.get(id) {
            Some(row) if row.state == ContainerState::Starting => None,
            row => Some(row.map(|row| row.state.clone())),
        });
        match tokio::time::timeout(START_PATIENCE, state).await {
            Ok(Some(ContainerState::StartFailed { reason, .. })) => Err(Status::unknown(reason)),
            Ok(Some(ContainerState::Lost { .. })) => {
                let rows = self.0.tables.look();
                let why = rows.sandboxes.get(&sandbox).and_then(|sandbox| sandbox.state.failure());
                Err(Status::unknown(why.unwrap_or("the sandbox's supervisor died")))
            }
            Ok(_) => Ok(()),
            Err(_) => Err(Status::deadline_exceeded(format!("container {id} does not start"))),
        }
    }

    /// Asks a container to end and waits until it has; kills it when `grace_seconds` are over.
    pub(super) async fn stop_container(&self, id: &str, grace_seconds: i64) -> Result<(), Status> {
        let (supervisor, signal) = {
            let rows = self.0.tables.look();
            let Some(container) = rows.containers.get(id).filter(|row| row.state.is_under_way()) else {
                return Ok(());
            };
            let Some(sandbox) = rows.sandboxes.get(&container.sandbox) else { return Ok(()) };
            (sandbox.supervisor.clone(), container.stop_signal)
        };
        let grace = Duration::from_secs(u64::try_from(grace_seconds).unwrap_or(0));
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        // As above: one that has ended has nothing to stop.
        let _ = supervisor.ask(&Request::Stop { container: id.to_owned(), signal, grace_ms }).await;
        let over = self
            .0
            .tables
            .wait_for(|rows| rows.containers.get(id).is_none_or(|row| row.state.is_over()).then_some(()));
        match tokio::time::timeout(grace.saturating_add(LAST_PATIENCE), over).await {
            Ok(()) => Ok(()),
            Err(_) => {
                Err(Status::deadline_exceeded(format!("container {id} does not end, not even by SIGKILL")))
            }
        }
    }

    /// Has a running container's log go on in a new file at its path, and waits for that file.
    pub(super) async fn reopen_log(&self, id: &str) -> Result<(), Status> {
        let (supervisor, log) = {
            let rows = self.0.tables.look();
            let container = rows.containers.get(id).ok_or_else(|| not_found(id))?;
            if !matches!(container.state, ContainerState::Running { .. }) {
                return Err(Status::failed_precondition(format!("container {id} does not run")));
            }
            let Some(log) = container.log.clone() else { return Ok(()) };
            let sandbox = rows.sandboxes.get(&container.sandbox).ok_or_else(|| not_found(id))?;
            (sandbox.supervisor.clone(), log)
        };
        let asked = supervisor.ask(&Request::ReopenLog { container: id.to_owned() }).await;
        asked.map_err(|error| internal("the container's supervisor does not answer", &error))?;
        for _ in 0..REOPEN_LOOKS {
            if log.exists() {
                return Ok(());
            }
            tokio::time::sleep(REOPEN_LOOK).await;
        }
        Err(Status::deadline_exceeded(format!("the log of container {id} is not made anew")))
    }

    /// Removes a container with its cgroup, mounts and folder; kills it first if it runs. Its log stays.
    pub(super) async fn remove_container(&self, id: &str) -> Result<(), Status> {
        self.stop_container(id, 0).await?;
        let Some(container) = self.0.tables.look().containers.get(id).cloned() else { return Ok(()) };
        self.remove_cgroup(container.launch.cgroup.clone()).await?;
        if let Some(mounted) = container.mounted.clone() {
            let images = self.images().await.map_err(|error| internal(STORE, &error))?.clone();
            blocking(move || images.unmount(&mounted)).await?.map_err(|error| internal(STORE, &error))?;
        }
        let folder = SandboxFolder::new(&self.0.settings.state, &container.sandbox).container(id);
        match blocking(move || fs::remove_dir_all(folder.path())).await? {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(internal("the container's folder cannot be removed", &error));
            }
            _ => {}
        }
        self.0.tables.change(|rows| rows.containers.remove(id));
        self.announce(id, ContainerEventType::ContainerDeletedEvent);
        Ok(())
    }
}

/// What a container may see of its cgroups. On v1 those controllers by which programs size themselves: all
/// are needed for a JVM to believe that it is in a container.
fn cgroup_folders(hierarchy: &Hierarchy, cgroup: &CgroupPath) -> Vec<(PathBuf, PathBuf)> {
    let root = Path::new("/sys/fs/cgroup");
    if hierarchy.version() == Version::V2 {
        return vec![(hierarchy.dir(cgroup), root.to_owned())];
    }
    let shown = |controllers: &str| {
        controllers.split(',').any(|name| ["memory", "cpu", "cpuacct", "cpuset", "pids"].contains(&name))
    };
    let named = hierarchy.mount_points().filter_map(|mount| Some((mount, mount.file_name()?.to_str()?)));
    let below = cgroup.as_str().trim_start_matches('/');
    named.filter(|(_, name)| shown(name)).map(|(mount, name)| (mount.join(below), root.join(name))).collect()
}

/// Refuses what no program can be given: the kernel's words end at a NUL.
fn refuse_nul<'a>(what: &str, mut words: impl Iterator<Item = &'a String>) -> Result<(), Status> {
    match words.find(|word| word.contains('\0')) {
        Some(word) => Err(Status::invalid_argument(format!("a NUL byte in {what}: {word:?}"))),
        None => Ok(()),
    }
}

/// What the runtime says of a container beyond CRI's own fields.
pub(super) fn statement(container: &Container) -> ContainerStatement {
    let started = container.state.started();
    ContainerStatement {
        pid: started.map(|(pid, ..)| pid),
        cgroup_path: container.launch.cgroup.to_string(),
        oom_score_adj: started.map(|(.., oom_score_adj)| oom_score_adj),
        end: match &container.state {
            ContainerState::Ended { end, .. } => Some(end.as_ref().clone()),
            _ => None,
        },
    }
}

pub(super) fn not_found(id: &str) -> Status {
    Status::not_found(format!("no container {id}"))
}

fn invalid(error: &dyn std::error::Error) -> Status {
    Status::invalid_argument(chain(error))
}

/// The user as the Pod asks for it, in the image's way of writing: `uid[:gid]`.
fn asked_user(security: &cri::LinuxContainerSecurityContext) -> Option<String> {
    let group = security.run_as_group.as_ref().map(|group| format!(":{}", group.value)).unwrap_or_default();
    match &security.run_as_user {
        Some(user) => Some(format!("{}{group}", user.value)),
        None if !security.run_as_username.is_empty() => Some(format!("{}{group}", security.run_as_username)),
        None => None,
    }
}

/// User, group and further groups.
type User = (u32, u32, Vec<u32>);

/// Who runs the container, and where that user is at home.
fn resolve_user(
    rootfs: &Path,
    user: &str,
    security: &cri::LinuxContainerSecurityContext,
) -> Result<(User, PathBuf), Status> {
    let resolved = crate::images::users::resolve(rootfs, user).map_err(|error| invalid(&error))?;
    let mut groups = resolved.groups;
    groups.extend(security.supplemental_groups.iter().filter_map(|group| u32::try_from(*group).ok()));
    groups.sort_unstable();
    groups.dedup();
    let home = resolved.home.unwrap_or_else(|| PathBuf::from("/"));
    Ok(((resolved.uid, resolved.gid, groups), home))
}

/// What the agent says of the container by the annotation for it; nothing is taken along where it says nothing.
fn oom_kill_mode(config: &cri::ContainerConfig) -> Result<OomKillMode, ParseModeError> {
    config.annotations.get(oom_kill_mode::ANNOTATION).map_or(Ok(OomKillMode::default()), |mode| mode.parse())
}

/// A signal as images write it: `SIGQUIT`, `QUIT` or `3`. `None` for what is none.
fn signal_number(text: &str) -> Option<i32> {
    if let Ok(number) = text.parse() {
        return (1..=libc::SIGRTMAX()).contains(&number).then_some(number);
    }
    let text = text.to_ascii_uppercase();
    let name = text.strip_prefix("SIG").unwrap_or(&text);
    if let Some(above) = name.strip_prefix("RTMIN+") {
        return above
            .parse()
            .ok()
            .map(|above: i32| libc::SIGRTMIN() + above)
            .filter(|it| *it <= libc::SIGRTMAX());
    }
    SIGNALS.into_iter().find(|(known, _)| *known == name).map(|(_, number)| number)
}

/// signal(7), without those that nobody ends a program with.
const SIGNALS: [(&str, i32); 19] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ABRT", libc::SIGABRT),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("PWR", libc::SIGPWR),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_read_by_name_and_number() {
        for (text, number) in [
            ("SIGQUIT", Some(libc::SIGQUIT)),
            ("quit", Some(libc::SIGQUIT)),
            ("3", Some(3)),
            ("RTMIN+3", Some(libc::SIGRTMIN() + 3)),
            ("0", None),
            ("999", None),
            ("SIGNIFICANT", None),
        ] {
            assert_eq!(signal_number(text), number, "{text}");
        }
    }
}
