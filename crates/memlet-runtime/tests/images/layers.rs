//! What unpacking makes of each kind of entry.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;

use tar::EntryType;

use crate::build::{Bench, Layer, names};

fn attribute(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = vec![0; 256];
    let length = rustix::fs::lgetxattr(path, name, &mut value[..]).ok()?;
    value.truncate(length);
    Some(value)
}

fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok_and(|data| data.file_type().is_char_device() && data.rdev() == 0)
}

fn is_opaque(path: &Path) -> bool {
    attribute(path, "trusted.overlay.opaque").as_deref() == Some(b"y")
}

pub(crate) fn kinds_of_files() {
    let bench = Bench::new();
    let device = |major, minor| {
        move |header: &mut tar::Header| {
            header.set_device_major(major).unwrap();
            header.set_device_minor(minor).unwrap();
        }
    };
    let layer = Layer::new()
        .folder("bin/", 0o755)
        .file("bin/app", b"program")
        .hard_link("bin/same", "bin/app")
        .hard_link("bin/absolute", "/bin/app")
        .symlink("bin/link", "app")
        .symlink("bin/dangling", "/no/such")
        .hard_link("bin/link-again", "bin/link")
        .entry(EntryType::Char, "null", device(1, 3))
        .entry(EntryType::Block, "disk", device(8, 0))
        .entry(EntryType::Fifo, "pipe", |_| ())
        .entry(EntryType::XGlobalHeader, "pax_global_header", |_| ())
        .entry(EntryType::Regular, "old-folder/", |_| ());
    let root = bench.unpacked(layer).unwrap();
    assert_eq!(names(&root), ["bin", "disk", "null", "old-folder", "pipe"]);
    assert_eq!(fs::read(root.join("bin/same")).unwrap(), b"program");
    let inode = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().ino();
    assert_eq!(inode("bin/app"), inode("bin/same"));
    assert_eq!(inode("bin/app"), inode("bin/absolute"));
    assert_eq!(inode("bin/link"), inode("bin/link-again"));
    assert_eq!(fs::read_link(root.join("bin/link")).unwrap(), Path::new("app"));
    assert_eq!(fs::read_link(root.join("bin/dangling")).unwrap(), Path::new("/no/such"));
    let data = |name: &str| fs::symlink_metadata(root.join(name)).unwrap();
    assert!(data("null").file_type().is_char_device());
    assert_eq!(data("null").rdev(), rustix::fs::makedev(1, 3));
    assert!(data("disk").file_type().is_block_device());
    assert!(data("pipe").file_type().is_fifo());
    assert!(data("old-folder").is_dir());
}

pub(crate) fn metadata() {
    let bench = Bench::new();
    let own = |mode| {
        move |header: &mut tar::Header| {
            header.set_mode(mode);
            header.set_uid(1234);
            header.set_gid(2_000_000);
        }
    };
    let layer = Layer::new()
        .entry(EntryType::Directory, "dir/", own(0o1777))
        .pax(&[
            ("mtime", b"1500000000.25"),
            ("SCHILY.xattr.user.note", b"a=b\0c"),
            ("SCHILY.xattr.trusted.x", b"y"),
        ])
        .entry(EntryType::Regular, "dir/suid", own(0o4751))
        .entry(EntryType::Fifo, "dir/pipe", own(0o622))
        .entry(EntryType::Symlink, "dir/link", |header| {
            own(0o777)(header);
            header.set_link_name("nowhere").unwrap();
        })
        .pax(&[("uid", b"3000000"), ("path", format!("dir/{}", "n".repeat(200)).as_bytes())])
        .file("short", b"");
    let root = bench.unpacked(layer).unwrap();
    let long = format!("dir/{}", "n".repeat(200));
    for (name, mode, uid, mtime) in [
        ("dir", 0o1777, 1234, (1_600_000_000, 0)),
        ("dir/suid", 0o4751, 1234, (1_500_000_000, 250_000_000)),
        ("dir/pipe", 0o622, 1234, (1_600_000_000, 0)),
        ("dir/link", 0o777, 1234, (1_600_000_000, 0)),
        (&long, 0o644, 3_000_000, (1_600_000_000, 0)),
    ] {
        let data = fs::symlink_metadata(root.join(name)).unwrap();
        let found = (data.mode() & 0o7777, data.uid(), (data.mtime(), data.mtime_nsec()));
        assert_eq!(found, (mode, uid, mtime), "{name}");
    }
    assert_eq!(fs::symlink_metadata(root.join("dir/suid")).unwrap().gid(), 2_000_000);
    assert_eq!(attribute(&root.join("dir/suid"), "trusted.x").unwrap(), b"y");
    assert_eq!(attribute(&root.join("dir/suid"), "user.note").unwrap(), b"a=b\0c");
}

