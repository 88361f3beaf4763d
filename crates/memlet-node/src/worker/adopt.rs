//! A Pod that an earlier run of this agent began: what there is of it is taken over as it is.

use k8s_cri::v1::ContainerState;
use k8s_openapi::api::core::v1::ContainerStatus;
use memlet_diagnosis::evidence::Victim;

use super::exit;
use super::{InstanceFacts, News, Place, Sandbox, Worker};
use crate::adoption::life::Relation;
use crate::adoption::{self, Found, FoundContainer, Known};
use crate::life::{Ended, Instance, Life};
use crate::status::Failure;

/// What a worker begins with.
#[derive(Debug)]
pub(crate) struct Adoption {
    pub(crate) found: Found,
    pub(crate) known: std::sync::Arc<Known>,
}

impl Worker {
    /// Takes over what is there.
    pub(super) async fn adopt(&mut self, adoption: Adoption) {
        let Adoption { found, known } = adoption;
        if let Some(start_time) = &self.status.start_time {
            self.start_time = start_time.0;
        }
        // The Pod stays failed, and for the same reason.
        self.failure = Failure::of_status(&self.status);
        self.admitted = true;
        self.resumed = true;
        if let Some(eviction) = known.unended_eviction(&self.identity().2) {
            self.recall_order(eviction, &found);
        }
        self.adopt_sandbox(&found, &known).await;
        for place in self.places() {
            let name = self.container(place).name.clone();
            let instances = found.containers.iter().filter(|container| container.name == name);
            self.adopt_container(place, instances.cloned().collect(), &known).await;
        }
        self.node.pressure.pods.met(&self.identity().2);
        if self.is_final() {
            self.tidy().await;
        }
    }

    async fn adopt_sandbox(&mut self, found: &Found, known: &Known) {
        let (best, others) = found.split_sandboxes();
        for useless in others {
            if let Err(error) = self.node.cri.remove_sandbox(&useless.id).await {
                tracing::warn!("cannot remove a sandbox: {error}");
            }
            self.node.witness.forget(&useless.id);
        }
        let Some(best) = best else {
            // What runs there has nobody: its sandbox was lost with all that the runtime knew.
            return self.node.kill_all_in(&self.cgroup).await;
        };
        self.sandbox_attempts = best.attempt + 1;
        self.sandbox = Some(Sandbox {
            config: self.sandbox_config(best.attempt),
            killed: known.has(&best.id, Victim::Sandbox),
            is_ready: best.is_ready,
            id: best.id.clone(),
        });
        self.node.witness.register(&best.id, self.tell_me.clone());
        self.enter_pressure();
    }

    async fn adopt_container(&mut self, place: Place, instances: Vec<FoundContainer>, known: &Known) {
        let (name, image) = (self.life(place).name.clone(), self.life(place).image.clone());
        if let Some(status) = self.said(place) {
            *self.life_mut(place) = Life::of_status(&name, &image, status);
        }
        let said = self.life(place).running_id().map(str::to_owned);
        if let Some(id) = said.filter(|id| instances.iter().all(|found| found.id != *id)) {
            self.lost_while_away(place, &id, known);
        }
        for found in instances {
            if found.state == ContainerState::ContainerCreated {
                // It never ran, and whoever made it is gone: it is made again when its time comes.
                if let Err(error) = self.node.cri.remove_container(&found.id).await {
                    tracing::warn!("cannot remove a container that was not started: {error}");
                }
                continue;
            }
            self.adopt_instance(place, found, known).await;
        }
        self.life_mut(place).resume_back_off();
        self.forget_older(place).await;
    }

    /// What the API has of the container.
    fn said(&self, place: Place) -> Option<&ContainerStatus> {
        let statuses = match place {
            Place::Init(_) => &self.status.init_container_statuses,
            Place::Regular(_) => &self.status.container_statuses,
        };
        statuses.iter().flatten().find(|status| status.name == self.life(place).name)
    }

