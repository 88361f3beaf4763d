//! One Pod: from its admission to its removal, by one task that alone owns what is known of it.
//!
//! The task does what can be done ([`Worker::advance`]), publishes the status, and waits for news: of the Pod's
//! object, of its containers, of the kernel.

mod admit; // whether the node takes the Pod
mod adopt; // what an earlier run began
mod deadline; // a Pod that may not be active for ever
mod definition; // the spec asks for another image than the one that runs
mod eviction; // the node is short of memory
mod exit; // a container ended
mod instance_facts; // what is known of an instance beside its status
mod kill_events; // kills as Events
mod kills; // of main processes and of children
mod lost_sandbox; // the sandbox has ended, and the Pod has not
mod projection; // what volumes show of the API, kept as the API has it
mod sandbox_kill; // the pause process was killed
mod set_up; // cgroup, volumes, sandbox
mod start; // one container, from its image to running

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{Container, Pod, PodSpec, PodStatus};
use memlet_cgroup::CgroupPath;
use memlet_policy::backoff;
use memlet_policy::qos::QosClass;
use memlet_policy::resources;
use memlet_policy::restart::{self, Decision};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use crate::admission::Rejection;
use crate::events::{Severity, pod_reference};
use crate::images::Pulls;
use crate::life::Life;
use crate::node::Node;
use crate::pressure::{Order, Orders};
use crate::status::{Facts, Failure, pod_status};
use crate::status_writer::StatusWriter;
use crate::steady;
use crate::volumes::Volumes;

pub(crate) use adopt::Adoption;
pub(crate) use instance_facts::InstanceFacts;
use projection::Projection;
pub(crate) use set_up::Sandbox;

/// What a worker is told from below.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum News {
    /// The runtime says that this container changed.
    ContainerChanged(String),
    /// The kernel reported a kill in this container.
    KernelReport(String),
    /// This container's count of kills may have risen.
    KillCounted(String),
}

/// Why a Pod ends though its object does not say so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Its object is gone.
    Removed,
    /// The node agent ends, and gives this much time.
    Shutdown(Duration),
}

/// What a worker is told from above.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) pod: Arc<Pod>,
    pub(crate) end: Option<End>,
    /// The object of a static Pod in the API, which is not the Pod's own.
    pub(crate) mirror: Option<Arc<Pod>>,
}

impl Wish {
    /// Whether the Pod is to end.
    pub(crate) fn ends(&self) -> bool {
        self.end.is_some() || self.pod.metadata.deletion_timestamp.is_some()
    }
}

/// A container's place in the spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    Init(usize),
    Regular(usize),
}

/// A Pod on this node.
#[allow(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub(crate) struct Worker {
    pub(crate) node: Arc<Node>,
    pub(crate) wish: watch::Receiver<Wish>,
    pub(crate) news: mpsc::UnboundedReceiver<News>,
    pub(crate) tell_me: mpsc::UnboundedSender<News>,
    pub(crate) pod: Arc<Pod>,
    pub(crate) status: PodStatus,
    pub(crate) writer: StatusWriter,
    pub(crate) start_time: Timestamp,
    pub(crate) cgroup: CgroupPath,
    pub(crate) volumes: Volumes,
    pub(crate) sandbox: Option<Sandbox>,
    sandbox_attempts: u32,
    /// A failed set-up rests until then, whatever news there is.
    set_up_rests: Option<Timestamp>,
    admitted: bool,
    rejection: Option<Rejection>,
    /// Why the Pod has failed whatever its containers say.
    pub(crate) failure: Option<Failure>,
    /// Whoever evicts it says so here, and is heard also in the middle of a start.
    orders: Orders,
    heard: watch::Receiver<Option<Arc<Order>>>,
    /// It is evicted, and that is told.
    order_told: bool,
    /// The Pod's last container has ended and its place is cleared.
    pub(crate) tidied: bool,
    pub(crate) ending: bool,
    pub(crate) init: Vec<Life>,
    pub(crate) containers: Vec<Life>,
    pub(crate) instances: HashMap<String, InstanceFacts>,
    /// Containers on their way out while the Pod goes on.
    stops: JoinSet<()>,
    pulls: Pulls,
    projection: Projection,
    mirror: Option<Arc<Pod>>,
    /// What there was of the Pod before this worker, until it is taken over.
    adoption: Option<Adoption>,
    /// There was something of it.
    pub(crate) resumed: bool,
}