pub(crate) fn whiteouts() {
    let bench = Bench::new();
    let layer = Layer::new()
        .folder("etc", 0o755)
        .file("etc/.wh.passwd", b"")
        .file(".wh..hidden", b"")
        .file(".wh..wh.plnk", b"");
    let root = bench.unpacked(layer).unwrap();
    assert_eq!(names(&root), [".hidden", "etc"]);
    assert_eq!(names(&root.join("etc")), ["passwd"]);
    assert!(is_whiteout(&root.join("etc/passwd")));
    assert!(is_whiteout(&root.join(".hidden")));
    for nonsense in [".wh.", ".wh..", ".wh...", "a/.wh..."] {
        let error = Bench::new().unpacked(Layer::new().file(nonsense, b"")).unwrap_err().to_string();
        assert!(error.contains("deletes no name"), "{error}");
    }
}

pub(crate) fn opaque_folders() {
    let bench = Bench::new();
    let layer =
        Layer::new().folder("a", 0o755).file("a/new", b"").file("a/.wh..wh..opq", b"").folder("b", 0o700);
    let root = bench.unpacked(layer).unwrap();
    assert!(is_opaque(&root.join("a")));
    assert!(!is_opaque(&root.join("b")));
    assert_eq!(names(&root.join("a")), ["new"]);
}

/// A whiteout and its name in one layer: the whiteout is for the layers below, whatever the order.
pub(crate) fn whiteout_beside_its_name() {
    let bench = Bench::new();
    let layer = Layer::new()
        .file(".wh.one", b"")
        .folder("one", 0o755)
        .folder("two", 0o755)
        .file(".wh.two", b"")
        .file(".wh.three", b"")
        .file("three/file", b"")
        .file("four", b"4")
        .file(".wh.four", b"")
        .file(".wh.five", b"")
        .file("five", b"5");
    let root = bench.unpacked(layer).unwrap();
    for folder in ["one", "two", "three"] {
        assert!(is_opaque(&root.join(folder)), "{folder}");
    }
    assert_eq!(fs::read(root.join("four")).unwrap(), b"4");
    assert_eq!(fs::read(root.join("five")).unwrap(), b"5");
}

pub(crate) fn later_entries_win() {
    let bench = Bench::new();
    let layer = Layer::new()
        .file("a", b"first")
        .file("a", b"second")
        .folder("b", 0o755)
        .file("b/inside", b"")
        .file("b", b"file")
        .file("c", b"file")
        .folder("c", 0o700)
        .folder("d", 0o755)
        .file("d/kept", b"")
        .folder("d", 0o711)
        .file("e", b"linked")
        .hard_link("e", "e")
        .symlink("f", "a")
        .file("f", b"not through the link");
    let root = bench.unpacked(layer).unwrap();
    for (name, content) in [("a", "second"), ("b", "file"), ("e", "linked"), ("f", "not through the link")] {
        assert_eq!(fs::read_to_string(root.join(name)).unwrap(), content);
    }
    assert!(root.join("c").is_dir());
    assert_eq!(names(&root.join("d")), ["kept"]);
    assert_eq!(fs::metadata(root.join("d")).unwrap().mode() & 0o7777, 0o711);
}

pub(crate) fn implied_folders() {
    let bench = Bench::new();
    let root = bench.unpacked(Layer::new().file("a/b/c", b"")).unwrap();
    let data = fs::metadata(root.join("a/b")).unwrap();
    assert_eq!((data.mode() & 0o7777, data.uid(), data.gid(), data.mtime()), (0o755, 0, 0, 0));
}

/// `redirect` and `metacopy` would make overlayfs show files of other folders.
pub(crate) fn overlay_attributes_are_dropped() {
    let bench = Bench::new();
    let layer = Layer::new()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
            ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.kept", b"1"),
        ])
        .folder("a", 0o755);
    let folder = bench.unpacked(layer).unwrap().join("a");
    assert_eq!(attribute(&folder, "trusted.overlay.redirect"), None);
    assert_eq!(attribute(&folder, "user.overlay.redirect"), None);
    assert!(!is_opaque(&folder));
    assert_eq!(attribute(&folder, "trusted.kept").unwrap(), b"1");
}

/// `/lib` a link to `usr/lib`, which comes later or never as an entry of its own.
pub(crate) fn links_within_the_layer() {
    let bench = Bench::new();
    let layer = Layer::new()
        .symlink("lib", "usr/lib")
        .file("lib/a", b"a")
        .symlink("usr/lib64", "/usr/lib")
        .file("usr/lib64/b", b"b")
        .symlink("usr/share", "../../../var/share")
        .file("usr/share/c", b"c");
    let root = bench.unpacked(layer).unwrap();
    assert_eq!(names(&root.join("usr/lib")), ["a", "b"]);
    assert_eq!(names(&root.join("var/share")), ["c"]);
    assert_eq!(fs::read_link(root.join("lib")).unwrap(), Path::new("usr/lib"));
}
