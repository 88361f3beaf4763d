//! One container's life as the node agent knows it: what its status is made from.

use jiff::Timestamp;
use k8s_openapi::api::core::v1::{
    ContainerState, ContainerStateRunning, ContainerStateTerminated, ContainerStateWaiting,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use memlet_policy::backoff::{BackOff, Growth};

use crate::steady;

/// An instance of a container that has ended.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Ended {
    pub(crate) id: String,
    pub(crate) exit_code: i32,
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
    pub(crate) started_at: Option<Timestamp>,
    pub(crate) finished_at: Timestamp,
}

/// The newest instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Instance {
    Running { id: String, started_at: Timestamp },
    Ended(Ended),
}

impl Instance {
    pub(crate) fn id(&self) -> &str {
        match self {
            Self::Running { id, .. } => id,
            Self::Ended(ended) => &ended.id,
        }
    }
}

/// Why no new instance runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Waiting {
    pub(crate) reason: String,
    pub(crate) message: Option<String>,
}

/// A container from its first start to its last end.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) name: String,
    /// As in the spec, until the runtime says how it calls the image.
    pub(crate) image: String,
    pub(crate) image_id: String,
    /// As the spec called it when the newest instance was made; `None` where nobody knows.
    pub(crate) asked_image: Option<String>,
    pub(crate) instance: Option<Instance>,
    pub(crate) previous: Option<Ended>,
    pub(crate) waiting: Option<Waiting>,
    pub(crate) restart_count: i32,
    pub(crate) back_off: BackOff,
    /// When the newest instance ended, by the [`steady`] clock.
    pub(crate) rests_since: Option<Timestamp>,
    /// A start that failed is tried again at this time, by the [`steady`] clock.
    pub(crate) retry_at: Option<Timestamp>,
    /// It starts again however it ends or ended: what it was for is gone with the sandbox, or another image is wanted.
    pub(crate) again: bool,
}

impl Life {
    pub(crate) fn new(name: &str, image: &str) -> Self {
        Self {
            name: name.to_owned(),
            image: image.to_owned(),
            image_id: String::new(),
            asked_image: None,
            instance: None,
            previous: None,
            waiting: None,
            restart_count: 0,
            back_off: BackOff::new(Growth::CONTAINER),
            rests_since: None,
            retry_at: None,
            again: false,
        }
    }

    pub(crate) fn is_running(&self) -> bool {
        matches!(self.instance, Some(Instance::Running { .. }))
    }

    pub(crate) fn ended(&self) -> Option<&Ended> {
        match &self.instance {
            Some(Instance::Ended(ended)) => Some(ended),
            _ => None,
        }
    }

    /// The id of the running instance.
    pub(crate) fn running_id(&self) -> Option<&str> {
        self.instance.as_ref().filter(|_| self.is_running()).map(Instance::id)
    }

    /// No new instance runs, for this reason; what ended becomes the last state.
    pub(crate) fn wait(&mut self, reason: &str, message: Option<String>) {
        self.waiting = Some(Waiting { reason: reason.to_owned(), message });
    }

    /// It will not start again: what ended last is how it ended (kubelet's `ShouldContainerBeRestarted`).
    pub(crate) fn give_up_waiting(&mut self) {
        if self.ended().is_some() {
            self.waiting = None;
        }
    }

    /// A new instance runs.
    pub(crate) fn start(&mut self, id: &str, started_at: Timestamp) {
        self.begin_instance();
        self.instance = Some(Instance::Running { id: id.to_owned(), started_at });
    }

    /// A new instance ended before it ran.
    pub(crate) fn fail_to_start(&mut self, ended: Ended) {
        self.begin_instance();
        self.end(ended);
    }

    /// The newest instance has ended.
    pub(crate) fn end(&mut self, ended: Ended) {
        self.rests_since = Some(steady::of_past(ended.finished_at));
        self.instance = Some(Instance::Ended(ended));
    }

    /// When the newest instance ended, by the [`steady`] clock; `None` where none has.
    pub(crate) fn ended_at(&self) -> Option<Timestamp> {
        let ended = self.ended()?;
        Some(self.rests_since.unwrap_or_else(|| steady::of_past(ended.finished_at)))
    }

    fn begin_instance(&mut self) {
        if let Some(Instance::Ended(ended)) = self.instance.take() {
            self.previous = Some(ended);
            self.restart_count += 1;
        }
        self.waiting = None;
        self.retry_at = None;
        self.again = false;
    }

    /// The number of the next instance, as its log is called.
    pub(crate) fn next_attempt(&self) -> u32 {
        let started_before = i32::from(self.instance.is_some());
        u32::try_from(self.restart_count + started_before).unwrap_or_default()
    }

    /// `state` and `lastState`. `initial` is the reason to wait before anything was tried.
    pub(crate) fn states(&self, initial: &str) -> (ContainerState, ContainerState) {
        let last = |ended: Option<&Ended>| ended.map(terminated).unwrap_or_default();
        let waits = |reason: &str, message: Option<String>| ContainerState {
            waiting: Some(ContainerStateWaiting { reason: Some(reason.to_owned()), message }),
            ..ContainerState::default()
        };
        match (&self.waiting, &self.instance) {
            (Some(waiting), instance) => {
                let ended = match instance {
                    Some(Instance::Ended(ended)) => Some(ended),
                    _ => self.previous.as_ref(),
                };
                (waits(&waiting.reason, waiting.message.clone()), last(ended))
            }
            (None, None) => (waits(initial, None), last(self.previous.as_ref())),
            (None, Some(Instance::Running { started_at, .. })) => {
                let running = ContainerStateRunning { started_at: Some(seconds(*started_at)) };
                let state = ContainerState { running: Some(running), ..ContainerState::default() };
                (state, last(self.previous.as_ref()))
            }
            (None, Some(Instance::Ended(ended))) => (terminated(ended), last(self.previous.as_ref())),
        }
    }
}

/// The API's times are whole seconds.
pub(crate) fn seconds(at: Timestamp) -> Time {
    Time(Timestamp::from_second(at.as_second()).unwrap_or(at))
}

fn terminated(ended: &Ended) -> ContainerState {
    ContainerState { terminated: Some(ended.as_state()), ..ContainerState::default() }
}

impl Ended {
    /// As a status says it. One that never ran began, as with kubelet, at the beginning of time: a reader that finds no
    /// time there shows the year 1.
    pub(crate) fn as_state(&self) -> ContainerStateTerminated {
        ContainerStateTerminated {
            container_id: Some(container_id(&self.id)),
            exit_code: self.exit_code,
            reason: Some(self.reason.clone()),
            message: self.message.clone().filter(|message| !message.is_empty()),
            started_at: Some(seconds(self.started_at.unwrap_or(Timestamp::UNIX_EPOCH))),
            finished_at: Some(seconds(self.finished_at)),
            signal: None,
        }
    }
}

const SCHEME: &str = "memlet://";

/// `<runtime>://<id>`.
pub(crate) fn container_id(id: &str) -> String {
    format!("{SCHEME}{id}")
}

/// The runtime's id in a status's.
pub(crate) fn runtime_id(id: &str) -> &str {
    id.strip_prefix(SCHEME).unwrap_or(id)
}
