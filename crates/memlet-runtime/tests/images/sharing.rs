//! Several images, several importers, and importers that die.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use memlet_runtime::images::{Error, ImageStore, Progress};

use crate::build::{Bench, Layer, Recipe, archive, image, names};

fn base() -> Layer {
    Layer::new().folder("etc", 0o755).file("etc/base", b"base")
}

fn with_name(name: &'static str, layers: impl IntoIterator<Item = Layer>) -> Recipe {
    Recipe { name: Some(name), ..image(layers) }
}

pub(crate) fn layers_are_shared() {
    let bench = Bench::new();
    bench.import(&with_name("one:latest", [base(), Layer::new().file("one", b"1")]).oci()).unwrap();
    let path = bench.path("image.tar");
    fs::write(
        &path,
        archive(&with_name("two:latest", [base(), Layer::new().file("two", b"2")]).docker_old()),
    )
    .unwrap();
    let mut steps = Vec::new();
    let mut listen = |progress| match progress {
        Progress::Shared { number, of, .. } => steps.push(format!("shared {number}/{of}")),
        Progress::Unpacking { number, of, read, length, .. } if read == length => {
            steps.push(format!("unpacked {number}/{of}"));
        }
        Progress::Saving => steps.push("saving".to_owned()),
        _ => (),
    };
    bench.store.import(&path, None, &mut listen).unwrap();
    steps.dedup();
    assert_eq!(steps, ["shared 1/2", "unpacked 2/2", "saving"]);
    assert_eq!(names(&bench.path("store/layers")).len(), 3);
}

pub(crate) fn remove_keeps_shared_layers() {
    let bench = Bench::new();
    let one = bench
        .import(&with_name("one:latest", [base(), Layer::new().file("one", b"1")]).oci())
        .unwrap()
        .remove(0);
    let two = bench
        .import(&with_name("two:latest", [base(), Layer::new().file("two", b"2")]).oci())
        .unwrap()
        .remove(0);
    let removed = bench.store.remove("one").unwrap();
    assert_eq!((removed.names, removed.deleted), (one.names, Some(one.id)));
    assert_eq!(names(&bench.path("store/layers")).len(), 2);
    assert_eq!(bench.store.list().unwrap(), std::slice::from_ref(&two));
    assert!(matches!(bench.store.remove("one"), Err(Error::NoSuchImage { .. })));
    bench.store.remove(&two.id.short()).unwrap();
    bench.assert_empty();
}

pub(crate) fn names_move() {
    let bench = Bench::new();
    let old = bench.import(&with_name("app:latest", [base()]).oci()).unwrap().remove(0);
    let new =
        bench.import(&with_name("app:latest", [Layer::new().file("new", b"")]).oci()).unwrap().remove(0);
    assert_eq!(bench.store.find("app").unwrap().unwrap().id, new.id);
    assert_eq!(bench.store.find(&old.id.to_string()).unwrap().unwrap().names, []);
    // A second name keeps the image when the first one goes.
    bench.import(&with_name("other:latest", [Layer::new().file("new", b"")]).oci()).unwrap();
    let removed = bench.store.remove("app").unwrap();
    assert_eq!(removed.deleted, None);
    assert_eq!(bench.store.find("other").unwrap().unwrap().id, new.id);
    let ids: Vec<_> = bench.store.list().unwrap().into_iter().map(|image| image.id).collect();
    assert_eq!(ids, [new.id, old.id]);
}

pub(crate) fn finds_images() {
    let bench = Bench::new();
    let image = bench.import(&with_name("busybox:1.36", [base()]).oci()).unwrap().remove(0);
    let (id, manifest) = (image.id, image.digest.unwrap());
    for name in [
        "busybox:1.36".to_owned(),
        "docker.io/library/busybox:1.36".to_owned(),
        id.to_string(),
        id.hex(),
        id.short(),
        manifest.to_string(),
        format!("busybox@{manifest}"),
    ] {
        assert_eq!(bench.store.find(&name).unwrap().as_ref(), Some(&image), "{name}");
    }
    for name in ["busybox", "busybox:1.35", "", "../../etc", "NoName:x:y"] {
        assert_eq!(bench.store.find(name).unwrap(), None, "{name}");
    }
}

