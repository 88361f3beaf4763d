//! What the server does of itself, on one thread of its own: it deletes what nobody owns any more (`garbage`), events
//! that are old (`expiry`), Pods of nodes that are no more (`lost_pods`), and what is left in namespaces that are going;
//! it says in quotas what is used (`quotas`), and on nodes who is kept off them (`taints`).
//!
//! Everything here is done through the same verbs as a client's requests, and can be done again: after a start, after
//! changes were undone, and when something went wrong, everything is looked at anew.

mod expiry;
mod garbage;
mod lost_pods;
mod quotas;
mod taints;

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::StatusCode;
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::Namespace;

use crate::error::ApiError;
use crate::resources;
use crate::storage::{NoticeReader, StoredObject, Wake};
use crate::verbs::Core;

use garbage::Collector;
use lost_pods::LostPods;
use quotas::Quotas;

/// The longest time between two looks for what is too old: that of upstream's Pod garbage collector.
const LONGEST_ROUND: Duration = Duration::from_secs(20);
/// How long a node is missing before its Pods are (upstream's `quarantineTime`).
const QUARANTINE: Duration = Duration::from_secs(40);
/// After something could not be done, before it is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the thread. It ends with the server.
pub(crate) fn start(core: &Core, event_lifetime: Duration) {
    let notices = core.storage.notices();
    let keeper = Housekeeping {
        core: Box::new(core.downgrade()),
        notices,
        garbage: Collector::default(),
        lost_pods: LostPods::default(),
        quotas: Quotas::default(),
        event_lifetime,
    };
    let thread = std::thread::Builder::new().name("memlet-housekeep".to_owned());
    if let Err(error) = thread.spawn(move || keeper.run()) {
        tracing::error!(%error, "housekeeping cannot be started: nothing expires and nothing is collected");
    }
}

struct Housekeeping {
    /// The server, for as long as it is there for somebody else too.
    core: Box<dyn Fn() -> Option<Core> + Send>,
    notices: NoticeReader,
    garbage: Collector,
    lost_pods: LostPods,
    quotas: Quotas,
    event_lifetime: Duration,
}

impl Housekeeping {
    fn run(mut self) {
        // An event may live a little longer than its time, never shorter.
        let round = (self.event_lifetime / 4).clamp(Duration::from_millis(5), LONGEST_ROUND);
        let mut next_round = Instant::now();
        loop {
            let wake = self.notices.wait(next_round.saturating_duration_since(Instant::now()));
            if matches!(wake, Wake::Closing) {
                return;
            }
            let Some(core) = (self.core)() else { return };
            let mut done = self.attend(&core, wake);
            if Instant::now() >= next_round {
                done = done.and(expiry::run(&core, self.event_lifetime));
                done = done.and(self.lost_pods.run(&core, QUARANTINE, Instant::now()));
                // Time alone lets a Pod count no longer that does not end.
                done = done.and(self.quotas.look_at_all(&core, &self.notices));
                core.storage.trim_history();
                next_round = Instant::now() + round;
            }
            if let Err(error) = done {
                tracing::debug!(?error, "housekeeping could not be done and is done again");
                drop(core);
                self.notices.look_at_all();
                self.notices.pause(RETRY);
            }
        }
    }

    fn attend(&mut self, core: &Core, wake: Wake) -> Result<(), ApiError> {
        match wake {
            Wake::Changes(changes) => {
                // What is used is told before what goes: garbage may be much.
                let told = taints::follow(core, &changes);
                let told = told.and(self.quotas.follow(core, &self.notices, &changes));
                self.garbage.follow(core, &changes).and(told)
            }
            Wake::LookAtAll => {
                taints::look_at_all(core, &self.notices)?;
                self.quotas.look_at_all(core, &self.notices)?;
                self.garbage.look_at_all(core)?;
                settle_namespaces(core)
            }
            Wake::Quiet | Wake::Closing => Ok(()),
        }
    }
}

/// Namespaces that were going when the server ended are still to be emptied.
fn settle_namespaces(core: &Core) -> Result<(), ApiError> {
    let namespaces = core.storage.list(Namespace::URL_PATH_SEGMENT, None, None).objects;
    for namespace in namespaces.iter().filter(|namespace| namespace.ties.deleting) {
        resources::settle_namespace(core, &namespace.key.name)?;
    }
    Ok(())
}

type Stored = Arc<StoredObject>;

/// What somebody else has done meanwhile is no failure, and what is refused is not asked for again.
fn unless_settled(done: Result<(), ApiError>) -> Result<(), ApiError> {
    match done {
        Err(error) if error.code() == StatusCode::NOT_FOUND => Ok(()),
        Err(error) if matches!(error.code(), StatusCode::FORBIDDEN | StatusCode::UNPROCESSABLE_ENTITY) => {
            tracing::debug!(?error, "housekeeping was refused something");
            Ok(())
        }
        done => done,
    }
}
