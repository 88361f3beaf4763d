//! Each format that the store reads.

use std::fs;
use std::io::Write;
use std::os::unix::fs::symlink;

use memlet_runtime::images::{Digest, Image, ImageName, Progress};
use serde_json::json;

use crate::build::{
    Bench, Files, Layer, OTHER_MACHINE, Recipe, Stored, THIS_MACHINE, add_blob, archive, gzip, image, layout,
    names,
};

fn recipe() -> Recipe {
    let mut recipe = image([]);
    for (name, how) in [("plain", Stored::Plain), ("gzip", Stored::Gzip), ("zstd", Stored::Zstd)] {
        recipe.layers.push((Layer::new().file(name, name.as_bytes()).tar(), how));
    }
    recipe
}

#[track_caller]
fn check(bench: &Bench, images: &[Image]) {
    let [image] = images else { panic!("{} images", images.len()) };
    assert_eq!(image.id, Digest::of(&recipe().config_bytes()));
    assert_eq!(image.names, ["example.org/test:1".parse().unwrap()]);
    assert_eq!(bench.store.find("example.org/test:1").unwrap().as_ref(), Some(image));
    assert_eq!(bench.store.list().unwrap(), images);
    for (tar, _) in recipe().layers {
        let folder = bench.path("store/layers").join(Digest::of(&tar).hex()).join("fs");
        let [name] = &names(&folder)[..] else { panic!("{} has not one file", folder.display()) };
        assert_eq!(fs::read_to_string(folder.join(name)).unwrap(), *name);
    }
    assert_eq!(names(&bench.path("store/tmp")), Vec::<String>::new());
}

pub(crate) fn oci_archive() {
    let bench = Bench::new();
    let images = bench.import(&recipe().oci()).unwrap();
    check(&bench, &images);
    assert!(images[0].digest.is_some());
}

pub(crate) fn oci_folder() {
    let bench = Bench::new();
    let folder = bench.path("layout");
    for (path, content) in recipe().oci() {
        let path = folder.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    check(&bench, &bench.store.import(&folder, None, &mut |_| ()).unwrap());
}

pub(crate) fn docker_old() {
    let bench = Bench::new();
    let images = bench.import(&recipe().docker_old()).unwrap();
    check(&bench, &images);
    assert_eq!(images[0].digest, None);

    // Docker links a layer that occurs twice to its first copy.
    let bench = Bench::new();
    let mut twice = recipe();
    twice.layers = vec![twice.layers[0].clone(), twice.layers[0].clone()];
    let mut files = twice.docker_old();
    let (first, second) = (format!("{:064x}/layer.tar", 0), format!("{:064x}/layer.tar", 1));
    files.remove(&second);
    let mut builder = tar::Builder::new(Vec::new());
    let mut link = tar::Header::new_gnu();
    link.set_entry_type(tar::EntryType::Symlink);
    link.set_size(0);
    builder.append_link(&mut link, &second, format!("../{first}")).unwrap();
    let mut bytes = builder.into_inner().unwrap();
    bytes.truncate(bytes.len() - 1024); // the end mark
    bytes.extend(archive(&files));
    assert_eq!(bench.import_bytes(&bytes).unwrap().len(), 1);
    assert_eq!(names(&bench.path("store/layers")).len(), 1);
}

pub(crate) fn docker_new() {
    let bench = Bench::new();
    let images = bench.import(&recipe().docker_new()).unwrap();
    check(&bench, &images);
    assert!(images[0].digest.is_some());
}

pub(crate) fn compressed_archive() {
    for compress in [gzip as fn(&[u8]) -> Vec<u8>, |bytes| zstd::encode_all(bytes, 1).unwrap()] {
        let bench = Bench::new();
        check(&bench, &bench.import_bytes(&compress(&archive(&recipe().oci()))).unwrap());
    }
}

pub(crate) fn pipe() {
    let bench = Bench::new();
    let (reader, mut writer) = std::io::pipe().unwrap();
    let path = bench.path("pipe");
    symlink(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader)), &path).unwrap();
    let bytes = archive(&recipe().docker_old());
    let writing = std::thread::spawn(move || writer.write_all(&bytes).unwrap());
    let mut copied = 0;
    let images = bench
        .store
        .import(&path, None, &mut |progress| {
            if let Progress::Copying { copied: now } = progress {
                copied = now.get();
            }
        })
        .unwrap();
    writing.join().unwrap();
    check(&bench, &images);
    assert!(copied > 0);
}

pub(crate) fn several_images() {
    let bench = Bench::new();
    let mut files = Files::new();
    let one = Recipe { name: Some("one:latest"), ..image([Layer::new().file("one", b"1")]) };
    let two = Recipe { name: Some("two:2"), ..image([Layer::new().file("two", b"2")]) };
    let again = Recipe { name: Some("again:3"), ..image([Layer::new().file("two", b"2")]) };
    let descriptors = [one.add_to(&mut files), two.add_to(&mut files), again.add_to(&mut files)];
    let files = layout(files, &descriptors);
    let images = bench.import(&files).unwrap();
    let found: Vec<Vec<String>> =
        images.iter().map(|image| image.names.iter().map(ImageName::familiar).collect()).collect();
    assert_eq!(found, [vec!["one"], vec!["again:3", "two:2"]]);

    let tag = "mine".parse().unwrap();
    let error = bench.store.import(&bench.path("image.tar"), Some(&tag), &mut |_| ()).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with("holds 2 images, so one name cannot be given to all; import it without a tag")
    );
}

