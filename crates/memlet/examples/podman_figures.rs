//! What `podman kube play` takes for what a node does with Pods, to set beside `node_figures` in the same run.
//!
//! `podman_figures FOLDER [RUNS]`. Needs root, podman, runc and a static busybox; everything else is in FOLDER.
#![allow(clippy::print_stdout, reason = "it tells what it measured")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memlet_oomlog::kmsg::{Reader, Start};

mod figures;

use figures::{own_kill, report, since_boot};

/// Pods that are started together.
const MANY: usize = 30;
const IMAGE: &str = "localhost/memlet-bench:1";
/// Where podman's containers are, with the cgroupfs manager.
const CGROUPS: &str = "libpod";

/// podman asks for limits that root may not have here; other programs' default is what it is run with.
const RUNTIME: &str = "#!/bin/sh
before=
for word; do
    [ \"$before\" = --bundle ] && sed -i 's/\"rlimits\":\\[[^]]*\\]/\"rlimits\":[]/' \"$word/config.json\"
    before=$word
done
exec runc \"$@\"
";

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, folder, rest @ ..] = &arguments[..] else { bail!("podman_figures FOLDER [RUNS]") };
    let runs: usize = rest.first().map_or(Ok(20), |runs| runs.parse())?;
    ensure!(runs > 0, "RUNS must be at least 1");
    let podman = Podman { folder: std::path::absolute(folder)? };
    podman.prepare()?;
    let measured = podman.pods(runs).and_then(|()| podman.kills(runs)).and_then(|()| podman.many());
    podman.remove_all()?;
    measured
}

struct Podman {
    folder: PathBuf,
}

impl Podman {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.arg("--root").arg(self.folder.join("root")).arg("--runroot").arg(self.folder.join("run"));
        command.args(["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime"]);
        command.arg(self.folder.join("runtime")).args(arguments).stdin(Stdio::null()).stdout(Stdio::piped());
        command
    }

    fn run(&self, arguments: &[&str]) -> Result<String> {
        finish(self.command(arguments).stderr(Stdio::piped()).spawn()?, arguments)
    }

    /// An image of busybox alone.
    fn prepare(&self) -> Result<()> {
        let root = self.folder.join("image");
        fs::create_dir_all(root.join("bin"))?;
        fs::copy(which("busybox")?, root.join("bin/busybox"))?;
        for name in ["sleep", "tail"] {
            let link = root.join("bin").join(name);
            if !link.is_symlink() {
                std::os::unix::fs::symlink("busybox", link)?;
            }
        }
        let runtime = self.folder.join("runtime");
        fs::write(&runtime, RUNTIME)?;
        fs::set_permissions(&runtime, std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let archive = self.folder.join("image.tar");
        let packed = Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg(".").status()?;
        ensure!(packed.success(), "tar failed");
        self.run(&["import", path(&archive)?, IMAGE]).map(drop)
    }

    fn manifest(&self, name: &str, command: [&str; 2]) -> Result<PathBuf> {
        let [program, argument] = command;
        let file = self.folder.join(format!("{name}.yaml"));
        write!(
            fs::File::create(&file)?,
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  restartPolicy: Never\n  containers:\n  \
             - name: main\n    image: {IMAGE}\n    imagePullPolicy: Never\n    command: [/bin/{program}, {argument}]\n    \
             resources: {{limits: {{memory: 64Mi}}}}\n"
        )?;
        Ok(file)
    }

    fn play(&self, manifest: &Path) -> Result<Child> {
        let arguments = ["kube", "play", "--network", "none", path(manifest)?];
        Ok(self.command(&arguments).stderr(Stdio::piped()).spawn()?)
    }

    /// The command ends when the Pod runs.
    fn pods(&self, runs: usize) -> Result<()> {
        let mut times = Vec::new();
        for _ in 0..runs {
            let manifest = self.manifest("one", ["sleep", "1000"])?;
            let began = Instant::now();
            finish(self.play(&manifest)?, &["kube", "play"])?;
            times.push(began.elapsed());
            self.remove_all()?;
        }
        report("podman: a Pod played until it runs, one at a time", times, "for comparison");
        Ok(())
    }

    /// From the kernel's record of a kill to the event that says that the container died.
    fn kills(&self, runs: usize) -> Result<()> {
        let mut times = Vec::new();
        for _ in 0..runs {
            // The kernel writes ten reports in five seconds at most; a kill without one cannot be dated.
            std::thread::sleep(Duration::from_millis(600));
            let mut kernel = Reader::open(Start::Now)?;
            let filter = ["events", "--filter", "event=died", "--filter", "container=oom-main"];
            let mut events = self.command(&filter).stderr(Stdio::null()).spawn()?;
            let lines = BufReader::new(events.stdout.take().context("no events")?);
            // It says nothing when it has begun to watch.
            std::thread::sleep(Duration::from_millis(300));
            let manifest = self.manifest("oom", ["tail", "/dev/zero"])?;
            let playing = self.play(&manifest)?;
            let seen = lines.lines().next().context("podman tells no events")?.map(|_| since_boot());
            let _ = events.kill();
            let _ = events.wait();
            finish(playing, &["kube", "play"])?;
            times.push(
                seen??.checked_sub(own_kill(&mut kernel, CGROUPS)?).context("seen before it happened")?,
            );
            self.remove_all()?;
        }
        report("podman: the kernel's kill to its event", times, "for comparison");
        Ok(())
    }

    fn many(&self) -> Result<()> {
        let manifests: Vec<_> = (0..MANY)
            .map(|number| self.manifest(&format!("many-{number}"), ["sleep", "1000"]))
            .collect::<Result<_>>()?;
        let began = Instant::now();
        let playing: Vec<_> = manifests.iter().map(|manifest| self.play(manifest)).collect::<Result<_>>()?;
        for child in playing {
            finish(child, &["kube", "play"])?;
        }
        println!("podman: {MANY} Pods at once, all running: {:.2?} (for comparison)", began.elapsed());
        Ok(())
    }

    fn remove_all(&self) -> Result<()> {
        self.run(&["pod", "rm", "--all", "--force", "--time", "0"]).map(drop)
    }
}

/// Waits for it, and gives what it said.
fn finish(child: Child, arguments: &[&str]) -> Result<String> {
    let output = child.wait_with_output()?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "podman {} failed: {}", arguments.join(" "), complaint.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn path(path: &Path) -> Result<&str> {
    path.to_str().context("the folder's name is not UTF-8")
}

fn which(program: &str) -> Result<PathBuf> {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    let found =
        std::env::split_paths(&folders).map(|folder| folder.join(program)).find(|path| path.is_file());
    found.with_context(|| format!("{program} is not installed"))
}
