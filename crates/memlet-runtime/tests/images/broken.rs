//! Archives that are damaged or not for us: each its own clear error, and nothing left in the store.

use std::fs;
use std::os::unix::fs::symlink;

use memlet_runtime::images::{Digest, Error};
use serde_json::{Value, json};

use crate::build::{Bench, Files, Layer, OTHER_MACHINE, Recipe, Stored, archive, gzip, image, layout};

fn recipe() -> Recipe {
    let layers = ["one", "two"].map(|name| (Layer::new().file(name, name.as_bytes()).tar(), Stored::Gzip));
    Recipe { layers: layers.into(), ..image([]) }
}

/// The path of a blob, as stored.
fn path_of(bytes: &[u8]) -> String {
    format!("blobs/sha256/{}", Digest::of(bytes).hex())
}

#[track_caller]
fn refused(files: &Files) -> (Error, String) {
    let bench = Bench::new();
    told(&bench, bench.import(files).unwrap_err())
}

/// The error and its text, with the test's own folder as `~`.
#[track_caller]
fn told(bench: &Bench, error: Error) -> (Error, String) {
    bench.assert_empty();
    let text = error.to_string().replace(bench.folder.path().to_str().unwrap(), "~");
    (error, text)
}

pub(crate) fn not_images() {
    let refused = |bytes: &[u8]| {
        let bench = Bench::new();
        told(&bench, bench.import_bytes(bytes).unwrap_err()).1
    };
    insta::assert_snapshot!(refused(b""), @"~/image.tar is not an image: it is an empty file; give an OCI archive, an OCI layout folder or a docker-save tar");
    insta::assert_snapshot!(refused(&[b'x'; 4096]), @"~/image.tar is not an image: it is not a tar archive; give an OCI archive, an OCI layout folder or a docker-save tar");
    insta::assert_snapshot!(refused(&gzip(b"hello")), @"~/image.tar is not an image: it is not a tar archive; give an OCI archive, an OCI layout folder or a docker-save tar");
    insta::assert_snapshot!(refused(&Layer::new().file("etc/passwd", b"").tar()), @"~/image.tar is not an image: it is a tar archive without index.json or manifest.json; give an OCI archive, an OCI layout folder or a docker-save tar");
    insta::assert_snapshot!(refused(&archive(&Files::from([("repositories".into(), b"{}".to_vec())]))), @"~/image.tar is not an image: it is a docker-save tar from before Docker 1.10, without manifest.json; give an OCI archive, an OCI layout folder or a docker-save tar");
    insta::assert_snapshot!(refused(&archive(&layout(Files::new(), &[]))), @"~/image.tar is not an image: its index.json lists no image; give an OCI archive, an OCI layout folder or a docker-save tar");
    let bench = Bench::new();
    let import =
        |path: &str| told(&bench, bench.store.import(&bench.path(path), None, &mut |_| ()).unwrap_err()).1;
    insta::assert_snapshot!(import("none.tar"), @"cannot open ~/none.tar");
    fs::create_dir(bench.path("folder")).unwrap();
    insta::assert_snapshot!(import("folder"), @"~/folder is not an image: it is a folder without index.json; give an OCI archive, an OCI layout folder or a docker-save tar");
    let (_, text) = self::refused(&Files::from([("manifest.json".into(), b"[{".to_vec())]));
    insta::assert_snapshot!(text, @"~/image.tar is damaged: manifest.json cannot be read; export the image again");
}

/// Every byte of a compressed layer matters, whether or not the decompressor stumbles over it.
pub(crate) fn corrupted_layers() {
    for how in [Stored::Plain, Stored::Gzip, Stored::Zstd] {
        let mut recipe = recipe();
        recipe.layers[1].1 = how;
        let stored = how.bytes(&recipe.layers[1].0);
        for at in [0, 9, stored.len() / 2, stored.len() - 1] {
            let mut files = recipe.oci();
            files.get_mut(&path_of(&stored)).unwrap()[at] ^= 0x40;
            let (error, text) = refused(&files);
            let blob = Digest::of(&stored);
            assert!(
                matches!(error, Error::DigestMismatch { blob: named, .. } if named == blob),
                "{at}: {text}"
            );
            assert!(text.contains(&blob.to_string()), "{text}");
        }
        // Appended bytes are no part of the layer either.
        let mut files = recipe.oci();
        files.get_mut(&path_of(&stored)).unwrap().extend([0; 1024]);
        assert!(matches!(refused(&files).0, Error::DigestMismatch { .. }));
    }
    let recipe = recipe();
    let mut files = recipe.docker_old();
    let layer = files.get_mut(&format!("{:064x}/layer.tar", 1)).unwrap();
    layer[512] ^= 1; // the file's content: the tar itself is still good
    let (error, _) = refused(&files);
    let diff_id = Digest::of(&recipe.layers[1].0);
    assert!(matches!(error, Error::DigestMismatch { blob, .. } if blob == diff_id));
}

pub(crate) fn corrupted_documents() {
    let recipe = recipe();
    let config = recipe.config_bytes();
    for mut files in [recipe.oci(), recipe.docker_old(), recipe.docker_new()] {
        let place = files.values().position(|content| *content == config).unwrap();
        files.values_mut().nth(place).unwrap().push(b' ');
        let (error, text) = refused(&files);
        assert!(matches!(error, Error::DigestMismatch { blob, .. } if blob == Digest::of(&config)), "{text}");
    }
}

