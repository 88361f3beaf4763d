//! A store on a small tmpfs that really fills up.

use std::fs;
use std::path::{Path, PathBuf};

use memlet_runtime::images::{Error, ImageStore};
use rustix::mount::{MountFlags, UnmountFlags};
use tempfile::TempDir;

use crate::build::{Layer, archive, gzip, image, names};

/// A tmpfs, unmounted also when the test fails.
struct SmallDisk {
    folder: TempDir,
    mount: PathBuf,
}

impl SmallDisk {
    fn new(options: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let mount = folder.path().join("disk");
        fs::create_dir(&mount).unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        rustix::mount::mount("tmpfs", &mount, "tmpfs", MountFlags::empty(), options.as_c_str()).unwrap();
        Self { folder, mount }
    }

    fn archive(&self, bytes: &[u8]) -> PathBuf {
        let path = self.folder.path().join("image.tar");
        fs::write(&path, bytes).unwrap();
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.mount, UnmountFlags::DETACH);
    }
}

#[track_caller]
fn assert_empty(store: &ImageStore, folder: &Path) {
    assert_eq!(store.list().unwrap(), []);
    for part in ["images", "layers", "tmp"] {
        assert_eq!(names(&folder.join(part)), Vec::<String>::new(), "left behind in {part}");
    }
}

pub(crate) fn leaves_nothing() {
    let disk = SmallDisk::new("size=4m");
    let folder = disk.mount.join("store");
    let store = ImageStore::open(&folder).unwrap();
    let small = image([Layer::new().file("small", &vec![1; 100_000])]);
    let large = image([
        Layer::new().file("first", &vec![2; 1_000_000]),
        Layer::new().file("large", &vec![3; 8_000_000]),
    ]);
    let error = store.import(&disk.archive(&archive(&large.oci())), None, &mut |_| ()).unwrap_err();
    let Error::DiskFull { folder: named, needed, free } = &error else { panic!("{error:?}") };
    assert_eq!(*named, folder);
    // The first layer and what of the second one fitted; and all of it is free again.
    assert!(needed.get() > 3_000_000 && free.get() > 4_000_000, "{error}");
    assert_empty(&store, &folder);
    // A smaller one still fits.
    store.import(&disk.archive(&archive(&small.oci())), None, &mut |_| ()).unwrap();
}

pub(crate) fn out_of_inodes() {
    let disk = SmallDisk::new("size=64m,nr_inodes=100");
    let folder = disk.mount.join("store");
    let store = ImageStore::open(&folder).unwrap();
    let many = (0..200).fold(Layer::new(), |layer, n| layer.file(&format!("file-{n}"), b""));
    let error = store.import(&disk.archive(&archive(&image([many]).oci())), None, &mut |_| ()).unwrap_err();
    assert!(matches!(&error, Error::OutOfInodes { folder: named } if *named == folder), "{error:?}");
    assert_empty(&store, &folder);
}

pub(crate) fn full_while_copying() {
    let disk = SmallDisk::new("size=2m");
    let folder = disk.mount.join("store");
    let store = ImageStore::open(&folder).unwrap();
    let large = archive(&image([Layer::new().file("large", &vec![3; 8_000_000])]).docker_old());
    let error = store.import(&disk.archive(&gzip(&large)), None, &mut |_| ()).unwrap_err();
    assert!(matches!(error, Error::DiskFull { .. }), "{error:?}");
    assert_empty(&store, &folder);
}
