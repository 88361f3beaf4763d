//! The end of a Pod: its containers stopped with grace, its sandbox, volumes, cgroup and logs removed, and then
//! its object.

use std::time::Duration;

use futures::future;
use jiff::Timestamp;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, DeleteParams, Preconditions};

use crate::container;
use crate::cri::CriError;
use crate::events::Severity;
use crate::worker::{End, Place, Wish, Worker};

/// The default of `terminationGracePeriodSeconds`.
pub(crate) const DEFAULT_GRACE: i64 = 30;
/// kubelet never gives less, so that a container can at least be asked (`minimumGracePeriodInSeconds`).
pub(crate) const LEAST_GRACE: i64 = 2;

/// A container that did not end is asked again after this.
const UNTIL_ASKED_AGAIN: Duration = Duration::from_secs(5);

/// How many seconds the Pod's containers get between TERM and KILL.
fn grace(wish: &Wish) -> i64 {
    let metadata = &wish.pod.metadata;
    let of_spec = wish.pod.spec.as_ref().and_then(|spec| spec.termination_grace_period_seconds);
    let own = metadata.deletion_grace_period_seconds.or(of_spec).unwrap_or(DEFAULT_GRACE).max(LEAST_GRACE);
    let Some(End::Shutdown(most)) = wish.end else { return own };
    // CRI counts whole seconds; a part of one is given, not taken.
    own.min(i64::try_from(most.as_millis().div_ceil(1000)).unwrap_or(i64::MAX))
}

/// What is left of the grace of a Pod whose end an earlier run may have begun. A clock that was set back gives no more than
/// all of it.
fn rest_of_grace(wish: &Wish, now: Timestamp) -> i64 {
    let all = grace(wish);
    match (wish.end, &wish.pod.metadata.deletion_timestamp) {
        (Some(End::Shutdown(_)), _) | (_, None) => all,
        (_, Some(until)) => until.0.duration_since(now).as_secs().clamp(LEAST_GRACE, all.max(LEAST_GRACE)),
    }
}

impl Worker {
    /// Ends the Pod and whatever belongs to it.
    pub(crate) async fn end(mut self) {
        for place in self.places() {
            self.life_mut(place).give_up_waiting();
        }
        // That the end has been noticed shows at once, and what it leads to when it is there.
        self.publish();
        // With the agent alone the Pod's containers end, and not the Pod: the next run starts them anew.
        let wish = self.wish.borrow().clone();
        let deleted = wish.pod.metadata.deletion_timestamp.is_some();
        self.ending = deleted || !matches!(wish.end, Some(End::Shutdown(_)));
        if !self.stop_containers().await {
            return self.writer.flush().await;
        }
        self.record_recalled();
        self.tidy().await;
        self.publish();
        // How it ended is said before the runtime forgets it; and the logs go before the sandbox, by which the next run would
        // find them.
        self.writer.flush().await;
        self.remove_logs().await;
        self.remove_sandbox().await;
        if self.wish.borrow().pod.metadata.deletion_timestamp.is_some() {
            self.delete_object().await;
        }
    }

    /// Asks all to end at once, and sooner if the grace is shortened meanwhile; and once more as long as one does not end,
    /// as one in the hands of a dead disk. Whether they have: not so where the agent ends before them.
    pub(crate) async fn stop_containers(&mut self) -> bool {
        let running: Vec<_> = self
            .places()
            .into_iter()
            .filter_map(|place| Some((place, self.life(place).running_id()?.to_owned())))
            .collect();
        for (place, _) in &running {
            let text = format!("Stopping container {}", self.life(*place).name);
            self.tell(Some(*place), Severity::Normal, "Killing", text);
        }
        loop {
            let Some(have_ended) = self.ask_to_end(&running).await else { return false };
            for (_, id) in &running {
                self.look(id).await;
            }
            let runs_on = |(place, id): &(_, String)| self.life(*place).running_id() == Some(id);
            let mut wish = self.wish.clone();
            let must_end = matches!(wish.borrow().end, Some(End::Shutdown(_)));
            if have_ended || must_end || !running.iter().any(runs_on) {
                break;
            }
            tokio::select! {
                () = tokio::time::sleep(UNTIL_ASKED_AGAIN) => {}
                changed = wish.changed() => if changed.is_err() {
                    return false;
                }
            }
        }
        self.take_all().await;
        true
    }

    /// Asks them once, and waits until they have ended, or the runtime waits no longer: whether it says that all have. `None`
    /// where the agent ends.
    async fn ask_to_end(&mut self, running: &[(Place, String)]) -> Option<bool> {
        loop {
            let ordered = self.ordered_grace();
            let given = {
                let wish = self.wish.borrow_and_update();
                let own = if self.resumed { rest_of_grace(&wish, Timestamp::now()) } else { grace(&wish) };
                ordered.map_or(own, |ordered| ordered.min(own))
            };
            let stops = running.iter().map(|(_, id)| self.node.cri.stop_container(id, given));
            let stopped = future::join_all(stops);
            let mut wish = self.wish.clone();
            tokio::select! {
                results = stopped => {
                    let failures = running.iter().zip(&results).filter_map(|((place, _), result)| {
                        Some((*place, result.as_ref().err()?))
                    });
                    failures.for_each(|(place, error)| self.tell_not_stopped(place, error));
                    return Some(results.iter().all(Result::is_ok));
                }
                changed = wish.wait_for(|wish| grace(wish) < given) => {
                    if changed.is_err() {
                        return None;
                    }
                }
            }
        }
    }