pub(crate) fn missing_layer() {
    let recipe = recipe();
    let mut files = recipe.oci();
    let stored = Stored::Gzip.bytes(&recipe.layers[1].0);
    files.remove(&path_of(&stored)).unwrap();
    let (error, text) = refused(&files);
    assert!(matches!(error, Error::Missing { .. }));
    assert_eq!(
        text,
        format!(
            "~/image.tar lacks layer {}; export the image again, with all its layers",
            Digest::of(&stored)
        )
    );
    let mut files = recipe.docker_old();
    files.remove(&format!("{:064x}/layer.tar", 1)).unwrap();
    assert!(matches!(refused(&files).0, Error::Missing { .. }));
}

/// Changes the manifest of `recipe`'s layout and all digests above it.
fn with_manifest(recipe: &Recipe, change: impl FnOnce(&mut Value)) -> Files {
    let mut files = Files::new();
    let descriptor = recipe.add_to(&mut files);
    let digest: Digest = descriptor["digest"].as_str().unwrap().parse().unwrap();
    let manifest = files.remove(&format!("blobs/sha256/{}", digest.hex())).unwrap();
    let mut manifest: Value = serde_json::from_slice(&manifest).unwrap();
    change(&mut manifest);
    let media_type = "application/vnd.oci.image.manifest.v1+json";
    let descriptor = crate::build::add_blob(&mut files, media_type, serde_json::to_vec(&manifest).unwrap());
    layout(files, &[descriptor])
}

pub(crate) fn media_types() {
    let recipe = recipe();
    let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
    let files = with_manifest(&recipe, |manifest| manifest["layers"][0]["mediaType"] = json!(encrypted));
    let (error, text) = refused(&files);
    assert!(matches!(error, Error::UnsupportedMediaType { .. }));
    assert!(text.contains(encrypted), "{text}");
    let helm = "application/vnd.cncf.helm.config.v1+json";
    let files = with_manifest(&recipe, |manifest| manifest["config"]["mediaType"] = json!(helm));
    assert!(refused(&files).1.contains(helm));
    // Docker's own types mean the same as OCI's.
    let files = with_manifest(&recipe, |manifest| {
        manifest["config"]["mediaType"] = json!("application/vnd.docker.container.image.v1+json");
        manifest["layers"][0]["mediaType"] = json!("application/vnd.docker.image.rootfs.diff.tar.gzip");
    });
    Bench::new().import(&files).unwrap();
}

pub(crate) fn no_platform() {
    let other = Recipe { architecture: OTHER_MACHINE, name: Some("busybox:1"), ..recipe() };
    for files in [other.oci(), other.docker_old()] {
        let (error, text) = refused(&files);
        let Error::NoPlatform { wanted, .. } = error else { panic!("{text}") };
        assert_eq!(
            text,
            format!(
                "busybox:1 has no variant for this machine ({wanted}); it has linux/s390x; export it with --platform {wanted}"
            )
        );
    }
}

pub(crate) fn wrong_diff_id() {
    // A manifest that pairs the configuration with another image's layers.
    let other = recipe();
    let swapped = with_manifest(&recipe(), |manifest| {
        let layers = manifest["layers"].as_array_mut().unwrap();
        layers.swap(0, 1);
    });
    let (error, _) = refused(&swapped);
    let diff_id = Digest::of(&other.layers[0].0);
    assert!(matches!(error, Error::DigestMismatch { blob, .. } if blob == diff_id));
    let fewer = with_manifest(&recipe(), |manifest| {
        manifest["layers"].as_array_mut().unwrap().pop();
    });
    insta::assert_snapshot!(refused(&fewer).1, @"~/image.tar contradicts itself: its manifest has 1 layers, its configuration 2; export the image again");
}

pub(crate) fn truncated_archive() {
    let whole = archive(&recipe().docker_old());
    // The latest cut is just before the content of manifest.json: after it come 512 bytes of that, 1024 of
    // `repositories`, which nobody reads, and the end mark.
    for cut in (512..=whole.len() - 1024 - 1024 - 512).step_by(256) {
        let bench = Bench::new();
        let error = bench.import_bytes(&whole[..cut]);
        told(&bench, error.expect_err("a cut archive was imported"));
    }
}

/// A layout folder whose files are links to elsewhere.
pub(crate) fn layout_leading_outside() {
    let bench = Bench::new();
    let folder = bench.path("layout");
    fs::create_dir(&folder).unwrap();
    fs::write(bench.path("secret"), b"{}").unwrap();
    symlink(bench.path("secret"), folder.join("index.json")).unwrap();
    let error = bench.store.import(&folder, None, &mut |_| ()).unwrap_err();
    assert!(matches!(error, Error::NotAnImage { .. }));

    let bench = Bench::new();
    let outside = json!([{ "Config": "../../etc/passwd", "RepoTags": null, "Layers": [] }]);
    let files = Files::from([("manifest.json".into(), serde_json::to_vec(&outside).unwrap())]);
    let (error, _) = told(&bench, bench.import(&files).unwrap_err());
    assert!(matches!(error, Error::Missing { .. }));
}
