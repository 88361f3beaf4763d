//! One container, from its image to running.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use k8s_cri::v1::{self, ContainerState, Mount};

use super::{InstanceFacts, Place, Sandbox, Worker, exit, kills};
use crate::container::{self, Blueprint};
use crate::cri::CriError;
use crate::environment::{self, Sources};
use crate::events::{Severity, pod_reference};
use crate::images::{self, NoImage};
use crate::life::Ended;
use crate::network_files;
use crate::objects::{Names, Objects};
use crate::steady;

/// How long a start that failed rests before the next try: about kubelet's period between looks at a Pod.
const RETRY: Duration = Duration::from_secs(10);

/// Why a container did not start: its waiting state.
struct Failure {
    reason: &'static str,
    message: String,
    retry_at: Timestamp,
}

impl Failure {
    fn new(reason: &'static str, message: impl Into<String>) -> Self {
        Self { reason, message: message.into(), retry_at: steady::now() + RETRY }
    }
}

impl Worker {
    /// Whether an instance came to be, which then runs or has ended already; else the container waits and
    /// says why.
    pub(super) async fn start(&mut self, place: Place) -> bool {
        let Some(sandbox) = self.sandbox.clone() else { return false };
        let Some(image) = self.image(place, &sandbox).await else { return false };
        match Box::pin(self.create_and_start(place, &sandbox, &image)).await {
            Ok(()) => true,
            Err(failure) => {
                // The next try finds out what to do about that.
                self.is_sandbox_alive().await;
                self.tell(Some(place), Severity::Warning, "Failed", format!("Error: {}", failure.message));
                let life = self.life_mut(place);
                life.wait(failure.reason, Some(failure.message));
                life.retry_at = Some(failure.retry_at);
                false
            }
        }
    }

    /// The image; `None` where the container must wait for it, or the Pod is to end.
    async fn image(&mut self, place: Place, sandbox: &Sandbox) -> Option<v1::Image> {
        let container = self.container(place).clone();
        let list = if matches!(place, Place::Init(_)) { "initContainers" } else { "containers" };
        let reference = pod_reference(&self.pod, Some(format!("spec.{list}{{{}}}", container.name)));
        let recorder = self.node.recorder.clone();
        let tell = move |severity, reason, message: String| {
            recorder.record(reference.clone(), severity, reason, message);
        };
        let (cri, mut wish) = (self.node.cri.clone(), self.wish.clone());
        let mut orders = self.heard.clone();
        let found = tokio::select! {
            found = self.pulls.ensure(&cri, &container, &sandbox.config, &tell) => found,
            // A pull may take minutes; a Pod that is to end does not wait for it.
            _ = wish.wait_for(super::Wish::ends) => return None,
            _ = orders.wait_for(Option::is_some) => return None,
        };
        match found {
            Ok(image) => Some(image),
            Err(NoImage { reason, message, retry_at }) => {
                let life = self.life_mut(place);
                life.wait(reason, Some(message));
                life.retry_at = retry_at;
                None
            }
        }
    }

    async fn create_and_start(
        &mut self,
        place: Place,
        sandbox: &Sandbox,
        image: &v1::Image,
    ) -> Result<(), Failure> {
        let attempt = self.life(place).next_attempt();
        let asked = self.container(place).image.clone();
        self.life_mut(place).asked_image = asked;
        let names = Names::of_environment(self.container(place));
        let objects = Objects::read(&self.node.client, &self.identity().1, &names).await;
        let (config, termination_file) = self.configure(place, attempt, image, &objects)?;
        // The request is large, and would make every Pod's task so.
        let create = self.node.cri.create_container(&sandbox.id, config, sandbox.config.clone());
        let created = Box::pin(create).await;
        let id = match created {
            Ok(id) => id,
            Err(error) => {
                return Err(Failure::new("CreateContainerError", self.with_kernel_words(place, &error)));
            }
        };
        self.tell(Some(place), Severity::Normal, "Created", "Container created");
        let facts = InstanceFacts::new(place, attempt, self.container_cgroup(&id), termination_file);
        self.instances.insert(id.clone(), facts);
        self.runs_under_pressure(place, &id);
        // Before it starts, so that nothing it does goes unheard.
        self.node.exits.add(&id, self.tell_me.clone());
        self.node.witness.register(&id, self.tell_me.clone());
        let started = self.node.cri.start_container(&id).await;
        let status = self.node.cri.container_status(&id).await;
        if let Err(error) = started {
            self.note_image(place, image, status.as_ref().ok());
            return self.failed_to_start(place, &id, &error, status).await;
        }
        self.tell(Some(place), Severity::Normal, "Started", "Container started");
        self.note_start(place, &id, image, status).await;
        self.forget_older(place).await;
        Ok(())
    }