/// A multi-platform index with an attestation, below the layout's own index.
pub(crate) fn platforms() {
    let bench = Bench::new();
    let mut files = Files::new();
    let mut other = image([Layer::new().file("other", b"")]);
    other.architecture = OTHER_MACHINE;
    let mut this = recipe();
    (other.name, this.name) = (None, None);
    let mut below = Vec::new();
    for recipe in [&other, &this] {
        let mut descriptor = recipe.add_to(&mut files);
        descriptor["platform"] = json!({ "os": "linux", "architecture": recipe.architecture });
        below.push(descriptor);
    }
    let mut attestation = below[0].clone();
    attestation["digest"] = json!(Digest::of(b"not there").to_string());
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    attestation["annotations"] = json!({ "vnd.docker.reference.type": "attestation-manifest" });
    below.insert(0, attestation);
    let index = json!({ "schemaVersion": 2, "manifests": below });
    let media_type = "application/vnd.oci.image.index.v1+json";
    let mut top = add_blob(&mut files, media_type, serde_json::to_vec(&index).unwrap());
    top["annotations"] =
        json!({ "io.containerd.image.name": "example.org/test:1", "org.opencontainers.image.ref.name": "1" });
    // Docker leaves out the blobs of other platforms.
    files.remove(&format!("blobs/sha256/{}", Digest::of(&other.config_bytes()).hex()));
    let images = bench.import(&layout(files, &[top])).unwrap();
    check(&bench, &images);
    assert_eq!(images[0].platform.architecture, THIS_MACHINE);
}

pub(crate) fn names_from_annotations() {
    let table: [(Option<&'static str>, &[&str]); 4] = [
        (Some("latest"), &[]),
        (Some("busybox:1"), &["busybox:1"]),
        (Some("localhost/a"), &["localhost/a"]),
        (None, &[]),
    ];
    for (annotation, expected) in table {
        let bench = Bench::new();
        let image = bench.import(&Recipe { name: annotation, ..recipe() }.oci()).unwrap().remove(0);
        let names: Vec<String> = image.names.iter().map(ImageName::familiar).collect();
        assert_eq!(names, expected, "{annotation:?}");
        assert_eq!(bench.store.find(&image.id.short()).unwrap(), Some(image));
    }
}

pub(crate) fn configuration() {
    let bench = Bench::new();
    let config = json!({
        "Entrypoint": ["/bin/app"], "Cmd": ["--serve", "80"], "Env": ["PATH=/bin", "A=b=c"], "WorkingDir": "/srv",
        "User": "app:web", "StopSignal": "SIGINT", "ExposedPorts": { "80/tcp": {} }, "Volumes": { "/data": {} },
        "Labels": { "a": "b" },
    });
    let image = bench.import(&Recipe { config, ..recipe() }.oci()).unwrap().remove(0);
    insta::assert_debug_snapshot!(image.config, @r#"
    ContainerConfig {
        entrypoint: [
            "/bin/app",
        ],
        cmd: [
            "--serve",
            "80",
        ],
        env: [
            "PATH=/bin",
            "A=b=c",
        ],
        working_dir: Some(
            "/srv",
        ),
        user: Some(
            "app:web",
        ),
        stop_signal: Some(
            "SIGINT",
        ),
        exposed_ports: [
            "80/tcp",
        ],
        volumes: [
            "/data",
        ],
        labels: {
            "a": "b",
        },
    }
    "#);
    assert_eq!(image.created.unwrap().to_string(), "2024-02-29T12:00:00Z");
    assert_eq!(image.size.get(), "plaingzipzstd".len() as u64);

    // Docker writes null and "" for what is not set.
    let config = json!({
        "Entrypoint": null, "Cmd": null, "Env": null, "WorkingDir": "", "User": "", "Labels": null, "Volumes": null,
        "ExposedPorts": null, "OnBuild": null, "ArgsEscaped": true,
    });
    let image = bench.import(&Recipe { config, ..recipe() }.docker_old()).unwrap().remove(0);
    assert_eq!(image.config, memlet_runtime::images::ContainerConfig::default());
}

pub(crate) fn tag_replaces_names() {
    let bench = Bench::new();
    let path = bench.path("image.tar");
    fs::write(&path, archive(&recipe().oci())).unwrap();
    let tag = "mine:2".parse().unwrap();
    let images = bench.store.import(&path, Some(&tag), &mut |_| ()).unwrap();
    assert_eq!(images[0].names, [tag]);
    assert_eq!(bench.store.find("example.org/test:1").unwrap(), None);
    let digest = images[0].digest.unwrap();
    let error = bench.store.import(&path, Some(&format!("a@{digest}").parse().unwrap()), &mut |_| ());
    assert!(error.unwrap_err().to_string().contains("names a digest"));
}
