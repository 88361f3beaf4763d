//! Becomes the container's program.
//!
//! Not by `execvp(3)`, which hands what the kernel cannot execute to `/bin/sh`: a program for another processor
//! would then fail as a shell script.

use std::env;
use std::ffi::{CString, OsStr, OsString};
use std::fs::Metadata;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;
use libcontainer::workload::ExecutorValidationError;
use serde::{Deserialize, Serialize};

/// Why a program cannot be run, in runc's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(super) enum Unusable {
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotInPath(String),
    #[error("exec: {0:?}: stat {0}: no such file or directory")]
    Missing(String),
    #[error("exec: {name:?}: {reason}")]
    Refused { name: String, reason: String },
}

impl Unusable {
    /// As shells have it.
    pub(super) fn exit_code(&self) -> i32 {
        match self {
            Self::NotInPath(_) | Self::Missing(_) => 127,
            Self::Refused { .. } => 126,
        }
    }

    /// Says it through a pipe, to whoever asks [`Unusable::heard`].
    pub(super) fn say(&self, pipe: BorrowedFd<'_>) {
        let text = serde_json::to_vec(self).unwrap_or_default();
        // Shorter than a pipe's least buffer, so it goes out whole.
        let _ = rustix::io::write(pipe, &text);
    }

    pub(super) fn heard(pipe: BorrowedFd<'_>) -> Option<Self> {
        let mut space = [0; 4096];
        let count = rustix::io::read(pipe, &mut space).ok()?;
        serde_json::from_slice(space.get(..count)?).ok()
    }
}

/// Becomes the program that the spec names. The environment is this process's own; libcontainer has set it.
/// Only returns, with the reason, where that fails; the reason is on standard error then.
pub(crate) fn execute(spec: &Spec) -> io::Error {
    let arguments = arguments(spec);
    let error = attempt(&arguments);
    let name = arguments.first().map_or("", String::as_str);
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("exec {name}: {error}\n"));
    error
}

/// The same, without a word on standard error, which is a client's.
pub(super) fn become_program(spec: &Spec) -> Unusable {
    let arguments = arguments(spec);
    let error = attempt(&arguments);
    Unusable::Refused { name: arguments.first().cloned().unwrap_or_default(), reason: reason(&error) }
}

/// Looks for the program along the PATH that the spec gives.
pub(super) fn check(spec: &Spec) -> Result<(), Unusable> {
    let name = arguments(spec).first().cloned().unwrap_or_default();
    let environment = spec.process().as_ref().and_then(|process| process.env().clone()).unwrap_or_default();
    let path = environment.iter().rev().find_map(|entry| entry.strip_prefix("PATH=")).map(OsString::from);
    let Some(program) = find(&name, path) else { return Err(Unusable::NotInPath(name)) };
    let refused = |reason: &str| Err(Unusable::Refused { name: name.clone(), reason: reason.to_owned() });
    match program.metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Err(Unusable::Missing(name)),
        Err(error) => refused(&reason(&error)),
        Ok(file) if file.is_dir() => refused("is a directory"),
        Ok(file) if !is_program(&program) || is_own(&file) => refused("permission denied"),
        Ok(_) => Ok(()),
    }
}

/// The same for libcontainer, which makes other words of it: what is wrong is said through the pipe.
pub(super) fn validate(spec: &Spec, unusable: BorrowedFd<'_>) -> Result<(), ExecutorValidationError> {
    check(spec).map_err(|found| {
        found.say(unusable);
        ExecutorValidationError::ArgValidationError(found.to_string())
    })
}

/// Whether it is the program that this process still is, by way of `/proc`: a container has no right to that.
fn is_own(file: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt;

    let is_same = |own: Metadata| (own.dev(), own.ino()) == (file.dev(), file.ino());
    std::fs::metadata("/proc/self/exe").is_ok_and(is_same)
}

/// The kernel's words, without Rust's number behind them.
fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_lowercase()
}

fn arguments(spec: &Spec) -> Vec<String> {
    spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default()
}

fn attempt(arguments: &[String]) -> io::Error {
    let Some(name) = arguments.first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no command is given");
    };
    let Some(program) = find(name, env::var_os("PATH")) else { return io::ErrorKind::NotFound.into() };
    let words: Result<Vec<_>, _> = arguments.iter().map(|word| CString::new(word.as_bytes())).collect();
    let (Ok(program), Ok(words)) = (CString::new(program.as_os_str().as_bytes()), words) else {
        return io::Error::new(io::ErrorKind::InvalidInput, "a NUL byte in the command");
    };
    let mut pointers: Vec<_> = words.iter().map(|word| word.as_ptr()).collect();
    pointers.push(std::ptr::null());
    // SAFETY: `program` and every entry of `pointers` but the last are NUL-terminated and outlive the call; the
    // last is null.
    unsafe { libc::execv(program.as_ptr(), pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// A name with a slash is a path; another is looked for along PATH.
fn find(name: &str, path: Option<OsString>) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    let path = path?;
    let mut folders =
        path.as_bytes().split(|byte| *byte == b':').map(|folder| Path::new(OsStr::from_bytes(folder)));
    folders.find_map(|folder| Some(folder.join(name)).filter(|candidate| is_program(candidate)))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
