//! Debian's stock kernels, fetched by apt into the target folder; nothing of them is installed here.
//!
//! apt gets a state of its own for each suite, so that this machine's sources and lists are neither used nor changed.
//! It checks the suite's signature and each package's checksum. Which version a suite has today is read from its
//! index: security updates take old files away.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail, ensure};

use super::folder;
use crate::command::output_of;

/// A kernel of the ring: which of Debian's suites have it, the first that serves it being taken.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Source {
    /// What scenarios and `--kernel` call it.
    pub(crate) name: &'static str,
    suites: &'static [&'static str],
}

/// The kernel of Debian 12.
pub(crate) const OLD: Source = Source { name: "old", suites: &["bookworm"] };
/// The kernel of Debian 13, as Debian 12 can have it too.
pub(crate) const STABLE: Source = Source { name: "stable", suites: &["bookworm-backports", "trixie"] };
/// The newest that Debian builds for a release.
pub(crate) const NEW: Source = Source { name: "new", suites: &["trixie-backports", "sid"] };

/// Depends on whichever kernel is a suite's newest, for machines without hardware.
const NEWEST: &str = "linux-image-cloud-amd64";
pub(crate) const MIRROR: &str = "http://deb.debian.org/debian";
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// A suite's index younger than this is not asked for again.
const FRESH: Duration = Duration::from_hours(12);

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// What `uname -r` says there.
    pub(crate) release: String,
    /// To be booted.
    pub(crate) image: PathBuf,
    /// The folder of its modules.
    pub(crate) modules: PathBuf,
}

impl Source {
    /// The kernel, fetched and unpacked where that has not been done yet.
    pub(crate) fn fetch(&self) -> Result<Kernel> {
        let mut failures = Vec::new();
        for suite in self.suites {
            match Suite::new(suite).and_then(|suite| suite.kernel()) {
                Ok(kernel) => return Ok(kernel),
                Err(error) => failures.push(format!("{suite}: {error:#}")),
            }
        }
        bail!(
            "no suite serves the kernel {:?} ({}); without a network only what was fetched before can be booted; a \
             suite that was archived is replaced by another in {}",
            self.name,
            failures.join("; "),
            file!()
        )
    }
}

/// One of Debian's suites, with apt's state for it.
struct Suite {
    name: String,
    folder: PathBuf,
}

impl Suite {
    fn new(name: &str) -> Result<Self> {
        let suite = Self { name: name.to_owned(), folder: folder().join("kernels").join(name) };
        for below in ["lists/partial", "cache/archives/partial", "packages"] {
            fs::create_dir_all(suite.folder.join(below))?;
        }
        fs::write(suite.folder.join("status"), "")?;
        let source = format!("deb [arch=amd64 signed-by={KEYRING}] {MIRROR} {name} main\n");
        fs::write(suite.folder.join("sources.list"), source)?;
        Ok(suite)
    }

    fn kernel(&self) -> Result<Kernel> {
        self.update()?;
        let newest = self.depends(NEWEST)?;
        let image = newest
            .into_iter()
            .find(|name| name.starts_with("linux-image-"))
            .with_context(|| format!("{NEWEST} names no kernel"))?;
        let release = image.trim_start_matches("linux-image-").to_owned();
        let unpacked = self.folder.join(&release);
        if !unpacked.exists() {
            self.unpack(&image, &unpacked)?;
        }
        found_in(&unpacked, release)
    }

