//! CRI's image service. Pulling from registries is not there yet: it says how to import instead.

use k8s_cri::v1::image_service_server::ImageService;
use k8s_cri::v1::{
    Image, ImageFsInfoRequest, ImageFsInfoResponse, ImageSpec, ImageStatusRequest, ImageStatusResponse,
    ListImagesRequest, ListImagesResponse, PullImageRequest, PullImageResponse, RemoveImageRequest,
    RemoveImageResponse,
};
use tonic::{Request, Response, Status};

use super::Runtime;
use crate::causes::chain;
use crate::images;
use crate::workload::Workload;

#[tonic::async_trait]
impl ImageService for Runtime {
    async fn list_images(
        &self,
        _request: Request<ListImagesRequest>,
    ) -> Result<Response<ListImagesResponse>, Status> {
        let mut listed: Vec<_> = Workload::ALL.into_iter().map(builtin).collect();
        listed.extend(
            self.images().await.and_then(images::ImageStore::list).map_err(internal)?.iter().map(stored),
        );
        Ok(Response::new(ListImagesResponse { images: listed }))
    }

    async fn image_status(
        &self,
        request: Request<ImageStatusRequest>,
    ) -> Result<Response<ImageStatusResponse>, Status> {
        let name = name_in(request.into_inner().image)?;
        let image = if let Some(workload) = Workload::from_image(&name) {
            Some(builtin(workload))
        } else {
            let found = self.images().await.and_then(|images| images.find(&name)).map_err(internal)?;
            found.as_ref().map(stored)
        };
        Ok(Response::new(ImageStatusResponse { image, ..Default::default() }))
    }

    async fn pull_image(
        &self,
        request: Request<PullImageRequest>,
    ) -> Result<Response<PullImageResponse>, Status> {
        let name = name_in(request.into_inner().image)?;
        if let Some(workload) = Workload::from_image(&name) {
            return Ok(Response::new(PullImageResponse { image_ref: workload.image() }));
        }
        // imagePullPolicy Always asks even for what is here; an image that was imported is as new as it gets.
        if let Some(image) = self.images().await.and_then(|images| images.find(&name)).map_err(internal)? {
            return Ok(Response::new(PullImageResponse { image_ref: image.id.to_string() }));
        }
        if name.starts_with(&format!("{}/", crate::workload::REGISTRY)) {
            let known: Vec<_> = Workload::ALL.into_iter().map(Workload::image).collect();
            return Err(Status::not_found(format!(
                "there is no built-in image {name:?}; there are {}",
                known.join(" and ")
            )));
        }
        Err(Status::not_found(format!(
            "image {name:?} is not in the image store, and pulling from a registry is not possible yet; \
             import it from an OCI archive or a `docker save` file: memlet image import FILE --tag {name}"
        )))
    }

    async fn remove_image(
        &self,
        request: Request<RemoveImageRequest>,
    ) -> Result<Response<RemoveImageResponse>, Status> {
        let name = name_in(request.into_inner().image)?;
        self.images().await.and_then(|images| images.remove(&name)).map_err(internal)?;
        Ok(Response::new(RemoveImageResponse {}))
    }

    async fn image_fs_info(
        &self,
        _request: Request<ImageFsInfoRequest>,
    ) -> Result<Response<ImageFsInfoResponse>, Status> {
        Err(Status::unimplemented("image filesystem usage is not measured yet"))
    }
}

fn name_in(spec: Option<ImageSpec>) -> Result<String, Status> {
    match spec {
        Some(spec) if !spec.image.is_empty() => Ok(spec.image),
        _ => Err(Status::invalid_argument("the request names no image")),
    }
}

#[allow(clippy::needless_pass_by_value, reason = "handed to map_err")]
fn internal(error: images::Error) -> Status {
    Status::internal(chain(&error))
}

/// A built-in image is the program itself, and as large.
fn builtin(workload: Workload) -> Image {
    let name = format!("{}:latest", workload.image());
    let size = std::fs::metadata("/proc/self/exe").map_or(0, |program| program.len());
    Image { id: workload.image(), repo_tags: vec![name], size, ..Default::default() }
}

fn stored(image: &images::Image) -> Image {
    Image {
        id: image.id.to_string(),
        repo_tags: image.names.iter().map(ToString::to_string).collect(),
        size: image.size.get(),
        username: image.config.user.clone().unwrap_or_default(),
        ..Default::default()
    }
}
