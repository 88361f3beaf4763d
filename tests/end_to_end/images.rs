//! Images made by other people's tools, imported and run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use libtest_mimic::Failed;

use crate::house::{House, checkout};
use crate::{Test, test, test_with};

/// The name under which the tests' busybox image is imported.
pub(crate) const SHELL: &str = "busybox:test";

const NEEDS: &[&str] = &["busybox", "umoci", "skopeo"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("image: ls without any shows the built-in ones", ls),
        test("image: a file that is no image is refused", no_image),
        test_with("image: an OCI layout, an OCI archive and a docker archive", NEEDS, formats),
        test_with("image: a full disk leaves no half image", NEEDS, full_disk),
    ]
}

/// An OCI layout with busybox, made once by umoci as its users do.
pub(crate) fn layout() -> Result<&'static Path, Failed> {
    static LAYOUT: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let made = LAYOUT.get_or_init(|| make_layout().map_err(|error| format!("{error:?}")));
    made.as_deref().map_err(|error| Failed::from(error.clone()))
}

fn make_layout() -> Result<PathBuf, Failed> {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("busybox-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let (layout, bundle) = (folder.join("layout"), folder.join("bundle"));
    let image = format!("{}:test", layout.display());
    tool("umoci", &["init", "--layout", &layout.display().to_string()])?;
    tool("umoci", &["new", "--image", &image])?;
    tool("umoci", &["unpack", "--image", &image, &bundle.display().to_string()])?;
    let root = bundle.join("rootfs");
    for name in ["bin", "etc", "tmp"] {
        fs::create_dir_all(root.join(name))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    for name in [
        "sh", "cat", "cut", "dd", "echo", "grep", "head", "hostname", "id", "ls", "ping", "sleep", "tar",
        "touch", "wc", "yes",
    ] {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(name))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\n")?;
    tool("umoci", &["repack", "--image", &image, &bundle.display().to_string()])?;
    tool("umoci", &["config", "--image", &image, "--config.cmd", "sh"])?;
    Ok(layout)
}

fn tool(program: &str, arguments: &[&str]) -> Result<(), Failed> {
    let output = Command::new(program).args(arguments).output()?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)).into())
}

/// Imports the tests' busybox into the house.
pub(crate) fn import_busybox(house: &House) -> Result<(), Failed> {
    let layout = layout()?.display().to_string();
    house.image(&["import", &layout, "--tag", SHELL])?.exits(0).says("imported busybox:test");
    Ok(())
}

fn pod(image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: Never\n  containers:\n  \
         - {{name: c, image: '{image}', command: [sh, -c, 'echo it runs']}}\n"
    )
}

fn ls() -> Result<(), Failed> {
    let house = House::new()?;
    house.image(&["ls"])?.exits(0).says("memlet.dev/memory-eater").says("memlet.dev/pause");
    let document = house.image(&["ls", "-o", "json"])?.exits(0).json()?;
    assert_eq!(document["images"][0]["builtIn"], true);
    Ok(())
}

fn no_image() -> Result<(), Failed> {
    let house = House::new()?;
    let file = checkout().join("README.md").display().to_string();
    house.image(&["import", &file])?.exits(2).complains("error: ").complains("README.md");
    house.image(&["import", "/nowhere.tar"])?.exits(2).complains("/nowhere.tar");
    house.image(&["rm", "nothing"])?.exits(2).complains("nothing");
    Ok(())
}

fn formats() -> Result<(), Failed> {
    let layout = layout()?;
    for kind in ["oci-archive", "docker-archive"] {
        let house = House::new()?;
        let archive = house.folder.path().join("image.tar").display().to_string();
        let from = format!("oci:{}:test", layout.display());
        tool("skopeo", &["copy", "--quiet", &from, &format!("{kind}:{archive}:example.org/shell:1")])?;
        house
            .image(&["import", &archive, "--tag", "example.org/shell:1"])?
            .exits(0)
            .says("imported example.org/shell:1");
        house.image(&["ls"])?.exits(0).says("example.org/shell:1");
        house.run(&pod("example.org/shell:1"), &[])?.exits(0).says("it runs\n");
        house.image(&["rm", "example.org/shell:1"])?.exits(0);
        house.image(&["ls"])?.exits(0).says_not("example.org/shell:1");
        house.nothing_is_left()?;
    }
    let house = House::new()?;
    import_busybox(&house)?;
    house.run(&pod(SHELL), &[])?.exits(0).says("it runs\n");
    let missing = pod(SHELL).replace("[sh, -c", "[/no/such/program, -c");
    let ran = house.run(&missing, &[])?;
    assert!(ran.code != Some(0) && ran.stdout.contains("/no/such/program"), "{ran:?}");
    house.nothing_is_left()
}

/// The store on a tmpfs of 1 MiB, the image larger.
fn full_disk() -> Result<(), Failed> {
    use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

    let house = House::new()?;
    let data = house.folder.path().join("data");
    fs::create_dir(&data)?;
    mount("tmpfs", &data, "tmpfs", MountFlags::empty(), Some(c"size=1m"))?;
    let layout = layout()?.display().to_string();
    let ran = house.image(&["import", &layout, "--tag", SHELL]);
    let listed = house.image(&["ls"]);
    let files: Vec<_> = fs::read_dir(data.join("images/layers"))
        .into_iter()
        .flatten()
        .flatten()
        .map(|it| it.path())
        .collect();
    unmount(&data, UnmountFlags::DETACH)?;
    ran?.exits(2).complains("no space for the image");
    listed?.exits(0).says_not(SHELL);
    assert!(files.is_empty(), "half a layer is left: {files:?}");
    Ok(())
}
