//! The image of a container: is it there, may it be pulled, and when again if that failed.
//!
//! kubelet's `EnsureImageExists` (`pkg/kubelet/images/image_manager.go`).

use std::collections::HashMap;
use std::time::Instant;

use jiff::Timestamp;
use k8s_cri::v1::{Image, PodSandboxConfig};
use k8s_openapi::api::core::v1::Container;
use memlet_policy::backoff::{self, BackOff, Growth};

use crate::cri::Cri;
use crate::events::Severity;
use crate::steady;

/// Why a container has no image, as its waiting state tells it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NoImage {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
    /// When to try again, by the [`steady`] clock; `None`: the Pod must change first, or the image come by itself.
    pub(crate) retry_at: Option<Timestamp>,
}

/// `imagePullPolicy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PullPolicy {
    Always,
    IfNotPresent,
    Never,
}

impl PullPolicy {
    /// By the container, else as the API server fills in: Always for `latest` or no tag.
    fn of(container: &Container) -> Self {
        match container.image_pull_policy.as_deref() {
            Some("Always") => Self::Always,
            Some("Never") => Self::Never,
            Some("IfNotPresent") => Self::IfNotPresent,
            _ if is_latest(container.image.as_deref().unwrap_or_default()) => Self::Always,
            _ => Self::IfNotPresent,
        }
    }
}

fn is_latest(image: &str) -> bool {
    let name = image.rsplit('/').next().unwrap_or(image);
    if name.contains('@') {
        return false;
    }
    name.split_once(':').is_none_or(|(_, tag)| tag == "latest")
}

/// A Pod's failed pulls.
#[derive(Debug, Default)]
pub(crate) struct Pulls(HashMap<String, Failed>);

#[derive(Debug)]
struct Failed {
    back_off: BackOff,
    /// `ErrImagePull: …`, as the back-off's message repeats it.
    last: String,
}

/// Something to tell about the container in an Event.
pub(crate) type Tell<'a> = dyn Fn(Severity, &'static str, String) + Send + Sync + 'a;

impl Pulls {
    /// The image as the runtime has it, pulled first if the policy says so.
    pub(crate) async fn ensure(
        &mut self,
        cri: &Cri,
        container: &Container,
        sandbox: &PodSandboxConfig,
        tell: &Tell<'_>,
    ) -> Result<Image, NoImage> {
        let name = container.image.as_deref().unwrap_or_default();
        let policy = PullPolicy::of(container);
        let present = cri.image_status(name).await.map_err(|error| {
            let message = format!("Failed to inspect image \"{name}\": {error}");
            tell(Severity::Warning, "InspectFailed", message.clone());
            NoImage { reason: "ImageInspectError", message, retry_at: Some(soon()) }
        })?;
        match (present, policy) {
            (Some(image), PullPolicy::IfNotPresent | PullPolicy::Never) => {
                let text = format!(
                    "Container image \"{name}\" already present on machine and can be accessed by the pod"
                );
                tell(Severity::Normal, "Pulled", text);
                Ok(image)
            }
            (None, PullPolicy::Never) => {
                let message = format!("Container image \"{name}\" is not present with pull policy of Never");
                tell(Severity::Warning, "ErrImageNeverPull", message.clone());
                tell(Severity::Warning, "Failed", "Error: ErrImageNeverPull".to_owned());
                Err(NoImage { reason: "ErrImageNeverPull", message, retry_at: Some(soon()) })
            }
            (_, PullPolicy::Always | PullPolicy::IfNotPresent) => self.pull(cri, name, sandbox, tell).await,
        }
    }

    async fn pull(
        &mut self,
        cri: &Cri,
        name: &str,
        sandbox: &PodSandboxConfig,
        tell: &Tell<'_>,
    ) -> Result<Image, NoImage> {
        if let Some(no_image) = self.backing_off(name, steady::now()) {
            tell(Severity::Normal, "BackOff", backoff::image_pull_message(name, None));
            tell(Severity::Warning, "Failed", "Error: ImagePullBackOff".to_owned());
            return Err(no_image);
        }
        tell(Severity::Normal, "Pulling", format!("Pulling image \"{name}\""));
        let began = Instant::now();
        let pulled = match cri.pull_image(name, sandbox.clone()).await {
            Ok(_) => cri.image_status(name).await,
            Err(error) => Err(error),
        };
        match pulled {
            Ok(Some(image)) => {
                self.0.remove(name);
                let took = backoff::go_duration(std::time::Duration::from_millis(
                    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
                ));
                let text = format!(
                    "Successfully pulled image \"{name}\" in {took} ({took} including waiting). Image size: {} bytes.",
                    image.size
                );
                tell(Severity::Normal, "Pulled", text);
                Ok(image)
            }
            Ok(None) => Err(self.failed(name, "the runtime pulled it but does not have it", tell)),
            Err(error) => Err(self.failed(name, &error.to_string(), tell)),
        }
    }

