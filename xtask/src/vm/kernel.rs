//! Debian's stock kernels, fetched by apt into the target folder and unpacked, never installed.
//!
//! apt works in a folder of its own for each suite, so that the machine's own package lists and settings do not
//! matter and nothing of it is changed; signatures and checksums are apt's to verify.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::command::{output, target};

/// Where a kernel comes from: one of Debian's suites, by the package that always names its newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Suite {
    /// Debian 12: Linux 6.1
    Bookworm,
    /// Debian 13: Linux 6.12
    Trixie,
    /// The next Debian: Linux 7
    Forky,
}

impl Suite {
    pub(crate) const ALL: [Self; 3] = [Self::Bookworm, Self::Trixie, Self::Forky];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bookworm => "bookworm",
            Self::Trixie => "trixie",
            Self::Forky => "forky",
        }
    }

    fn sources(self) -> String {
        let name = self.name();
        let signed = "signed-by=/usr/share/keyrings/debian-archive-keyring.gpg";
        let mut sources = format!("deb [{signed}] http://deb.debian.org/debian {name} main\n");
        // A suite that is not released yet has no security updates of its own.
        if self != Self::Forky {
            sources +=
                &format!("deb [{signed}] http://deb.debian.org/debian-security {name}-security main\n");
        }
        sources
    }
}

/// A kernel that can be booted.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    pub(crate) suite: Suite,
    /// The compressed kernel.
    pub(crate) image: PathBuf,
    /// The folder of its modules.
    pub(crate) modules: PathBuf,
}

const META_PACKAGE: &str = "linux-image-cloud-amd64";

/// The newest kernel of a suite. Where Debian cannot be reached, the one fetched before will do.
pub(crate) fn fetch(suite: Suite) -> Result<Kernel> {
    let folder = target().join("vm/kernels").join(suite.name());
    fs::create_dir_all(&folder)?;
    let note = folder.join("newest");
    match find_newest(suite) {
        Ok(package) => {
            download(suite, &package, &folder)?;
            fs::write(&note, &package)?;
        }
        Err(error) if note.exists() => {
            println!(
                "Debian's {} cannot be asked, so its kernel fetched before is used: {error:#}",
                suite.name()
            );
        }
        Err(error) => return Err(error),
    }
    unpacked(suite, &folder, fs::read_to_string(&note)?.trim())
}

/// The package that the suite's meta package stands for.
fn find_newest(suite: Suite) -> Result<String> {
    let apt = Apt::new(suite)?;
    output(apt.command("apt-get").args(["update", "-q"]))
        .with_context(|| format!("the package lists of Debian {} cannot be had", suite.name()))?;
    let depends = output(apt.command("apt-cache").args(["depends", META_PACKAGE]))?;
    let package = depends.lines().find_map(|line| line.trim().strip_prefix("Depends: "));
    match package {
        Some(package) => Ok(package.to_owned()),
        None => bail!(
            "Debian {} has no {META_PACKAGE}; choose another suite in xtask/src/vm/kernel.rs",
            suite.name()
        ),
    }
}

fn download(suite: Suite, package: &str, folder: &Path) -> Result<()> {
    if folder.join(package).exists() {
        return Ok(());
    }
    let apt = Apt::new(suite)?;
    println!("fetching {package} of Debian {}", suite.name());
    output(apt.command("apt-get").args(["download", "-q", package]).current_dir(folder))?;
    let archives = fs::read_dir(folder)?.flatten().map(|entry| entry.path());
    let archive = archives
        .filter(|path| path.extension().is_some_and(|extension| extension == "deb"))
        .find(|path| path.to_string_lossy().contains(package))
        .with_context(|| format!("apt-get download {package} left no archive in {}", folder.display()))?;
    let half = folder.join("unpacking");
    let _ = fs::remove_dir_all(&half);
    output(Command::new("dpkg-deb").arg("-x").arg(&archive).arg(&half))?;
    fs::remove_file(&archive)?;
    // Whole or not there at all.
    fs::rename(half, folder.join(package))?;
    Ok(())
}

fn unpacked(suite: Suite, folder: &Path, package: &str) -> Result<Kernel> {
    let release = package.trim_start_matches("linux-image-").to_owned();
    let root = folder.join(package);
    let image = root.join("boot").join(format!("vmlinuz-{release}"));
    let modules = ["lib/modules", "usr/lib/modules"]
        .map(|place| root.join(place).join(&release))
        .into_iter()
        .find(|modules| modules.exists())
        .with_context(|| format!("{package} has no modules"))?;
    if !image.exists() {
        bail!("{package} has no {}", image.display());
    }
    Ok(Kernel { suite, image, modules })
}

/// apt in a folder of its own.
struct Apt {
    folder: PathBuf,
}

impl Apt {
    fn new(suite: Suite) -> Result<Self> {
        let folder = target().join("vm/apt").join(suite.name());
        for inside in ["state/lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(inside))?;
        }
        fs::write(folder.join("sources.list"), suite.sources())?;
        fs::write(folder.join("status"), "")?;
        Ok(Self { folder })
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let place = |name: &str| self.folder.join(name).display().to_string();
        for (option, value) in [
            ("Dir::State", place("state")),
            ("Dir::State::status", place("status")),
            ("Dir::Cache", place("cache")),
            ("Dir::Etc::sourcelist", place("sources.list")),
            ("Dir::Etc::sourceparts", "-".to_owned()),
            ("APT::Architecture", "amd64".to_owned()),
            ("APT::Architectures", "amd64".to_owned()),
            ("Acquire::Languages", "none".to_owned()),
            // The folder is this user's, not apt's own.
            ("APT::Sandbox::User", "root".to_owned()),
        ] {
            command.arg("-o").arg(format!("{option}={value}"));
        }
        command
    }
}