    /// A container does not end, as kubelet tells it.
    fn tell_not_stopped(&self, place: Place, error: &CriError) {
        let name = &self.life(place).name;
        let text = format!(
            "error killing pod: failed to \"KillContainer\" for {name:?} with KillContainerError: \"{error}\""
        );
        self.tell(None, Severity::Warning, "FailedKillPod", text);
    }

    /// Clears what a Pod without running containers no longer needs: the sandbox's processes, the volumes, the
    /// cgroup. Its containers stay known to the runtime, and its logs stay, until it is removed.
    pub(crate) async fn tidy(&mut self) {
        if self.tidied {
            return;
        }
        self.tidied = true;
        if let Some(sandbox) = &self.sandbox
            && let Err(error) = self.node.cri.stop_sandbox(&sandbox.id).await
        {
            tracing::warn!("cannot stop a sandbox: {error}");
        }
        let volumes = self.volumes.clone();
        let torn_down = tokio::task::spawn_blocking(move || volumes.tear_down()).await;
        if let Ok(Err(error)) = torn_down {
            tracing::warn!("cannot remove a Pod's volumes: {error}");
        }
        if let Err(error) = self.node.cgroups.remove(&self.cgroup).await {
            tracing::warn!("{error}");
        }
        self.node.pressure.pods.leave(&self.identity().2);
        self.node.ledger.release(&self.identity().2);
        self.node.protect_tiers();
    }

    async fn remove_sandbox(&mut self) {
        let Some(sandbox) = self.sandbox.take() else { return };
        self.node.witness.forget(&sandbox.id);
        if let Err(error) = self.node.cri.remove_sandbox(&sandbox.id).await {
            tracing::warn!("cannot remove a sandbox: {error}");
        }
        // Only now may a runtime have let go of the Pod's group.
        if let Err(error) = self.node.cgroups.remove(&self.cgroup).await {
            tracing::warn!("{error}");
        }
        for id in self.instances.keys() {
            self.node.exits.remove(id);
            self.node.witness.forget(id);
        }
    }

    async fn remove_logs(&self) {
        let folder = container::log_directory(&self.node.config.pod_logs, &self.pod);
        match tokio::fs::remove_dir_all(&folder).await {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!("cannot remove {}: {error}", folder.display());
            }
            _ => {}
        }
    }

    /// Now that nothing of the Pod is left, so may its object go: this Pod, not a later one of its name.
    async fn delete_object(&self) {
        let (name, namespace, uid) = self.identity();
        let pods: Api<Pod> = Api::namespaced(self.node.client.clone(), &namespace);
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions { uid: Some(uid), resource_version: None }),
            ..DeleteParams::default()
        };
        for pause in [100, 1000, 5000] {
            match pods.delete(&name, &params).await {
                Ok(_) => return,
                Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => return,
                Err(error) => tracing::warn!("cannot delete Pod {name}: {error}"),
            }
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use serde_json::json;

    #[test]
    fn who_decides_the_grace() {
        let wish = |spec: Option<i64>, deletion: Option<i64>, end| Wish {
            pod: Arc::new(
                serde_json::from_value(json!({
                    "metadata": {"deletionGracePeriodSeconds": deletion},
                    "spec": {"containers": [], "terminationGracePeriodSeconds": spec},
                }))
                .unwrap(),
            ),
            end,
            mirror: None,
        };
        assert_eq!(grace(&wish(None, None, None)), 30);
        assert_eq!(grace(&wish(Some(5), None, None)), 5);
        assert_eq!(grace(&wish(Some(5), Some(9), None)), 9);
        assert_eq!(grace(&wish(Some(5), Some(0), Some(End::Removed))), 2);
        assert_eq!(grace(&wish(Some(5), Some(9), Some(End::Shutdown(Duration::ZERO)))), 0);
        assert_eq!(grace(&wish(Some(5), Some(9), Some(End::Shutdown(Duration::from_millis(1500))))), 2);
        assert_eq!(grace(&wish(Some(5), Some(9), Some(End::Shutdown(Duration::from_mins(1))))), 9);
    }

    #[test]
    fn a_grace_goes_on_where_it_was() {
        let until: Timestamp = "2026-11-22T01:00:30Z".parse().unwrap();
        let wish = |end| Wish {
            pod: Arc::new(
                serde_json::from_value(json!({
                    "metadata": {"deletionGracePeriodSeconds": 30, "deletionTimestamp": until.to_string()},
                    "spec": {"containers": []},
                }))
                .unwrap(),
            ),
            end,
            mirror: None,
        };
        let left = |before: i64| rest_of_grace(&wish(None), until - jiff::SignedDuration::from_secs(before));
        // Just begun, half-way, over, long over, and with a clock that was set back by a day.
        assert_eq!([30, 15, 0, -900, 86_400].map(left), [30, 15, 2, 2, 30]);
        assert_eq!(rest_of_grace(&wish(Some(End::Shutdown(Duration::ZERO))), until), 0);
    }
}
