//! A terminal with kubectl on it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use libtest_mimic::Failed;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::kubectl::eventually;

/// Opening a terminal does not make it this process's own.
const NOCTTY: i32 = rustix::fs::OFlags::NOCTTY.bits().cast_signed();

pub(crate) struct Terminal {
    keys: File,
    controlling: OwnedFd,
    shown: Arc<Mutex<String>>,
    child: Child,
}

impl Terminal {
    /// Starts a command on a terminal of 90 columns and 30 rows, which is its session's own.
    pub(crate) fn start(of: &Command) -> Result<Self, Failed> {
        let controlling = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&controlling)?;
        unlockpt(&controlling)?;
        let name = ptsname(&controlling, Vec::new())?.into_string()?;
        let other = || File::options().read(true).write(true).custom_flags(NOCTTY).open(&name);
        let (stdin, stdout, stderr) = (other()?, other()?, other()?);
        resize(controlling.as_fd(), 90, 30)?;
        let mut command = Command::new("setsid");
        command.args(["--ctty", "--wait"]).arg(of.get_program()).args(of.get_args());
        for (name, value) in of.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.stdin(Stdio::from(stdin)).stdout(Stdio::from(stdout)).stderr(Stdio::from(stderr));
        let child = command.spawn()?;
        drop(command);
        let shown = Arc::new(Mutex::new(String::new()));
        let mut screen = File::from(controlling.try_clone()?);
        let seen = shown.clone();
        std::thread::spawn(move || {
            let mut space = [0; 4096];
            while let Ok(count @ 1..) = screen.read(&mut space) {
                let text = String::from_utf8_lossy(&space[..count]);
                seen.lock().unwrap_or_else(PoisonError::into_inner).push_str(&text);
            }
        });
        Ok(Self { keys: File::from(controlling.try_clone()?), controlling, shown, child })
    }

    pub(crate) fn resize(&self, columns: u16, rows: u16) -> Result<(), Failed> {
        resize(self.controlling.as_fd(), columns, rows)
    }

    pub(crate) fn press(&mut self, keys: &str) -> Result<(), Failed> {
        Ok(self.keys.write_all(keys.as_bytes())?)
    }

    pub(crate) fn shown(&self) -> String {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until this is on the screen.
    pub(crate) fn until(&self, text: &str) -> Result<(), Failed> {
        let seen = eventually(text, || self.shown().contains(text).then_some(()));
        seen.map_err(|_| format!("no {text:?} on the screen: {:?}", self.shown()).into())
    }

    /// Waits for the end, and gives the exit code.
    pub(crate) fn end(mut self) -> Result<Option<i32>, Failed> {
        Ok(self.child.wait()?.code())
    }
}

fn resize(terminal: std::os::fd::BorrowedFd<'_>, columns: u16, rows: u16) -> Result<(), Failed> {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    Ok(tcsetwinsize(terminal, size)?)
}
