//! The images that a node says it has (`status.images`), as kubelet lists them (`pkg/kubelet/nodestatus`): by size, the
//! largest first, and no more than fifty.

use k8s_cri::v1::Image;
use k8s_openapi::api::core::v1::ContainerImage;

use crate::cri::Cri;

/// kubelet's `nodeStatusMaxImages`.
const MOST_IMAGES: usize = 50;
/// kubelet's `maxNamesPerImageInNodeStatus`.
const MOST_NAMES: usize = 5;

/// What the runtime has now; `None` where it does not say.
pub(crate) async fn list(cri: &Cri) -> Option<Vec<ContainerImage>> {
    let images = cri.list_images().await;
    images.inspect_err(|error| tracing::debug!("cannot list the images: {error}")).ok().map(shown)
}

fn shown(mut images: Vec<Image>) -> Vec<ContainerImage> {
    images.sort_by(|a, b| b.size.cmp(&a.size).then_with(|| a.id.cmp(&b.id)));
    images.truncate(MOST_IMAGES);
    let shown = images.into_iter().map(|image| {
        let names: Vec<_> = image.repo_digests.into_iter().chain(image.repo_tags).take(MOST_NAMES).collect();
        ContainerImage {
            names: (!names.is_empty()).then_some(names),
            size_bytes: i64::try_from(image.size).ok(),
        }
    });
    shown.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first_and_not_all() {
        let image = |number: u64| Image {
            id: number.to_string(),
            repo_tags: (0..number % 8).map(|tag| format!("i:{tag}")).collect(),
            size: number * 1000,
            ..Image::default()
        };
        let shown = shown((0..60).map(image).collect());
        assert_eq!(
            (shown.len(), shown[0].size_bytes, shown[49].size_bytes),
            (50, Some(59_000), Some(10_000))
        );
        assert_eq!(shown[0].names.as_ref().map(Vec::len), Some(3));
        assert_eq!(shown[4].names.as_ref().map(Vec::len), Some(5), "of seven");
        assert_eq!(shown[3].names, None);
    }
}