impl Worker {
    /// # Errors
    /// Where the Pod's uid makes no cgroup path, which no API server lets through.
    pub(crate) fn new(
        node: Arc<Node>,
        wish: watch::Receiver<Wish>,
        adoption: Option<Adoption>,
    ) -> Result<Self, memlet_cgroup::ParsePathError> {
        let (pod, mirror) = {
            let wish = wish.borrow();
            (wish.pod.clone(), wish.mirror.clone())
        };
        let uid = pod.metadata.uid.clone().unwrap_or_default();
        let class = QosClass::of_pod(&pod);
        let empty = PodSpec::default();
        let spec = pod.spec.as_ref().unwrap_or(&empty);
        let lives = |containers: &[Container]| -> Vec<Life> {
            let life = |container: &Container| {
                Life::new(&container.name, container.image.as_deref().unwrap_or_default())
            };
            containers.iter().map(life).collect()
        };
        let pod_limit = memlet_policy::cgroup_limits::pod_memory_limit(spec, class);
        let (tell_me, news) = mpsc::unbounded_channel();
        let (orders, heard) = watch::channel(None);
        Ok(Self {
            cgroup: node.cgroups.pod(class, &uid)?,
            volumes: Volumes::plan(spec, &node.config.pod_folder(&uid), node.shape.allocatable, pod_limit),
            init: lives(resources::init_containers(spec)),
            containers: lives(&spec.containers),
            status: pod.status.clone().unwrap_or_default(),
            writer: StatusWriter::start(node.client.clone(), mirror.as_deref().unwrap_or(&pod)),
            mirror,
            start_time: Timestamp::now(),
            sandbox: None,
            sandbox_attempts: 0,
            set_up_rests: None,
            admitted: false,
            rejection: None,
            failure: None,
            orders,
            heard,
            order_told: false,
            tidied: false,
            ending: false,
            instances: HashMap::new(),
            stops: JoinSet::new(),
            pulls: Pulls::default(),
            projection: Projection::default(),
            adoption,
            resumed: false,
            node,
            wish,
            news,
            tell_me,
            pod,
        })
    }

    /// Until the Pod is gone from this node.
    pub(crate) async fn run(mut self) {
        if let Some(adoption) = self.adoption.take() {
            Box::pin(self.adopt(adoption)).await;
        }
        loop {
            let wish = self.wish.borrow_and_update().clone();
            self.take_pod(wish.pod.clone());
            self.take_mirror(wish.mirror.clone());
            if wish.ends() {
                return self.end().await;
            }
            let look_again = self.advance().await;
            self.publish();
            if !self.wait_for_news(look_again).await {
                // The agent was dropped, or ends without ending its Pods: there is nobody to work for.
                return self.writer.flush().await;
            }
            self.publish();
        }
    }

    /// Does what can be done now; says when to look again by the [`steady`] clock, where only time must pass.
    async fn advance(&mut self) -> Option<Timestamp> {
        if self.tidied || !self.admit().await {
            return None;
        }
        self.heed_order().await;
        self.heed_deadline().await;
        if self.is_final() {
            self.tidy().await;
            return None;
        }
        if self.sandbox.is_none() {
            self.publish();
            let rests = self.set_up_rests.filter(|until| *until > steady::now());
            if rests.is_some() {
                return rests;
            }
            if let Err(retry_at) = self.set_up().await {
                self.set_up_rests = Some(retry_at);
                return Some(retry_at);
            }
            self.publish();
        }
        self.keep_projected().await;
        self.advance_containers().await
    }

    /// A static Pod's mirror was made again, or is as it was.
    fn take_mirror(&mut self, mirror: Option<Arc<Pod>>) {
        let uid = |mirror: &Option<Arc<Pod>>| mirror.as_ref().and_then(|mirror| mirror.metadata.uid.clone());
        if let Some(new) = mirror.clone().filter(|_| uid(&mirror) != uid(&self.mirror)) {
            self.writer.aim(new);
            self.mirror = mirror;
        }
    }

    /// The Pod's object has changed, or is as it was.
    fn take_pod(&mut self, pod: Arc<Pod>) {
        let (old, new) = (&self.pod.metadata, &pod.metadata);
        if old.labels != new.labels || old.annotations != new.annotations {
            self.projection.is_due_now();
        }
        let old = std::mem::replace(&mut self.pod, pod);
        self.heed_images(&old);
    }

