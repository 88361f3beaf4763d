//! Makes images in the test itself: layers entry by entry, and the files around them.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use memlet_runtime::images::{Digest, Error, Image, ImageStore};
use serde_json::{Value, json};
use tar::{EntryType, Header};
use tempfile::TempDir;

/// A layer's tar. Paths are written as they are, also those that an honest tool refuses.
pub(crate) struct Layer(tar::Builder<Vec<u8>>);

impl Layer {
    pub(crate) fn new() -> Self {
        Self(tar::Builder::new(Vec::new()))
    }

    fn header(kind: EntryType, path: &str, mode: u32) -> Header {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_600_000_000);
        header.set_size(0);
        header
    }

    pub(crate) fn entry(mut self, kind: EntryType, path: &str, change: impl FnOnce(&mut Header)) -> Self {
        let mut header = Self::header(kind, path, 0o644);
        change(&mut header);
        header.set_cksum();
        self.0.append(&header, std::io::empty()).unwrap();
        self
    }

    pub(crate) fn folder(self, path: &str, mode: u32) -> Self {
        self.entry(EntryType::Directory, path, |header| header.set_mode(mode))
    }

    pub(crate) fn file(self, path: &str, content: &[u8]) -> Self {
        self.file_with_mode(path, content, 0o644)
    }

    #[allow(dead_code, reason = "only what is run needs programs")]
    pub(crate) fn program(self, path: &str, content: &[u8]) -> Self {
        self.file_with_mode(path, content, 0o755)
    }

    fn file_with_mode(mut self, path: &str, content: &[u8], mode: u32) -> Self {
        let mut header = Self::header(EntryType::Regular, path, mode);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn link(self, kind: EntryType, path: &str, target: &str) -> Self {
        self.entry(kind, path, |header| {
            header.as_gnu_mut().unwrap().linkname[..target.len()].copy_from_slice(target.as_bytes());
        })
    }

    pub(crate) fn symlink(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Symlink, path, target)
    }

    pub(crate) fn hard_link(self, path: &str, target: &str) -> Self {
        self.link(EntryType::Link, path, target)
    }

    /// Puts pax extensions before the next entry.
    pub(crate) fn pax(mut self, extensions: &[(&str, &[u8])]) -> Self {
        self.0.append_pax_extensions(extensions.iter().copied()).unwrap();
        self
    }

    pub(crate) fn tar(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

/// How a layer is stored.
#[derive(Clone, Copy)]
pub(crate) enum Stored {
    Plain,
    Gzip,
    Zstd,
}

impl Stored {
    pub(crate) fn bytes(self, tar: &[u8]) -> Vec<u8> {
        match self {
            Self::Plain => tar.to_vec(),
            Self::Gzip => gzip(tar),
            Self::Zstd => zstd::encode_all(tar, 1).unwrap(),
        }
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Plain => "application/vnd.oci.image.layer.v1.tar",
            Self::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Self::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        }
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// The files of an archive or a layout, by path.
pub(crate) type Files = BTreeMap<String, Vec<u8>>;

/// An image to be written in one of the formats.
pub(crate) struct Recipe {
    pub(crate) layers: Vec<(Vec<u8>, Stored)>,
    pub(crate) name: Option<&'static str>,
    pub(crate) architecture: &'static str,
    pub(crate) config: Value,
}

pub(crate) const THIS_MACHINE: &str = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
pub(crate) const OTHER_MACHINE: &str = "s390x";

pub(crate) fn image(layers: impl IntoIterator<Item = Layer>) -> Recipe {
    let layers = layers.into_iter().map(|layer| (layer.tar(), Stored::Gzip)).collect();
    Recipe { layers, name: Some("example.org/test:1"), architecture: THIS_MACHINE, config: json!({}) }
}

impl Recipe {
    pub(crate) fn config_bytes(&self) -> Vec<u8> {
        let diff_ids: Vec<String> = self.layers.iter().map(|(tar, _)| Digest::of(tar).to_string()).collect();
        let config = json!({
            "created": "2024-02-29T12:00:00Z", "os": "linux", "architecture": self.architecture,
            "config": self.config, "rootfs": { "type": "layers", "diff_ids": diff_ids },
        });
        serde_json::to_vec(&config).unwrap()
    }

    /// Adds the image's blobs; gives its manifest's descriptor.
    pub(crate) fn add_to(&self, files: &mut Files) -> Value {
        let config = add_blob(files, "application/vnd.oci.image.config.v1+json", self.config_bytes());
        let stored = self.layers.iter().map(|(tar, how)| (how.media_type(), how.bytes(tar)));
        let layers: Vec<Value> =
            stored.map(|(media_type, bytes)| add_blob(files, media_type, bytes)).collect();
        let manifest = json!({ "schemaVersion": 2, "config": config, "layers": layers });
        let media_type = "application/vnd.oci.image.manifest.v1+json";
        let mut descriptor = add_blob(files, media_type, serde_json::to_vec(&manifest).unwrap());
        if let Some(name) = self.name {
            descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
        }
        descriptor
    }

    /// As an OCI layout.
    pub(crate) fn oci(&self) -> Files {
        let mut files = Files::new();
        let descriptor = self.add_to(&mut files);
        layout(files, &[descriptor])
    }

    /// As `docker save` wrote it before version 25, with a link where two layers are the same.
    pub(crate) fn docker_old(&self) -> Files {
        let config = self.config_bytes();
        let config_name = format!("{}.json", Digest::of(&config).hex());
        let mut files = Files::from([(config_name.clone(), config)]);
        let mut paths = Vec::new();
        for (at, (tar, _)) in self.layers.iter().enumerate() {
            let path = format!("{at:064x}/layer.tar");
            files.insert(path.clone(), tar.clone());
            paths.push(path);
        }
        let table = json!([{ "Config": config_name, "RepoTags": [self.name], "Layers": paths }]);
        files.insert("manifest.json".into(), serde_json::to_vec(&table).unwrap());
        files.insert("repositories".into(), b"{}".to_vec());
        files
    }

    /// As `docker save` writes it since version 25: a layout with bare tags, and Docker's table.
    pub(crate) fn docker_new(&self) -> Files {
        let mut files = Files::new();
        let mut descriptor = self.add_to(&mut files);
        descriptor["annotations"] = json!({ "org.opencontainers.image.ref.name": "1" });
        let path = |digest: Digest| format!("blobs/sha256/{}", digest.hex());
        let layers: Vec<String> =
            self.layers.iter().map(|(tar, how)| path(Digest::of(&how.bytes(tar)))).collect();
        let config = path(Digest::of(&self.config_bytes()));
        let table = json!([{ "Config": config, "RepoTags": [self.name], "Layers": layers }]);
        files.insert("manifest.json".into(), serde_json::to_vec(&table).unwrap());
        layout(files, &[descriptor])
    }
}

pub(crate) fn add_blob(files: &mut Files, media_type: &str, bytes: Vec<u8>) -> Value {
    let digest = Digest::of(&bytes);
    let descriptor = json!({ "mediaType": media_type, "digest": digest.to_string(), "size": bytes.len() });
    files.insert(format!("blobs/sha256/{}", digest.hex()), bytes);
    descriptor
}

/// Adds the top of a layout.
pub(crate) fn layout(mut files: Files, descriptors: &[Value]) -> Files {
    let index = json!({ "schemaVersion": 2, "manifests": descriptors });
    files.insert("index.json".into(), serde_json::to_vec(&index).unwrap());
    files.insert("oci-layout".into(), br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec());
    files
}

pub(crate) fn archive(files: &Files) -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    for (path, content) in files {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        builder.append_data(&mut header, path, Cursor::new(content)).unwrap();
    }
    builder.into_inner().unwrap()
}

/// A store in a folder of its own, with room beside it for archives.
pub(crate) struct Bench {
    pub(crate) folder: TempDir,
    pub(crate) store: ImageStore,
}

impl Bench {
    pub(crate) fn new() -> Self {
        let folder = TempDir::new().unwrap();
        let store = ImageStore::open(&folder.path().join("store")).unwrap();
        Self { folder, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Imports a layout's files as an archive.
    pub(crate) fn import(&self, files: &Files) -> Result<Vec<Image>, Error> {
        self.import_bytes(&archive(files))
    }

    pub(crate) fn import_bytes(&self, bytes: &[u8]) -> Result<Vec<Image>, Error> {
        let path = self.path("image.tar");
        fs::write(&path, bytes).unwrap();
        self.store.import(&path, None, &mut |_| ())
    }

    /// Imports one image.
    pub(crate) fn image(&self, layers: impl IntoIterator<Item = Layer>) -> Result<Image, Error> {
        Ok(self.import(&image(layers).oci())?.remove(0))
    }

    /// The unpacked folder of the only layer that `layer` becomes.
    pub(crate) fn unpacked(&self, layer: Layer) -> Result<PathBuf, Error> {
        let tar = layer.tar();
        let key = Digest::of(&tar).hex();
        let recipe = Recipe { layers: vec![(tar, Stored::Plain)], ..image([]) };
        self.import(&recipe.oci())?;
        Ok(self.path("store/layers").join(key).join("fs"))
    }

    /// Everything in the store's folder that would be there if nothing had been imported, and what is besides.
    #[track_caller]
    pub(crate) fn assert_empty(&self) {
        assert_eq!(self.store.list().unwrap(), []);
        for folder in ["images", "layers", "mounts", "tmp"] {
            let path = self.path("store").join(folder);
            assert_eq!(names(&path), Vec::<String>::new(), "left behind in {folder}");
        }
    }
}

pub(crate) fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}
