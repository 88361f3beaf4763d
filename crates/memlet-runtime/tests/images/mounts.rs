//! Real overlay mounts.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use memlet_runtime::images::{Error, Image};
use rustix::mount::UnmountFlags;
use tar::EntryType;

use crate::build::{Bench, Layer, image, names};

/// A mounted image, unmounted also when the test fails.
struct Mounted<'a> {
    bench: &'a Bench,
    folder: PathBuf,
    root: PathBuf,
}

impl<'a> Mounted<'a> {
    fn new(bench: &'a Bench, image: &Image, name: &str) -> Self {
        let folder = bench.path(name);
        let root = bench
            .store
            .mount(image, &folder)
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        Self { bench, folder, root }
    }

    fn read(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.bench.store.unmount(&self.folder) {
            eprintln!("{error}");
            let _ = rustix::mount::unmount(&self.root, UnmountFlags::DETACH);
        }
    }
}

fn is_mounted(folder: &Path) -> bool {
    fs::read_to_string("/proc/self/mountinfo").unwrap().contains(folder.to_str().unwrap())
}

pub(crate) fn shows_the_image() {
    let bench = Bench::new();
    let below = Layer::new()
        .folder("etc", 0o755)
        .file("etc/kept", b"below")
        .file("etc/changed", b"below")
        .file("etc/deleted", b"below")
        .folder("etc/replaced", 0o755)
        .file("etc/replaced/below", b"below")
        .folder("etc/opaque", 0o755)
        .file("etc/opaque/below", b"below");
    let above = Layer::new()
        .folder("etc", 0o755)
        .file("etc/changed", b"above")
        .file("etc/.wh.deleted", b"")
        .file("etc/replaced", b"now a file")
        .folder("etc/opaque", 0o755)
        .file("etc/opaque/.wh..wh..opq", b"")
        .file("etc/opaque/above", b"above");
    let image = bench.image([below, above]).unwrap();
    let mounted = Mounted::new(&bench, &image, "root");
    assert_eq!(names(&mounted.root.join("etc")), ["changed", "kept", "opaque", "replaced"]);
    assert_eq!(mounted.read("etc/kept").unwrap(), "below");
    assert_eq!(mounted.read("etc/changed").unwrap(), "above");
    assert_eq!(mounted.read("etc/deleted"), None);
    assert_eq!(mounted.read("etc/replaced").unwrap(), "now a file");
    assert_eq!(names(&mounted.root.join("etc/opaque")), ["above"]);
}

pub(crate) fn upper_is_writable_and_removed() {
    let bench = Bench::new();
    let image = bench.image([Layer::new().file("file", b"image's")]).unwrap();
    let one = Mounted::new(&bench, &image, "one");
    let two = Mounted::new(&bench, &image, "two");
    fs::write(one.root.join("file"), b"one's").unwrap();
    fs::remove_file(two.root.join("file")).unwrap();
    assert_eq!(one.read("file").unwrap(), "one's");
    assert_eq!(two.read("file"), None);
    let folder = one.folder.clone();
    assert!(is_mounted(&folder));
    drop(one);
    assert!(!is_mounted(&folder));
    assert_eq!(names(&folder), Vec::<String>::new());
    // The image itself has not changed.
    let again = Mounted::new(&bench, &image, "one");
    assert_eq!(again.read("file").unwrap(), "image's");
}

pub(crate) fn unmount_is_idempotent() {
    let bench = Bench::new();
    let image = bench.image([Layer::new().file("file", b"")]).unwrap();
    let mounted = Mounted::new(&bench, &image, "root");
    // Mounted over by mistake: all of it goes.
    bench.store.mount(&image, &mounted.folder).ok();
    for _ in 0..3 {
        bench.store.unmount(&mounted.folder).unwrap();
        assert!(!is_mounted(&mounted.folder));
    }
    bench.store.unmount(&bench.path("never-there")).unwrap();
    assert_eq!(names(&bench.path("store/mounts")), Vec::<String>::new());
}

