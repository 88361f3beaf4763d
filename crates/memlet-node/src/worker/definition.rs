//! The spec asks for another image than the one that was started: the container ends with the Pod's grace, and starts
//! again whatever `restartPolicy` says (kubelet's `containerChanged`). No other field of a container can be changed.

use std::time::Duration;

use k8s_openapi::api::core::v1::{Container, Pod, PodSpec};
use memlet_policy::backoff::{BackOff, Growth};
use memlet_policy::resources;

use super::{Place, Worker};
use crate::events::Severity;
use crate::termination::DEFAULT_GRACE;

/// How long a runtime that did not end a container is left alone.
const RETRY: Duration = Duration::from_secs(10);

impl Worker {
    /// The object has changed: with another image a container is tried at once, however often the old one failed.
    pub(super) fn heed_images(&mut self, old: &Pod) {
        let Some(old) = &old.spec else { return };
        for place in self.places() {
            let image = self.container(place).image.clone();
            if container_at(old, place).is_none_or(|before| before.image == image) {
                continue;
            }
            let life = self.life_mut(place);
            life.back_off = BackOff::new(Growth::CONTAINER);
            life.retry_at = None;
            if life.instance.is_none() {
                life.image = image.unwrap_or_default();
            }
        }
    }

    /// Begins to end the running containers whose image the spec no longer names.
    pub(super) fn end_redefined(&mut self) {
        for index in 0..self.containers.len() {
            let place = Place::Regular(index);
            let life = self.life(place);
            let Some(id) = life.running_id().map(str::to_owned).filter(|_| !life.again) else { continue };
            let image = self.container(place).image.as_deref().unwrap_or_default();
            if life.asked_image.as_deref().is_none_or(|asked| asked == image) {
                continue;
            }
            let text = format!("Container {} definition changed, will be restarted", life.name);
            self.tell(Some(place), Severity::Normal, "Killing", text);
            let life = self.life_mut(place);
            life.again = true;
            life.back_off = BackOff::new(Growth::CONTAINER);
            let grace = self.spec().termination_grace_period_seconds.unwrap_or(DEFAULT_GRACE);
            let cri = self.node.cri.clone();
            self.stops.spawn(async move {
                while let Err(error) = cri.stop_container(&id, grace).await {
                    tracing::warn!("cannot stop a container: {error}");
                    tokio::time::sleep(RETRY).await;
                }
            });
        }
    }
}

fn container_at(spec: &PodSpec, place: Place) -> Option<&Container> {
    match place {
        Place::Init(index) => resources::init_containers(spec).get(index),
        Place::Regular(index) => spec.containers.get(index),
    }
}