    fn failed(&mut self, name: &str, error: &str, tell: &Tell<'_>) -> NoImage {
        tell(Severity::Warning, "Failed", format!("Failed to pull image \"{name}\": {error}"));
        tell(Severity::Warning, "Failed", "Error: ErrImagePull".to_owned());
        let now = steady::now();
        let failed = self
            .0
            .entry(name.to_owned())
            .or_insert_with(|| Failed { back_off: BackOff::new(Growth::IMAGE_PULL), last: String::new() });
        failed.back_off.failed(now);
        failed.last = format!("ErrImagePull: {error}");
        // At once, so that the status turns to ImagePullBackOff.
        NoImage { reason: "ErrImagePull", message: error.to_owned(), retry_at: Some(now) }
    }

    /// The wait that is not over.
    fn backing_off(&self, name: &str, now: Timestamp) -> Option<NoImage> {
        let failed = self.0.get(name)?;
        let wait = failed.back_off.wait_since_failure(now)?;
        Some(NoImage {
            reason: "ImagePullBackOff",
            message: backoff::image_pull_message(name, Some(&failed.last)),
            retry_at: Some(now + wait.left),
        })
    }
}

/// When an image that is missing, and may not be pulled, is looked for again.
fn soon() -> Timestamp {
    steady::now() + std::time::Duration::from_secs(10)
}

/// The image's name as a container's status has it: the runtime's word, or where that is only the id, as of a
/// runtime that repeats what it was asked for, the image's full name. Of several, the one that the Pod states.
pub(crate) fn shown_name(told: &str, image: &Image, stated: &str) -> String {
    if !told.is_empty() && told != image.id {
        return told.to_owned();
    }
    let is_stated = |tag: &&String| {
        let before = tag.strip_suffix(stated).or_else(|| tag.strip_suffix(":latest")?.strip_suffix(stated));
        before.is_some_and(|before| before.is_empty() || before.ends_with('/'))
    };
    let tags = &image.repo_tags;
    let tag = tags.iter().find(is_stated).or(tags.first()).map(String::as_str);
    tag.unwrap_or(if stated.is_empty() { told } else { stated }).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_names_the_image_in_full() {
        let image = Image {
            id: "sha256:5cef".into(),
            repo_tags: [
                "docker.io/anchor/memhog:1",
                "docker.io/library/busybox:1",
                "docker.io/library/busybox:latest",
                "registry:5000/box:1",
            ]
            .map(str::to_owned)
            .to_vec(),
            ..Image::default()
        };
        for (told, stated, expected) in [
            ("docker.io/library/busybox:latest", "busybox", "docker.io/library/busybox:latest"),
            ("sha256:5cef", "busybox", "docker.io/library/busybox:latest"),
            ("sha256:5cef", "busybox:1", "docker.io/library/busybox:1"),
            ("", "registry:5000/box:1", "registry:5000/box:1"),
            // Not the end of another's name.
            ("sha256:5cef", "sybox:1", "docker.io/anchor/memhog:1"),
            ("sha256:5cef", "sha256:5cef", "docker.io/anchor/memhog:1"),
        ] {
            assert_eq!(shown_name(told, &image, stated), expected, "{told} {stated}");
        }
        let nameless = Image { id: "sha256:5cef".into(), ..Image::default() };
        assert_eq!(shown_name("sha256:5cef", &nameless, "sha256:5cef"), "sha256:5cef");
    }

    #[test]
    fn the_policy_is_the_containers_or_follows_the_tag() {
        for (image, policy, expected) in [
            ("busybox", None, PullPolicy::Always),
            ("busybox:latest", None, PullPolicy::Always),
            ("busybox:1.36", None, PullPolicy::IfNotPresent),
            ("localhost:5000/busybox", None, PullPolicy::Always),
            ("localhost:5000/busybox:1", None, PullPolicy::IfNotPresent),
            ("busybox@sha256:00", None, PullPolicy::IfNotPresent),
            ("busybox", Some("Never"), PullPolicy::Never),
        ] {
            let container = Container {
                image: Some(image.to_owned()),
                image_pull_policy: policy.map(str::to_owned),
                ..Container::default()
            };
            assert_eq!(PullPolicy::of(&container), expected, "{image}");
        }
    }

    #[test]
    fn a_failed_pull_waits_and_repeats_why() {
        let mut pulls = Pulls::default();
        let told = std::sync::Mutex::new(Vec::new());
        let tell = |_, reason: &'static str, message: String| {
            told.lock().unwrap().push(format!("{reason}: {message}"));
        };
        let failed = pulls.failed("x:1", "rpc error: code = NotFound desc = no such image", &tell);
        assert_eq!(failed.reason, "ErrImagePull");
        let waits = pulls.backing_off("x:1", steady::now()).unwrap();
        insta::assert_snapshot!(waits.message, @r#"Back-off pulling image "x:1": ErrImagePull: rpc error: code = NotFound desc = no such image"#);
        assert_eq!(told.lock().unwrap().len(), 2);
        assert_eq!(pulls.backing_off("x:1", steady::now() + std::time::Duration::from_secs(11)), None);
    }
}