    fn is_final(&self) -> bool {
        matches!(self.status.phase.as_deref(), Some("Succeeded" | "Failed"))
    }

    /// Starts what is due: init containers one after the other, then all regular ones.
    async fn advance_containers(&mut self) -> Option<Timestamp> {
        for index in 0..self.init.len() {
            let place = Place::Init(index);
            if self.is_ordered_out() {
                return None;
            }
            match self.decision(place) {
                Decision::Stay if self.life(place).ended().is_some_and(|ended| ended.exit_code == 0) => {}
                Decision::Start | Decision::StartAll => {
                    if let Some(look_again) = self.try_start(place).await {
                        return Some(look_again);
                    }
                    // One that ended at once leads on to the next.
                    if self.decision(place) != Decision::Stay {
                        return None;
                    }
                    if self.life(place).ended().is_none_or(|ended| ended.exit_code != 0) {
                        return None;
                    }
                }
                Decision::Running | Decision::Stay => return None,
            }
        }
        self.end_redefined();
        let mut look_again = None;
        for index in 0..self.containers.len() {
            let place = Place::Regular(index);
            if self.wish.borrow().ends() || self.is_ordered_out() {
                break;
            }
            if matches!(self.decision(place), Decision::Start | Decision::StartAll) {
                look_again = earliest(look_again, self.try_start(place).await);
            }
        }
        look_again
    }

    fn decision(&self, place: Place) -> Decision {
        let life = self.life(place);
        match (life.is_running(), life.ended()) {
            (true, _) => Decision::Running,
            (false, Some(_)) if life.again => Decision::Start,
            (false, Some(_)) if self.has_restarted_enough(place) => Decision::Stay,
            (false, Some(ended)) => restart::after_exit(self.spec(), self.container(place), ended.exit_code),
            (false, None) => Decision::Start,
        }
    }

    fn has_restarted_enough(&self, place: Place) -> bool {
        // The attempt after the first is restart number 1.
        self.node.config.most_restarts.is_some_and(|most| self.life(place).next_attempt() > most)
    }

    /// Starts the container unless its back-off holds it; says when to look again.
    async fn try_start(&mut self, place: Place) -> Option<Timestamp> {
        let now = steady::now();
        if let Some(retry_at) = self.life(place).retry_at.filter(|at| *at > now) {
            return Some(retry_at);
        }
        let ended_at = self.life(place).ended_at();
        let wait = ended_at.and_then(|ended_at| self.life(place).back_off.wait(ended_at, now));
        if let Some(wait) = wait {
            self.back_off(place, wait.delay);
            return Some(now + wait.left);
        }
        if self.replace_lost_sandbox().await {
            return Some(now);
        }
        if !self.start(place).await {
            return self.life(place).retry_at;
        }
        if let Some(ended_at) = ended_at {
            self.life_mut(place).back_off.starting(ended_at, now);
        }
        // Ended meanwhile: whether it starts again is to be decided at once.
        (!self.life(place).is_running()).then(steady::now)
    }

    /// The container waits before it starts again, and says so once.
    fn back_off(&mut self, place: Place, delay: Duration) {
        let (name, namespace, uid) = self.identity();
        let container = self.life(place).name.clone();
        let message = backoff::crash_loop_message(delay, &container, &name, &namespace, &uid);
        let is_new =
            self.life(place).waiting.as_ref().and_then(|waiting| waiting.message.as_ref()) != Some(&message);
        if is_new {
            let text = backoff::back_off_event_message(&container, &name, &namespace, &uid);
            self.tell(Some(place), Severity::Warning, "BackOff", text);
            self.life_mut(place).wait("CrashLoopBackOff", Some(message));
        }
    }

    /// Waits for anything to happen, and takes it in; whether there still is an agent.
    async fn wait_for_news(&mut self, look_again: Option<Timestamp>) -> bool {
        let look_again = earliest(look_again, self.next_settlement());
        let look_again = earliest(look_again, self.next_projection());
        let look_again = earliest(look_again, self.next_deadline().map(steady::of));
        let pause =
            look_again.map(|at| Duration::try_from(at.duration_since(steady::now())).unwrap_or_default());
        tokio::select! {
            news = self.news.recv() => {
                if let Some(news) = news {
                    self.take(news).await;
                }
            }
            changed = self.wish.changed() => {
                if changed.is_err() {
                    return false;
                }
            }
            // The sender is this worker's own.
            _ = self.heard.changed() => {}
            () = sleep(pause) => {}
        }
        self.take_all().await;
        self.settle_due().await;
        true
    }

