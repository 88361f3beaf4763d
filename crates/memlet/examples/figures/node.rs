//! A node that is measured: the program as it is installed, in places of the measurement's own.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};

/// Where the program is, and where it may write.
pub(crate) struct Bench {
    pub(crate) memlet: PathBuf,
    pub(crate) folder: PathBuf,
    pub(crate) cgroup_root: &'static str,
}

/// A node that is ended, with its Pods, whatever becomes of the measurement.
pub(crate) struct Node<'a>(&'a Bench, Child);

impl Node<'_> {
    pub(crate) fn pid(&self) -> u32 {
        self.1.id()
    }
}

impl Drop for Node<'_> {
    fn drop(&mut self) {
        let _ = self.0.command("stop").arg("--pods").stderr(Stdio::null()).status();
        let _ = self.1.wait();
    }
}

impl Bench {
    pub(crate) fn command(&self, command: &str) -> Command {
        let mut started = Command::new(&self.memlet);
        started.arg(command).arg("--data").arg(self.folder.join("data"));
        started
    }

    /// A node that is ready, with these settings beside its places.
    pub(crate) fn node(&self, settings: &[&str]) -> Result<Node<'_>> {
        let mut command = self.command("node");
        command.args(["--address", "127.0.0.1:0", "--cgroup-root", self.cgroup_root]).args(settings);
        command.arg("--run-folder").arg(self.folder.join("run")).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().context("memlet cannot be started")?;
        let said = child.stderr.take().context("memlet says nothing")?;
        let mut lines = std::io::BufRead::lines(std::io::BufReader::new(said));
        let node = Node(self, child);
        let mut before = Vec::new();
        for line in lines.by_ref() {
            let line = line?;
            if line.starts_with("ready after") {
                std::thread::spawn(move || lines.for_each(drop));
                return Ok(node);
            }
            before.push(line);
        }
        bail!("memlet ended before it was ready: {}", before.join("\n"))
    }

    pub(crate) async fn client(&self) -> Result<kube::Client> {
        let kubeconfig = Kubeconfig::read_from(self.folder.join("data/node/admin.kubeconfig"))?;
        let config = kube::Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        Ok(kube::Client::try_from(config)?)
    }
}

/// Time that a process or thread, by its folder in `/proc`, ran, in clock ticks.
pub(crate) fn cpu_ticks(process: &Path) -> Result<u64> {
    let stat = std::fs::read_to_string(process.join("stat"))?;
    let after_name = stat.rsplit_once(')').context("no name in stat")?.1;
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let field = |index: usize| fields.get(index).and_then(|field| field.parse::<u64>().ok());
    Ok(field(11).context("no utime")? + field(12).context("no stime")?)
}
