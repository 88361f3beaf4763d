//! Where the runtime keeps what must outlive the daemon: one folder per sandbox, one per container.
//!
//! ```text
//! <state>/sandboxes/<sandbox>/sandbox.json     what the supervisor is to make
//!                             record.json      what the daemon knows of it
//!                             shim.sock        its socket
//!                             shim.log         its complaints
//!                             pause/           the empty root of the pause process
//!                             shm/             the Pod's shared memory
//!                             <container>/launch.json   how to start it
//!                                         config.json   its OCI spec
//!                                         record.json   what the daemon knows of it
//!                                         rootfs/       the empty root of a built-in workload
//!                                         merged/       the mounted image of any other
//!                                         start.json    how its start went
//!                                         end.json      how it ended
//!                                         exec-1/       a further program that is being launched in it
//! ```
//!
//! A `record.json` is written last of what the daemon writes, and whole: what has none was being made when somebody
//! died. [`records`] says what is in it; `start.json` and `end.json` are the supervisor's.

pub(crate) mod records;

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use memlet_diagnosis::evidence::OomScoreAdj;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::shim::protocol::Event;

/// How the start of a container went, as its supervisor keeps it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(crate) enum Start {
    /// Its main process ran.
    Started {
        /// The main process.
        pid: i32,
        /// When.
        at: Timestamp,
        /// Wanted and had.
        oom_score_adj: OomScoreAdj,
    },
    /// It did not start.
    Failed {
        /// Why.
        reason: String,
        /// When.
        at: Timestamp,
    },
}

impl Start {
    /// As the supervisor tells it.
    pub(crate) fn told(&self, container: &str) -> Event {
        let container = container.to_owned();
        match self.clone() {
            Self::Started { pid, at, oom_score_adj } => Event::Started { container, pid, at, oom_score_adj },
            Self::Failed { reason, at } => Event::StartFailed { container, reason, at },
        }
    }
}

/// The folder of one sandbox.
#[derive(Clone, Debug)]
pub struct SandboxFolder(PathBuf);

/// The folder of one container.
#[derive(Clone, Debug)]
pub struct ContainerFolder(PathBuf);

impl SandboxFolder {
    /// The folder of the sandbox `id` under the runtime's `state` folder.
    pub fn new(state: &Path, id: &str) -> Self {
        Self(state.join("sandboxes").join(id))
    }

    /// An existing folder, as the supervisor is handed it.
    pub fn at(path: PathBuf) -> Self {
        Self(path)
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// What the supervisor is to make.
    pub fn description(&self) -> PathBuf {
        self.0.join("sandbox.json")
    }

    /// What the daemon knows of it.
    pub fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    /// The supervisor's socket.
    pub fn socket(&self) -> PathBuf {
        self.0.join("shim.sock")
    }

    /// The supervisor's complaints.
    pub fn complaints(&self) -> PathBuf {
        self.0.join("shim.log")
    }

    /// The empty root of the pause process.
    pub fn pause_root(&self) -> PathBuf {
        self.0.join("pause")
    }

    /// The Pod's shared memory: a tmpfs, mounted by the supervisor.
    pub fn shared_memory(&self) -> PathBuf {
        self.0.join("shm")
    }

    /// Unmounts the shared memory and removes the folder with all that is in it. Only when nothing runs in
    /// the sandbox any more.
    ///
    /// # Errors
    /// Something is still mounted there, or cannot be removed.
    pub fn remove(&self) -> io::Result<()> {
        use rustix::io::Errno;
        use rustix::mount::{UnmountFlags, unmount};

        match unmount(self.shared_memory(), UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
            // Not mounted, or never made.
            Ok(()) | Err(Errno::INVAL | Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        match fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    /// The folders that are its containers', by the shape of their names.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn containers(&self) -> io::Result<Vec<(String, ContainerFolder)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            let Ok(name) = entry.file_name().into_string() else { continue };
            if is_id(&name) && entry.file_type()?.is_dir() {
                found.push((name, ContainerFolder(entry.path())));
            }
        }
        Ok(found)
    }

    /// The folder of one of its containers.
    pub fn container(&self, id: &str) -> ContainerFolder {
        ContainerFolder(self.0.join(id))
    }
}

impl ContainerFolder {
    /// Its path: also the OCI bundle.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// How to start the container.
    pub fn launch(&self) -> PathBuf {
        self.0.join("launch.json")
    }

    /// The OCI runtime spec.
    pub fn spec(&self) -> PathBuf {
        self.0.join("config.json")
    }

    /// The root filesystem.
    pub fn rootfs(&self) -> PathBuf {
        self.0.join("rootfs")
    }

    /// What the daemon knows of it.
    pub fn record(&self) -> PathBuf {
        self.0.join("record.json")
    }

    /// How its start went.
    pub fn start(&self) -> PathBuf {
        self.0.join("start.json")
    }

    /// How the container ended.
    pub fn end(&self) -> PathBuf {
        self.0.join("end.json")
    }

    /// What is only there while a further program is launched in the container, the `number`th.
    pub fn exec(&self, number: u64) -> PathBuf {
        self.0.join(format!("exec-{number}"))
    }

    /// Where a terminal's other end is received.
    pub fn console_socket(&self) -> PathBuf {
        self.0.join("console.sock")
    }
}

/// Whether this may name a sandbox or a container: 64 hexadecimal digits.
pub(crate) fn is_id(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Makes a folder that only root may look into, with its parents.
///
/// # Errors
/// The folder cannot be made.
pub fn make_private_folder(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Writes `value` as JSON so that a reader sees the old file or the new one, never half of it.
///
/// # Errors
/// The file cannot be written, for example because the disk is full.
pub fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let draft = path.with_extension("draft");
    let mut file = fs::File::create(&draft)?;
    let written = serde_json::to_vec(value).map_err(io::Error::from).and_then(|text| file.write_all(&text));
    match written.and_then(|()| fs::rename(&draft, path)) {
        Ok(()) => Ok(()),
        Err(error) => {
            let _ = fs::remove_file(&draft);
            Err(error)
        }
    }
}

/// Reads what [`write_json`] wrote.
///
/// # Errors
/// The file cannot be read or holds something else.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}