    async fn adopt_instance(&mut self, place: Place, found: FoundContainer, known: &Known) {
        let FoundContainer { id, attempt, state, image, status: response, .. } = found;
        let file = self.termination_file(place, attempt);
        let mut facts = InstanceFacts::new(place, attempt, self.container_cgroup(&id), file);
        facts.recall(known, &id);
        self.instances.insert(id.clone(), facts);
        self.note_statement(&id, &response);
        if state == ContainerState::ContainerRunning {
            self.runs_under_pressure(place, &id);
        }
        let status = response.status.clone().unwrap_or_default();
        let started_at = exit::timestamp(status.started_at);
        match self.life(place).relation(&id, attempt) {
            Relation::Over => return self.let_rest(&id),
            Relation::New if started_at.is_none() => {
                // Its start failed, and nobody has said so yet.
                if known.kills(&id).is_empty() {
                    for report in self.node.witness.reports(&id) {
                        self.record_kill_while_starting(place, report);
                    }
                }
                let ended = Ended {
                    id: id.clone(),
                    exit_code: status.exit_code,
                    reason: if status.reason.is_empty() { "StartError".to_owned() } else { status.reason },
                    message: Some(status.message).filter(|message| !message.is_empty()),
                    started_at,
                    finished_at: exit::timestamp(status.finished_at).unwrap_or_else(jiff::Timestamp::now),
                };
                if known.death(&id).is_none() {
                    self.record_death(place, attempt, &ended, None);
                }
                self.life_mut(place).fail_to_start(ended);
                self.count_restarts(place, attempt);
                return self.let_rest(&id);
            }
            Relation::New => {
                self.life_mut(place).start(&id, started_at.unwrap_or_else(jiff::Timestamp::now));
                self.count_restarts(place, attempt);
            }
            Relation::Current => {
                if let (Some(Instance::Running { started_at, .. }), Some(exactly)) =
                    (&mut self.life_mut(place).instance, started_at)
                {
                    *started_at = exactly;
                }
            }
        }
        let life = self.life_mut(place);
        life.image_id.clone_from(&status.image_ref);
        life.asked_image = image;
        if let Some(death) = known.death(&id).and_then(|death| Ended::of_state(&death.state)) {
            // It was judged and recorded, but the API has not heard of it.
            self.life_mut(place).end(death);
            return self.let_rest(&id);
        }
        self.node.exits.add(&id, self.tell_me.clone());
        self.node.witness.register(&id, self.tell_me.clone());
        self.settle_known(&id, known);
        if state == ContainerState::ContainerExited {
            self.ended(&id, response).await;
        } else {
            self.watch_kills(&id);
            // It may have ended, or lost a process, since it was asked for.
            for news in [News::ContainerChanged(id.clone()), News::KillCounted(id)] {
                let _ = self.tell_me.send(news);
            }
        }
    }

    fn count_restarts(&mut self, place: Place, attempt: u32) {
        self.life_mut(place).restart_count = i32::try_from(attempt).unwrap_or(i32::MAX);
    }

    /// Its end is known: nothing more is to be heard of it.
    fn let_rest(&mut self, id: &str) {
        if let Some(facts) = self.instances.get_mut(id) {
            facts.rest();
        }
        self.node.witness.forget(id);
    }

    /// The API says that it runs, and the runtime does not know it any more.
    fn lost_while_away(&mut self, place: Place, id: &str, known: &Known) {
        if let Some(death) = known.death(id).and_then(|death| Ended::of_state(&death.state)) {
            // It had ended before it was removed.
            self.life_mut(place).end(death);
            return;
        }
        let attempt = u32::try_from(self.life(place).restart_count).unwrap_or_default();
        let (cgroup, file) = (self.container_cgroup(id), self.termination_file(place, attempt));
        let facts = InstanceFacts::new(place, attempt, cgroup, file);
        self.instances.insert(id.to_owned(), facts);
        self.lost(id);
        self.instances.remove(id);
    }

    /// Marks which of the kernel's reports were recorded before.
    fn settle_known(&mut self, id: &str, known: &Known) {
        let recorded: Vec<_> = known.kills(id).iter().filter_map(|kill| kill.report.as_ref()).collect();
        let heard = self.node.witness.reports(id);
        let again = heard.iter().filter(|heard| recorded.iter().any(|it| adoption::is_same_kill(it, heard)));
        if let Some(facts) = self.instances.get_mut(id) {
            facts.settle(again.map(|report| report.id));
        }
    }
}