    /// Asks for the suite's index, if what is here is old. Without a network what is here must do.
    fn update(&self) -> Result<()> {
        let stamp = self.folder.join("updated");
        let age = fs::metadata(&stamp).and_then(|it| it.modified()).ok();
        let age = age.and_then(|updated| SystemTime::now().duration_since(updated).ok());
        if age.is_some_and(|age| age < FRESH) {
            return Ok(());
        }
        match output_of(self.apt("apt-get").args(["-qq", "update"])) {
            Ok(_) => fs::write(stamp, "").context("cannot note that the index is fresh"),
            Err(error) if age.is_some() => {
                println!("{}: the index of before is used: {error:#}", self.name);
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// The packages that `package` depends on. The newest version's come last in apt's list of a package's fields.
    fn depends(&self, package: &str) -> Result<Vec<String>> {
        let fields = output_of(self.apt("apt-cache").args(["--no-all-versions", "show", package]))?;
        let depends = fields.lines().find_map(|line| line.strip_prefix("Depends: "));
        let names = depends.unwrap_or_default().split([',', '|']);
        Ok(names.filter_map(|name| name.split_whitespace().next()).map(str::to_owned).collect())
    }

    /// Newer packagings have the image itself, its modules and the list of what is built in in packages of their own.
    fn unpack(&self, image: &str, to: &Path) -> Result<()> {
        let mut packages = vec![image.to_owned()];
        let parts = ["linux-base-", "linux-binary-", "linux-modules-"];
        let depends = self.depends(image)?;
        packages.extend(depends.into_iter().filter(|name| parts.iter().any(|part| name.starts_with(part))));
        println!("fetching {} of {}", packages.join(", "), self.name);
        let kept = self.folder.join("packages");
        output_of(self.apt("apt-get").args(["-q", "download"]).args(&packages).current_dir(&kept))?;
        let unfinished = self.folder.join("unfinished");
        let _ = fs::remove_dir_all(&unfinished);
        for package in &packages {
            let file = newest_of(&kept, package)?;
            output_of(Command::new("dpkg-deb").arg("-x").arg(file).arg(&unfinished))?;
        }
        fs::rename(&unfinished, to).with_context(|| format!("cannot make {}", to.display()))
    }

    /// An apt that knows of this suite only.
    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let at = |key: &str, name: &str| format!("{key}={}", self.folder.join(name).display());
        let settings = [
            at("Dir::State::status", "status"),
            at("Dir::State::lists", "lists"),
            at("Dir::Cache", "cache"),
            at("Dir::Etc::sourcelist", "sources.list"),
            "Dir::Etc::sourceparts=/dev/null".into(),
            "Dir::Etc::preferences=/dev/null".into(),
            "Dir::Etc::preferencesparts=/dev/null".into(),
            "APT::Architecture=amd64".into(),
            "APT::Sandbox::User=root".into(),
            "APT::Update::Post-Invoke-Success=".into(),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=3".into(),
        ];
        for setting in settings {
            command.args(["-o", &setting]);
        }
        command
    }
}

/// The file of a package; where versions of before are kept too, the one fetched last.
fn newest_of(folder: &Path, package: &str) -> Result<PathBuf> {
    let prefix = format!("{package}_");
    let mut files = Vec::new();
    for file in fs::read_dir(folder)? {
        let file = file?;
        if file.file_name().to_string_lossy().starts_with(&prefix) {
            files.push((file.metadata()?.modified()?, file.path()));
        }
    }
    files.sort();
    files.pop().map(|(_, path)| path).with_context(|| format!("apt did not fetch {package}"))
}

/// Where a packaging has its files: /boot and /lib, or all of it below /usr/lib/modules.
fn found_in(unpacked: &Path, release: String) -> Result<Kernel> {
    let first = |names: [String; 2]| names.into_iter().map(|name| unpacked.join(name)).find(|it| it.exists());
    let image = first([format!("boot/vmlinuz-{release}"), format!("usr/lib/modules/{release}/vmlinuz")]);
    let modules = first([format!("lib/modules/{release}"), format!("usr/lib/modules/{release}")]);
    ensure!(
        image.is_some() && modules.is_some(),
        "{} has no kernel or no modules where Debian's packages had them; see {}",
        unpacked.display(),
        file!()
    );
    let (image, modules) = (image.unwrap_or_default(), modules.unwrap_or_default());
    Ok(Kernel { release, image, modules })
}
