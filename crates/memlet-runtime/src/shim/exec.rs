//! Becomes the container's program.
//!
//! Not by `execvp(3)`, which hands what the kernel cannot execute to `/bin/sh`: a program for another processor
//! would then fail as a shell script.

use std::env;
use std::ffi::{CString, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use libcontainer::oci_spec::runtime::Spec;

/// Becomes the program that the spec names. The environment is this process's own; libcontainer has set it.
/// Only returns, with the reason, where that fails; the reason is on standard error then.
pub(crate) fn execute(spec: &Spec) -> io::Error {
    let arguments = spec.process().as_ref().and_then(|process| process.args().clone()).unwrap_or_default();
    let error = attempt(&arguments);
    let name = arguments.first().map_or("", String::as_str);
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("exec {name}: {error}\n"));
    error
}

fn attempt(arguments: &[String]) -> io::Error {
    let Some(name) = arguments.first() else {
        return io::Error::new(io::ErrorKind::InvalidInput, "no command is given");
    };
    let Some(program) = find(name) else { return io::ErrorKind::NotFound.into() };
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
fn find(name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        return Some(PathBuf::from(name));
    }
    let path = env::var_os("PATH")?;
    let folders =
        path.as_bytes().split(|byte| *byte == b':').map(|folder| Path::new(OsStr::from_bytes(folder)));
    folders.map(|folder| folder.join(name)).find(|candidate| is_program(candidate))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;

    path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}