    /// The container as the runtime is asked to make it, and the file of its last words.
    fn configure(
        &self,
        place: Place,
        attempt: u32,
        image: &v1::Image,
        objects: &Objects,
    ) -> Result<(v1::ContainerConfig, PathBuf), Failure> {
        let container = self.container(place);
        let config_error = |message: String| Failure::new("CreateContainerConfigError", message);
        let variables = environment::variables(Sources {
            pod: &self.pod,
            container,
            objects,
            node: self.node.shape.figures(),
            api_server: self.node.config.api_server.as_ref(),
        });
        let variables = variables.map_err(|error| config_error(error.to_string()))?;
        let mounts = self.volumes.mounts(container, &variables);
        let mut mounts = mounts.map_err(|error| config_error(error.to_string()))?;
        let file = self.termination_file(place, attempt);
        make_termination_file(&file)
            .map_err(|error| config_error(format!("cannot make {}: {error}", file.display())))?;
        mounts.push(Mount {
            container_path: container::termination_path(container).to_owned(),
            host_path: file.to_string_lossy().into_owned(),
            ..Mount::default()
        });
        mounts.extend(self.hosts_mount(&mounts).map_err(config_error)?);
        let log_folder =
            container::log_directory(&self.node.config.pod_logs, &self.pod).join(&container.name);
        fs::create_dir_all(&log_folder)
            .map_err(|error| config_error(format!("cannot make {}: {error}", log_folder.display())))?;
        let blueprint = Blueprint {
            pod: &self.pod,
            spec: self.spec(),
            container,
            attempt,
            node: &self.node.shape,
            image,
            variables,
            mounts,
        };
        let config = blueprint.config().map_err(|error| config_error(error.to_string()))?;
        Ok((config, file))
    }

    /// The Pod's `/etc/hosts`, written anew at each start, unless the container mounts one itself.
    fn hosts_mount(&self, mounts: &[Mount]) -> Result<Option<Mount>, String> {
        if mounts.iter().any(|mount| mount.container_path.trim_end_matches('/') == network_files::HOSTS) {
            return Ok(None);
        }
        let machine = fs::read_to_string(network_files::HOSTS).unwrap_or_default();
        let hostname = crate::sandbox::hostname(&self.pod, self.spec(), &self.node.shape);
        let file = self.node.config.pod_folder(&self.identity().2).join("etc-hosts");
        fs::write(&file, network_files::hosts(self.spec(), &hostname, &machine))
            .map_err(|error| format!("cannot write {}: {error}", file.display()))?;
        Ok(Some(Mount {
            container_path: network_files::HOSTS.to_owned(),
            host_path: file.to_string_lossy().into_owned(),
            ..Mount::default()
        }))
    }

    /// Where an instance leaves its last words.
    pub(super) fn termination_file(&self, place: Place, attempt: u32) -> PathBuf {
        let folder = self.node.config.pod_folder(&self.identity().2).join("containers");
        folder.join(&self.life(place).name).join(attempt.to_string())
    }

    /// Takes down what the runtime says of the new instance, and its end if it has ended already.
    async fn note_start(
        &mut self,
        place: Place,
        id: &str,
        image: &v1::Image,
        status: Result<v1::ContainerStatusResponse, CriError>,
    ) {
        let response = match status {
            Ok(response) => response,
            Err(error) => {
                tracing::warn!("no status of a container just started: {error}");
                v1::ContainerStatusResponse::default()
            }
        };
        let status = response.status.clone().unwrap_or_default();
        let started_at = exit::timestamp(status.started_at).unwrap_or_else(Timestamp::now);
        self.life_mut(place).start(id, started_at);
        self.note_image(place, image, Some(&response));
        self.note_statement(id, &response);
        self.watch_kills(id);
        if status.state() == ContainerState::ContainerExited {
            self.publish();
            self.ended(id, response).await;
        }
    }

