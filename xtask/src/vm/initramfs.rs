//! What a guest begins with: busybox, the modules for its disk, the script that is its first process, and what its
//! scenario says.

use std::fs::{self, File};
use std::io::{BufWriter, Cursor, Write};
use std::path::Path;

use anyhow::{Context, Result};
use cpio::newc::{Builder, trailer};

use super::disk::found;
use super::kernels::Kernel;
use super::modules;
use super::programs::Programs;
use super::scenario::{Cgroups, Scenario, Swap, System};
use crate::command::target;
use crate::tools::Tools;

const INIT: &str = include_str!("init.sh");

/// A guest's view of its disks, in the order in which the machine has them.
const DISKS: [&str; 3] = ["vda", "vdb", "vdc"];

/// How many times slower than on a machine of its own a test may be before it fails.
const PATIENCE: u32 = 10;

/// What is run, as the guest's script reads it.
pub(crate) struct Guest<'a> {
    pub(crate) scenario: &'a Scenario,
    pub(crate) kernel: &'a Kernel,
    pub(crate) programs: &'a Programs,
    pub(crate) tools: &'a Tools,
    /// In place of what the scenario says.
    pub(crate) filter: Option<&'a str>,
}

impl Guest<'_> {
    /// Writes the archive that the kernel unpacks.
    pub(crate) fn write(&self, file: &Path) -> Result<()> {
        let archive = File::create(file).with_context(|| format!("cannot write {}", file.display()))?;
        let mut archive = Archive { to: BufWriter::new(archive), inode: 0 };
        archive.folder("bin")?;
        archive.folder("modules")?;
        archive.folder("proc")?;
        archive.program("bin/busybox", &fs::read(found("busybox")?)?)?;
        archive.program("init", INIT.as_bytes())?;
        let modules = modules::load_order(self.kernel, &self.modules())?;
        for module in &modules {
            archive.program(&format!("modules/{}.ko", module.name), &module.bytes)?;
        }
        let names: Vec<_> = modules.iter().map(|module| module.name.as_str()).collect();
        archive.program("scenario", self.settings(&names).as_bytes())?;
        archive.program("runs", self.runs()?.as_bytes())?;
        trailer(&mut archive.to)?;
        Ok(archive.to.flush()?)
    }

    fn modules(&self) -> Vec<&'static str> {
        let mut modules = vec!["virtio_pci", "virtio_blk", "virtio_console", "ext4", "overlay"];
        if matches!(self.scenario.swap, Swap::Zram(_)) {
            modules.push("zram");
        }
        modules
    }

    /// Variables for the script.
    fn settings(&self, modules: &[&str]) -> String {
        let cgroups = match self.scenario.cgroups {
            Cgroups::V2 => "V2",
            Cgroups::Delegated => "Delegated",
            Cgroups::DelegatedWithoutMemory => "DelegatedWithoutMemory",
            Cgroups::V1 => "V1",
            Cgroups::Hybrid => "Hybrid",
        };
        let (swap, swap_mib) = match self.scenario.swap {
            Swap::None => ("none", 0),
            Swap::Disk(mib) => ("disk", mib),
            Swap::Zram(mib) => ("zram", mib),
        };
        let system = match self.scenario.system {
            System::Script => "script",
            System::Systemd => "systemd",
        };
        let [disk, scratch, swap_disk] = DISKS;
        let modules = modules.join(" ");
        let target_tmp = target().join("tmp").display().to_string();
        let tools = self.tools.path("").display().to_string();
        format!(
            "MODULES='{modules}'\nDISK={disk}\nSCRATCH={scratch}\nSWAP_DISK={swap_disk}\nCGROUPS={cgroups}\nSWAP={swap}\n\
             SYSTEM={system}\n\
             SWAP_MIB={swap_mib}\nPATIENCE={PATIENCE}\nTOOLS='{tools}'\nTARGET_TMP='{target_tmp}'\n"
        )
    }

    /// One line for each time that a test program is to be started.
    fn runs(&self) -> Result<String> {
        let mut lines = String::new();
        for run in self.scenario.runs {
            let file = self.programs.of(run.program)?.display();
            let filters = match (self.filter, run.only) {
                (Some(filter), _) => vec![filter],
                (None, []) => vec![""],
                (None, only) => only.to_vec(),
            };
            for filter in filters {
                lines += &format!("{}|{file}|{filter}\n", run.program.name());
            }
        }
        Ok(lines)
    }
}

/// A cpio archive being written.
struct Archive<W> {
    to: W,
    inode: u32,
}

impl<W: Write> Archive<W> {
    fn folder(&mut self, name: &str) -> Result<()> {
        self.entry(name, 0o040_755, &[])
    }

    fn program(&mut self, name: &str, bytes: &[u8]) -> Result<()> {
        self.entry(name, 0o100_755, bytes)
    }

    fn entry(&mut self, name: &str, mode: u32, bytes: &[u8]) -> Result<()> {
        self.inode += 1;
        let size = u32::try_from(bytes.len()).with_context(|| format!("{name} is too large"))?;
        let mut entry = Builder::new(name).ino(self.inode).mode(mode).nlink(1).write(&mut self.to, size);
        std::io::copy(&mut Cursor::new(bytes), &mut entry)?;
        entry.finish().map(drop).with_context(|| format!("cannot archive {name}"))
    }
}
