//! Archives that try to write outside the layer's folder. After each attempt the folders around the layer are
//! as they were, and the attempt was either refused or ended inside.

use std::fs;
use std::path::PathBuf;

use memlet_runtime::images::Error;

use crate::build::{Bench, Layer, names};

/// A file beside the store that an attack goes for.
struct Target {
    bench: Bench,
    victim: PathBuf,
}

impl Target {
    fn new() -> Self {
        let bench = Bench::new();
        let victim = bench.path("victim");
        fs::create_dir(&victim).unwrap();
        fs::write(victim.join("file"), b"untouched").unwrap();
        Self { bench, victim }
    }

    /// The victim's path, as an absolute path would be put into an archive.
    fn victim(&self) -> &str {
        self.victim.to_str().unwrap()
    }

    #[track_caller]
    fn attack(&self, layer: Layer) -> Result<PathBuf, String> {
        let result = self.bench.unpacked(layer);
        assert_eq!(names(&self.victim), ["file"]);
        assert_eq!(fs::read(self.victim.join("file")).unwrap(), b"untouched");
        assert!(fs::symlink_metadata(self.victim.join("file")).unwrap().is_file());
        assert_eq!(names(self.bench.folder.path()), ["image.tar", "store", "victim"]);
        assert_eq!(names(&self.bench.path("store")), {
            let mut expected = vec!["images", "layers", "lock", "mounts", "tmp"];
            if result.is_ok() {
                expected.insert(4, "names.json");
            }
            expected
        });
        if let Err(error) = &result {
            assert!(matches!(error, Error::BadEntry { .. }), "{error}");
            self.bench.assert_empty();
        }
        result.map_err(|error| error.to_string())
    }
}

pub(crate) fn dot_dot() {
    for path in ["../evil", "../../../../victim/evil", "a/../../evil", "a/..", "..", "/../evil"] {
        let error = Target::new().attack(Layer::new().file(path, b"evil")).unwrap_err();
        assert!(error.contains("leads outside with '..'"), "{error}");
        Target::new().attack(Layer::new().folder(path, 0o777)).unwrap_err();
        Target::new().attack(Layer::new().symlink(path, "x")).unwrap_err();
    }
}

pub(crate) fn absolute_paths() {
    let target = Target::new();
    let path = format!("{}/file", target.victim());
    let root = target.attack(Layer::new().file(&path, b"evil")).unwrap();
    assert_eq!(fs::read(root.join(path.trim_start_matches('/'))).unwrap(), b"evil");
}

pub(crate) fn through_symbolic_links() {
    let target = Target::new();
    let victim = target.victim();
    let root = target.attack(Layer::new().symlink("link", victim).file("link/file", b"evil")).unwrap();
    assert_eq!(fs::read(root.join(victim.trim_start_matches('/')).join("file")).unwrap(), b"evil");

    // The link itself, not what it points to, is replaced.
    let target = Target::new();
    let path = format!("{}/file", target.victim());
    target.attack(Layer::new().symlink("link", &path).file("link", b"evil")).unwrap();
    let target = Target::new();
    target.attack(Layer::new().symlink("link", target.victim()).folder("link", 0o777)).unwrap();
    // A whole chain, ending outside.
    let target = Target::new();
    let layer = Layer::new()
        .symlink("a", "b")
        .symlink("b", "/c")
        .symlink("c", target.victim())
        .file("a/file", b"evil");
    target.attack(layer).unwrap();
}

pub(crate) fn through_relative_links() {
    for up in ["..", "../../..", "../../../../../../../../.."] {
        let target = Target::new();
        let link = format!("{up}{}", target.victim());
        target.attack(Layer::new().symlink("link", &link).file("link/file", b"evil")).unwrap();
        let target = Target::new();
        let layer = Layer::new().folder("a", 0o755).symlink("a/up", up).file("a/up/victim/file", b"evil");
        let root = target.attack(layer).unwrap();
        assert_eq!(fs::read(root.join("victim/file")).unwrap(), b"evil");
    }
}

pub(crate) fn hard_links_to_outside() {
    let target = Target::new();
    let file = format!("{}/file", target.victim());
    // Were it linked, the second entry would write into the victim.
    let error = target.attack(Layer::new().hard_link("link", &file).file("link", b"evil")).unwrap_err();
    assert!(error.contains("hard link to a file that its layer does not have"), "{error}");
    let target = Target::new();
    let error = target.attack(Layer::new().hard_link("link", "../../../../../victim/file")).unwrap_err();
    assert!(error.contains("leads outside"), "{error}");
    let target = Target::new();
    let layer = Layer::new().symlink("dir", target.victim()).hard_link("link", "dir/file");
    target.attack(layer).unwrap_err();
    // A hard link to a symbolic link is that link, which then is not followed.
    let target = Target::new();
    let file = format!("{}/file", target.victim());
    target
        .attack(Layer::new().symlink("soft", &file).hard_link("link", "soft").file("link", b"evil"))
        .unwrap();
    let target = Target::new();
    let error = target.attack(Layer::new().folder("dir", 0o755).hard_link("link", "dir")).unwrap_err();
    assert!(error.contains("hard link to a folder"), "{error}");
}

pub(crate) fn whiteouts_of_outside() {
    let target = Target::new();
    target.attack(Layer::new().symlink("link", target.victim()).file("link/.wh.file", b"")).unwrap();
    let target = Target::new();
    target.attack(Layer::new().symlink("link", target.victim()).file("link/.wh..wh..opq", b"")).unwrap();
    let target = Target::new();
    target.attack(Layer::new().symlink("link", target.victim()).file(".wh.link", b"")).unwrap();
}

/// A folder that gives way to a file is deleted with what it holds, but not with what its links point to.
pub(crate) fn replaced_folders() {
    let target = Target::new();
    let layer = Layer::new().folder("dir", 0o755).symlink("dir/link", target.victim()).file("dir", b"");
    target.attack(layer).unwrap();
    // The folder used last was swapped for a link under the same name.
    let target = Target::new();
    let layer = Layer::new()
        .folder("dir", 0o755)
        .file("dir/a", b"")
        .symlink("dir", target.victim())
        .file("dir/file", b"evil");
    target.attack(layer).unwrap();
}

pub(crate) fn link_loops() {
    let target = Target::new();
    let error =
        target.attack(Layer::new().symlink("a", "b").symlink("b", "a").file("a/file", b"")).unwrap_err();
    assert!(error.contains("loop of symbolic links"), "{error}");
    let target = Target::new();
    target.attack(Layer::new().symlink("a", "a/a").file("a/file", b"")).unwrap_err();
    let target = Target::new();
    let error = target.attack(Layer::new().file("a", b"").file("a/b", b"")).unwrap_err();
    assert!(error.contains("goes through something that is not a folder"), "{error}");
}