    /// Takes in everything that has been told so far.
    pub(crate) async fn take_all(&mut self) {
        while let Ok(news) = self.news.try_recv() {
            self.take(news).await;
        }
    }

    async fn take(&mut self, news: News) {
        match news {
            News::ContainerChanged(id) => self.look(&id).await,
            News::KernelReport(id) if self.sandbox.as_ref().is_some_and(|sandbox| sandbox.id == id) => {
                self.sandbox_killed();
            }
            News::KernelReport(id) => self.kernel_reported(&id),
            News::KillCounted(id) => self.kill_counted(&id),
        }
    }

    /// Hands the status to its writer if it changed.
    pub(crate) fn publish(&mut self) {
        let facts = Facts {
            init: &self.init,
            containers: &self.containers,
            sandbox_ready: self.sandbox.as_ref().is_some_and(|it| it.is_ready) && !self.tidied,
            ending: self.ending,
            host_ip: self.node.shape.host_ip.as_deref(),
            start_time: Some(self.start_time),
            rejection: self.rejection.as_ref(),
            failure: self.failure.as_ref(),
        };
        let status = pod_status(&self.pod, &facts, &self.status, Timestamp::now());
        if status != self.status {
            self.status = status.clone();
            self.writer.write(status);
        }
    }

    /// Records an Event about the Pod, or about one of its containers.
    pub(crate) fn tell(
        &self,
        place: Option<Place>,
        severity: Severity,
        reason: impl Into<Cow<'static, str>>,
        message: impl Into<String>,
    ) {
        let field_path = place.map(|place| {
            let list = if matches!(place, Place::Init(_)) { "initContainers" } else { "containers" };
            format!("spec.{list}{{{}}}", self.life(place).name)
        });
        self.node.recorder.record(pod_reference(&self.pod, field_path), severity, reason, message);
    }

    /// Records an Event about the Pod that says something to programs too.
    fn tell_annotated(
        &self,
        severity: Severity,
        reason: &'static str,
        message: String,
        annotations: &[(&'static str, String)],
    ) {
        let reference = pod_reference(&self.pod, None);
        self.node.recorder.record_annotated(reference, severity, reason, message, annotations);
    }

    /// Name, namespace and uid.
    pub(crate) fn identity(&self) -> (String, String, String) {
        let metadata = &self.pod.metadata;
        let part = |value: &Option<String>| value.clone().unwrap_or_default();
        (part(&metadata.name), part(&metadata.namespace), part(&metadata.uid))
    }

    pub(crate) fn spec(&self) -> &PodSpec {
        static EMPTY: std::sync::LazyLock<PodSpec> = std::sync::LazyLock::new(PodSpec::default);
        self.pod.spec.as_ref().unwrap_or(&EMPTY)
    }

    /// The container at this place; places come from the same spec, whose list of containers never changes.
    pub(crate) fn container(&self, place: Place) -> &Container {
        match place {
            Place::Init(index) => &resources::init_containers(self.spec())[index],
            Place::Regular(index) => &self.spec().containers[index],
        }
    }

    pub(crate) fn life(&self, place: Place) -> &Life {
        match place {
            Place::Init(index) => &self.init[index],
            Place::Regular(index) => &self.containers[index],
        }
    }

    pub(crate) fn life_mut(&mut self, place: Place) -> &mut Life {
        match place {
            Place::Init(index) => &mut self.init[index],
            Place::Regular(index) => &mut self.containers[index],
        }
    }

    /// All places, in the order of the spec.
    pub(crate) fn places(&self) -> Vec<Place> {
        let init = (0..self.init.len()).map(Place::Init);
        init.chain((0..self.containers.len()).map(Place::Regular)).collect()
    }
}

/// The earlier of two moments, where there are any.
fn earliest(a: Option<Timestamp>, b: Option<Timestamp>) -> Option<Timestamp> {
    a.into_iter().chain(b).min()
}

/// `None` sleeps for ever.
async fn sleep(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}