    /// Takes down how the runtime calls the image of the new instance.
    fn note_image(
        &mut self,
        place: Place,
        image: &v1::Image,
        response: Option<&v1::ContainerStatusResponse>,
    ) {
        let Some(status) = response.and_then(|response| response.status.as_ref()) else { return };
        let told = status.image.as_ref().map(|image| image.image.as_str()).unwrap_or_default();
        let stated = self.container(place).image.as_deref().unwrap_or_default();
        let name = images::shown_name(told, image, stated);
        let life = self.life_mut(place);
        life.image = name;
        life.image_id.clone_from(&status.image_ref);
    }

    /// A container that could not start either has ended, by the runtime's account, or is removed and tried
    /// again.
    async fn failed_to_start(
        &mut self,
        place: Place,
        id: &str,
        error: &CriError,
        status: Result<v1::ContainerStatusResponse, CriError>,
    ) -> Result<(), Failure> {
        let message = self.with_kernel_words(place, error);
        // Without its pause process no container of the Pod starts.
        self.look_for_killed_sandbox().await;
        let status = status.ok().and_then(|response| response.status);
        let ended = status.filter(|status| status.state() == ContainerState::ContainerExited);
        self.node.exits.remove(id);
        let Some(status) = ended else {
            self.node.witness.forget(id);
            self.instances.remove(id);
            if let Err(error) = self.node.cri.remove_container(id).await {
                tracing::warn!("cannot remove a container that did not start: {error}");
            }
            return Err(Failure::new("RunContainerError", message));
        };
        self.tell(Some(place), Severity::Warning, "Failed", format!("Error: {message}"));
        for report in self.node.witness.reports(id) {
            self.record_kill_while_starting(place, report);
        }
        self.node.witness.forget(id);
        self.instances.remove(id);
        let reason = if status.reason.is_empty() { "StartError" } else { status.reason.as_str() };
        let ended = Ended {
            id: id.to_owned(),
            exit_code: if status.exit_code == 0 { 128 } else { status.exit_code },
            reason: reason.to_owned(),
            message: Some(message),
            started_at: exit::timestamp(status.started_at),
            finished_at: exit::timestamp(status.finished_at).unwrap_or_else(Timestamp::now),
        };
        self.record_death(place, self.life(place).next_attempt(), &ended, None);
        self.life_mut(place).fail_to_start(ended);
        Ok(())
    }

    /// The runtime's error, and what the kernel says if it killed the container while it was being made.
    fn with_kernel_words(&self, place: Place, error: &CriError) -> String {
        self.node.witness.drain();
        let (_, _, uid) = self.identity();
        let reports = self.node.witness.take_unclaimed(&uid);
        // One of them says it; all of them are in the records.
        let words = reports.last().map(kills::summary);
        for report in reports {
            self.record_kill_while_starting(place, report);
        }
        match words {
            Some(words) => format!("{} ({words})", error.message),
            None => error.message.clone(),
        }
    }

    /// Only the instance before this one stays in the runtime.
    pub(super) async fn forget_older(&mut self, place: Place) {
        let life = self.life(place);
        let kept: Vec<&str> = life
            .instance
            .as_ref()
            .map(crate::life::Instance::id)
            .into_iter()
            .chain(life.previous.as_ref().map(|ended| ended.id.as_str()))
            .collect();
        let old: Vec<String> = self
            .instances
            .iter()
            .filter(|(id, facts)| facts.place == place && !kept.contains(&id.as_str()))
            .map(|(id, _)| id.clone())
            .collect();
        for id in old {
            self.instances.remove(&id);
            self.node.witness.forget(&id);
            if let Err(error) = self.node.cri.remove_container(&id).await {
                tracing::warn!("cannot remove an old container: {error}");
            }
        }
    }
}

/// Writable by whichever user the container has.
fn make_termination_file(file: &Path) -> std::io::Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::write(file, "")?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o666))
}
