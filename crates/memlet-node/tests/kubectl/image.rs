//! A busybox image as an OCI layout, made here.

use std::fs;
use std::path::Path;

use memlet_runtime::images::{Digest, ImageStore};
use serde_json::{Value, json};

/// The name of the image.
pub(crate) const BUSYBOX: &str = "example.org/busybox:1";

const PROGRAMS: [&str; 14] =
    ["sh", "cat", "echo", "id", "sleep", "stty", "tty", "seq", "head", "kill", "tar", "ls", "mkdir", "true"];

/// Imports it into the store at `images`.
pub(crate) fn import(images: &Path, scratch: &Path) {
    let layer = layer();
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let layout = scratch.join("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    let blob = |media_type: &str, bytes: &[u8]| -> Value {
        let digest = Digest::of(bytes);
        fs::write(layout.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": media_type, "digest": digest.to_string(), "size": bytes.len()})
    };
    let config = json!({
        "os": "linux", "architecture": architecture,
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [Digest::of(&layer).to_string()]},
    });
    let manifest = json!({
        "schemaVersion": 2,
        "config": blob("application/vnd.oci.image.config.v1+json", config.to_string().as_bytes()),
        "layers": [blob("application/vnd.oci.image.layer.v1.tar", &layer)],
    });
    let mut descriptor = blob("application/vnd.oci.image.manifest.v1+json", manifest.to_string().as_bytes());
    descriptor["annotations"] = json!({"org.opencontainers.image.ref.name": BUSYBOX});
    let index = json!({"schemaVersion": 2, "manifests": [descriptor]});
    fs::write(layout.join("index.json"), index.to_string()).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    ImageStore::open(images).unwrap().import(&layout, None, &mut |_| ()).unwrap();
}

fn layer() -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let header = |kind, mode, size| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header
    };
    for (folder, mode) in [("bin", 0o755), ("etc", 0o755), ("tmp", 0o1777)] {
        tar.append_data(&mut header(tar::EntryType::Directory, mode, 0), folder, std::io::empty()).unwrap();
    }
    let busybox = fs::read("/bin/busybox").unwrap();
    let size = busybox.len() as u64;
    tar.append_data(&mut header(tar::EntryType::Regular, 0o755, size), "bin/busybox", &*busybox).unwrap();
    for name in PROGRAMS {
        let mut header = header(tar::EntryType::Symlink, 0o777, 0);
        tar.append_link(&mut header, format!("bin/{name}"), "busybox").unwrap();
    }
    let passwd = b"root:x:0:0::/:/bin/sh\n";
    let size = passwd.len() as u64;
    tar.append_data(&mut header(tar::EntryType::Regular, 0o644, size), "etc/passwd", &passwd[..]).unwrap();
    tar.into_inner().unwrap()
}