/// More than fit into one page of options by their paths.
pub(crate) fn many_layers() {
    let bench = Bench::new();
    let layers =
        (0..120).map(|n| Layer::new().file("top", n.to_string().as_bytes()).file(&format!("f{n}"), b""));
    let image = bench.image(layers).unwrap();
    let mounted = Mounted::new(&bench, &image, "root");
    assert_eq!(mounted.read("top").unwrap(), "119");
    assert_eq!(names(&mounted.root).len(), 121);
}

/// `:` and `,` have a meaning in mount options.
pub(crate) fn odd_folder_names() {
    let bench = Bench::new();
    let image = bench.image([Layer::new().file("file", b"1"), Layer::new().file("file", b"2")]).unwrap();
    for name in ["with:colon", "with,comma", "with space", "with\\backslash", "with\"quote"] {
        assert_eq!(Mounted::new(&bench, &image, name).read("file").unwrap(), "2", "{name}");
    }
}

pub(crate) fn image_without_layers() {
    let bench = Bench::new();
    let image = bench.image([]).unwrap();
    let mounted = Mounted::new(&bench, &image, "root");
    assert_eq!(names(&mounted.root), Vec::<String>::new());
    fs::write(mounted.root.join("file"), b"").unwrap();
}

pub(crate) fn root_owner() {
    let bench = Bench::new();
    let plain = bench.image([Layer::new().file("a", b"")]).unwrap();
    let own = Layer::new().entry(EntryType::Directory, "./", |header| {
        header.set_mode(0o1750);
        header.set_uid(77);
    });
    let owned = bench.image([own, Layer::new().file("b", b"")]).unwrap();
    for (image, expected) in [(plain, (0o755, 0)), (owned, (0o1750, 77))] {
        let mounted = Mounted::new(&bench, &image, "root");
        let data = fs::metadata(&mounted.root).unwrap();
        assert_eq!((data.mode() & 0o7777, data.uid()), expected);
    }
}

pub(crate) fn removed_while_mounted() {
    let bench = Bench::new();
    let image = bench.image([Layer::new().file("file", b"still here")]).unwrap();
    let mounted = Mounted::new(&bench, &image, "root");
    bench.store.remove("example.org/test:1").unwrap();
    assert_eq!(bench.store.list().unwrap(), []);
    memlet_runtime::images::ImageStore::open(&bench.path("store")).unwrap();
    assert_eq!(mounted.read("file").unwrap(), "still here");
    drop(mounted);
    bench.assert_empty();
    let error = bench.store.mount(&image, &bench.path("root")).unwrap_err();
    assert!(matches!(error, Error::LostLayer { .. }), "{error}");
    assert!(!is_mounted(&bench.path("root")));
    // Somebody deleted a container's folder: its layers are not kept for ever.
    let again = bench.import(&image_files()).unwrap().remove(0);
    bench.store.mount(&again, &bench.path("lost")).unwrap();
    rustix::mount::unmount(bench.path("lost/merged"), UnmountFlags::empty()).unwrap();
    fs::remove_dir_all(bench.path("lost")).unwrap();
    bench.store.remove("example.org/test:1").unwrap();
    memlet_runtime::images::ImageStore::open(&bench.path("store")).unwrap();
    bench.assert_empty();
}

fn image_files() -> crate::build::Files {
    image([Layer::new().file("file", b"still here")]).oci()
}

pub(crate) fn busy_unmount() {
    let bench = Bench::new();
    let image = bench.image([Layer::new().file("file", b"")]).unwrap();
    let mounted = Mounted::new(&bench, &image, "root");
    let open = File::open(mounted.root.join("file")).unwrap();
    bench.store.unmount(&mounted.folder).unwrap();
    assert!(!is_mounted(&mounted.folder));
    assert_eq!(names(&mounted.folder), Vec::<String>::new());
    drop(open);
}