/// The same image and others, all at once, by several stores on one folder.
pub(crate) fn concurrent_imports() {
    let bench = Bench::new();
    let start = Barrier::new(6);
    thread::scope(|scope| {
        for worker in 0..6 {
            let (bench, start) = (&bench, &start);
            scope.spawn(move || {
                let own = Layer::new().file(&format!("own-{}", worker % 3), &vec![7; 200_000]);
                let path = bench.path(&format!("{worker}.tar"));
                fs::write(&path, archive(&image([base(), own]).oci())).unwrap();
                start.wait();
                for _ in 0..5 {
                    let store = ImageStore::open(&bench.path("store")).unwrap();
                    let tag = format!("image-{worker}").parse().unwrap();
                    store.import(&path, Some(&tag), &mut |_| ()).unwrap();
                    assert!(store.find(&format!("image-{worker}")).unwrap().is_some());
                    if worker % 2 == 0 {
                        store.remove(&format!("image-{worker}")).unwrap();
                    }
                }
            });
        }
    });
    assert_eq!(names(&bench.path("store/layers")).len(), 4);
    let left: Vec<String> = bench
        .store
        .list()
        .unwrap()
        .iter()
        .flat_map(|image| image.names.clone())
        .map(|n| n.familiar())
        .collect();
    assert_eq!(left.len(), 3, "{left:?}");
    for image in bench.store.list().unwrap() {
        let folder = bench.path("merged-all");
        let root = bench.store.mount(&image, &folder).unwrap();
        let found = fs::read(root.join("etc/base"));
        bench.store.unmount(&folder).unwrap();
        assert_eq!(found.unwrap(), b"base");
    }
    assert_eq!(names(&bench.path("store/tmp")), Vec::<String>::new());
}

const VICTIM: &str = "MEMLET_IMAGES_TEST_VICTIM";

/// The store's folder and the archive, if this process is to import and be killed.
pub(crate) fn arguments_of_victim() -> Option<(PathBuf, PathBuf)> {
    let arguments = std::env::var(VICTIM).ok()?;
    let (store, archive) = arguments.split_once('\n')?;
    Some((store.into(), archive.into()))
}

/// Imports until the second layer is half unpacked, says so, and waits.
pub(crate) fn be_killed((store, archive): &(PathBuf, PathBuf)) -> ! {
    let store = ImageStore::open(store).unwrap();
    let _ = store.import(archive, None, &mut |progress| {
        if matches!(progress, Progress::Unpacking { number: 2, .. }) {
            println!("half way");
            thread::sleep(Duration::from_mins(1));
        }
    });
    panic!("nobody killed this import");
}

fn start_victim(store: &Path, archive: &Path) -> Child {
    let arguments = format!("{}\n{}", store.display(), archive.display());
    let mut command = Command::new(std::env::current_exe().unwrap());
    let mut child = command.env(VICTIM, arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "half way\n");
    child
}

fn half_way() -> (Bench, Child) {
    let bench = Bench::new();
    let archive_path = bench.path("image.tar");
    fs::write(&archive_path, archive(&image([base(), Layer::new().file("big", &vec![1; 100_000])]).oci()))
        .unwrap();
    let child = start_victim(&bench.path("store"), &archive_path);
    assert_eq!(names(&bench.path("store/tmp")).len(), 1, "the import is not under way");
    (bench, child)
}

pub(crate) fn a_killed_import_leaves_nothing() {
    let (bench, mut child) = half_way();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(names(&bench.path("store/tmp")).len(), 1, "SIGKILL cannot clean up");
    assert_eq!(bench.store.list().unwrap(), []);
    ImageStore::open(&bench.path("store")).unwrap();
    bench.assert_empty();
    // And the same archive imports as if nothing had happened.
    assert_eq!(bench.store.import(&bench.path("image.tar"), None, &mut |_| ()).unwrap().len(), 1);
}

pub(crate) fn a_running_import_is_left_alone() {
    let (bench, mut child) = half_way();
    let before = names(&bench.path("store/tmp"));
    ImageStore::open(&bench.path("store")).unwrap();
    let after = names(&bench.path("store/tmp"));
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(before, after);
}

/// A layer that does not describe a folder takes its owner and mode from below, so it is shared only where what
/// is below is the same.
pub(crate) fn parents_matter() {
    let bench = Bench::new();
    let leaning = || Layer::new().file("tmp/file", b"");
    let sticky = || Layer::new().folder("tmp", 0o1777);
    let private = || Layer::new().folder("tmp", 0o700);
    let images = [
        (0o755, bench.import(&with_name("alone:latest", [leaning()]).oci()).unwrap().remove(0)),
        (0o1777, bench.import(&with_name("sticky:latest", [sticky(), leaning()]).oci()).unwrap().remove(0)),
        (0o700, bench.import(&with_name("private:latest", [private(), leaning()]).oci()).unwrap().remove(0)),
        (
            0o700,
            bench.import(&with_name("again:latest", [private(), leaning(), base()]).oci()).unwrap().remove(0),
        ),
        // Something else of that name in between hides what is below it.
        (
            0o755,
            bench
                .import(
                    &with_name("hidden:latest", [private(), Layer::new().file(".wh.tmp", b""), leaning()])
                        .oci(),
                )
                .unwrap()
                .remove(0),
        ),
    ];
    for (mode, image) in images {
        let folder = bench.path("mounted");
        let root = bench.store.mount(&image, &folder).unwrap();
        let found = fs::metadata(root.join("tmp")).map(|data| data.mode() & 0o7777);
        bench.store.unmount(&folder).unwrap();
        assert_eq!(found.unwrap(), mode, "{:?}", image.names);
    }
    assert_eq!(names(&bench.path("store/layers")).len(), 8);
}
