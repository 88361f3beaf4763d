//! One container as its supervisor holds it: from launch to end, with its output.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memlet_cgroup::{Cgroup, Hierarchy, Limit, Pid};
use memlet_diagnosis::evidence::{ContainerEnd, Exit, OomScoreAdj, TakenAlong};
use memlet_policy::oom_kill_mode::OomKillMode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::pipe::PipeFlags;

use super::audience::{self, Audience};
use super::cgroup::make_cgroup;
use super::connection::Connection;
use super::exec_session::ExecSession;
use super::launch::{self, Launcher, Outcome, Stdio};
use super::log::{Lines, LogFile, Stream};
use super::losses::Losses;
use super::process;
use super::process::Forked;
use super::protocol::{Event, Launch};
use super::rotation;
use super::session::{Attach, Descriptor, Exec};
use super::socket;
use crate::causes::chain;
use crate::state::{self, ContainerFolder, SandboxFolder};

/// Reads of one output before anything else gets its turn.
const READS_A_TURN: usize = 16;

/// What a container left in its pipes is read within this; a pipe holds 64 KiB.
const LAST_READING: Duration = Duration::from_secs(2);

/// Where a container is in its life.
#[derive(Debug)]
enum Life {
    /// The launcher works on it.
    Launching { launcher: i32, outcome: OwnedFd, said: Vec<u8>, launcher_ended: bool },
    /// Its main process runs.
    Running { pid: i32 },
    /// It ended.
    Ended(Box<ContainerEnd>),
    /// It never ran.
    Failed,
}

/// An output of the container that is still open.
#[derive(Debug)]
struct Output {
    source: OwnedFd,
    lines: Lines,
}

/// A container under supervision.
#[derive(Debug)]
pub(crate) struct Container {
    id: String,
    folder: ContainerFolder,
    launch: Launch,
    cgroup: Cgroup,
    life: Life,
    outputs: Vec<Output>,
    /// The writing end of standard input, kept so that `stdin: true` without an attached client waits
    /// instead of seeing its end.
    stdin: Option<OwnedFd>,
    console: Option<UnixListener>,
    log: Option<LogFile>,
    /// Clients that are attached to it.
    audience: Audience,
    /// Tells of processes that the OOM killer took, where something is to go with them.
    losses: Option<Losses>,
    taken_along: Option<TakenAlong>,
    /// What took its Pod along before it was started.
    comes_too_late: Option<TakenAlong>,
    /// How it started, also when it has ended.
    started: Option<state::Start>,
    kill_at: Option<Instant>,
    /// A stop that came while the container was launched.
    stop_wanted: Option<(i32, Duration)>,
}

/// What a launch came to.
pub(crate) enum Launched {
    Started { pid: i32, at: Timestamp, oom_score_adj: OomScoreAdj },
    Failed { reason: String, at: Timestamp },
}

impl Container {
    /// Makes the container's cgroup and limits it, opens its log and begins its launch.
    pub(crate) fn begin(sandbox: &SandboxFolder, id: &str, hierarchy: &Hierarchy) -> io::Result<Self> {
        let folder = sandbox.container(id);
        let launch: Launch = state::read_json(&folder.launch())?;
        let cgroup = make_cgroup(hierarchy, &launch.cgroup)?;
        launch.memory.apply(&cgroup).map_err(told)?;
        let losses = Losses::watch(&cgroup, launch.oom_kill_mode).map_err(told)?;
        let rotation = launch.log_rotation;
        let log = launch.log.as_deref().map(|path| LogFile::open(path, rotation)).transpose()?;
        let console = launch.tty.then(|| socket::listen(&folder.console_socket())).transpose()?;
        let Streams { given, outputs, stdin } = streams(&launch)?;
        let Launcher { pid, outcome } = launch::launch(sandbox, id, &launch, given)?;
        let life = Life::Launching { launcher: pid, outcome, said: Vec::new(), launcher_ended: false };
        Ok(Self {
            id: id.to_owned(),
            folder,
            launch,
            cgroup,
            life,
            outputs,
            stdin,
            console,
            log,
            audience: Audience::default(),
            losses,
            taken_along: None,
            comes_too_late: None,
            started: None,
            kill_at: None,
            stop_wanted: None,
        })
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// The main process, while it runs.
    pub(crate) fn pid(&self) -> Option<i32> {
        match self.life {
            Life::Running { pid } => Some(pid),
            _ => None,
        }
    }

    /// What a daemon that has just connected should know: how it started, and how it ended.
    pub(crate) fn present(&self) -> Vec<Event> {
        let container = self.id.clone();
        let started = self.started.as_ref().map(|start| start.told(&container));
        let now = match &self.life {
            Life::Launching { .. } => Some(Event::Launching { container }),
            Life::Ended(end) => Some(Event::Ended { container, end: end.clone() }),
            Life::Running { .. } | Life::Failed => None,
        };
        started.into_iter().chain(now).collect()
    }

    /// Keeps on disk how the start went, for a daemon that comes after this supervisor.
    fn note_start(&mut self, start: state::Start) {
        if let Err(error) = state::write_json(&self.folder.start(), &start) {
            complain(&format!("container {}: its start cannot be recorded: {error}", self.id));
        }
        self.started = Some(start);
    }

    /// Every descriptor to wait for.
    pub(crate) fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let outcome = match &self.life {
            Life::Launching { outcome, .. } => Some(outcome.as_fd()),
            _ => None,
        };
        let losses = self.losses.iter().map(Losses::as_fd);
        outcome.into_iter().chain(losses).chain(self.outputs.iter().map(|output| output.source.as_fd()))
    }

    /// Reads the launcher's outcome as far as it has come; tells once how the launch went.
    pub(crate) fn launched(&mut self, now: Timestamp) -> Option<Launched> {
        let Life::Launching { outcome, said, launcher_ended, .. } = &mut self.life else { return None };
        // The end of the pipe alone would not do: what the launcher made may still hold the other end.
        if !read_available(outcome, said) && !*launcher_ended {
            return None;
        }
        let outcome = serde_json::from_slice(said).unwrap_or_else(|_| {
            let reason = "the process that was to start it died without a word".to_owned();
            Outcome::Failed { reason, killed: false, exit_code: None }
        });
        match outcome {
            Outcome::Started(pid) => {
                let oom_score_adj = process::oom_score_adj_of(pid, self.launch.oom_score_adj);
                if let Some(listener) = self.console.take() {
                    self.open_terminal(&listener);
                }
                self.life = Life::Running { pid };
                self.note_start(state::Start::Started { pid, at: now, oom_score_adj });
                if let Some(cause) = self.comes_too_late.take() {
                    self.take_along(&cause);
                }
                if let Some((signal, grace)) = self.stop_wanted.take() {
                    self.stop(signal, grace);
                }
                Some(Launched::Started { pid, at: now, oom_score_adj })
            }
            Outcome::Failed { reason, killed, .. } => Some(self.fail(reason, killed, now)),
        }
    }

    fn open_terminal(&mut self, listener: &UnixListener) {
        let terminal = launch::receive_terminal(listener).and_then(|terminal| {
            rustix::io::ioctl_fionbio(&terminal, true)?;
            Ok(terminal)
        });
        match terminal {
            Ok(source) => self.outputs.push(Output { source, lines: Lines::new(Stream::Stdout) }),
            Err(error) => complain(&format!("container {}: its terminal is lost: {error}", self.id)),
        }
    }

    /// The container could not be started; a limit that was too low for that is named.
    fn fail(&mut self, reason: String, killed: bool, now: Timestamp) -> Launched {
        // libcontainer kills what it has begun where it fails: only the kernel's own count tells an OOM kill.
        let killed = killed && self.cgroup.oom_kills() != Some(0);
        let reason = match self.launch.memory.limit {
            Some(Limit::Bytes(limit)) if killed => format!(
                "container init was OOM-killed (memory limit too low?): with a limit of {limit} it did not live to \
                 start its program ({reason})"
            ),
            _ if killed => format!("container init was killed before its program began ({reason})"),
            _ => reason,
        };
        // libcontainer may have failed late, with a process made already.
        self.kill();
        self.life = Life::Failed;
        self.note_start(state::Start::Failed { reason: reason.clone(), at: now });
        self.outputs.clear();
        Launched::Failed { reason, at: now }
    }

    /// Its launcher has been reaped: whatever it had to say is said.
    pub(crate) fn note_launcher_end(&mut self) {
        if let Life::Launching { launcher_ended, .. } = &mut self.life {
            *launcher_ended = true;
        }
    }

    /// The launcher that is still at work, to tell its end from the container's.
    pub(crate) fn launcher(&self) -> Option<i32> {
        match self.life {
            Life::Launching { launcher, .. } => Some(launcher),
            _ => None,
        }
    }

    /// Reads and logs what the container has written.
    pub(crate) fn log_output(&mut self, now: Timestamp) {
        let mut space = [0; 16 * 1024];
        let (mut outputs, mut log) = (std::mem::take(&mut self.outputs), self.log.take());
        let mut audience = std::mem::take(&mut self.audience);
        outputs.retain_mut(|output| {
            // A writer faster than the disk must not keep the supervisor here: the rest is read in the next turn.
            for _ in 0..READS_A_TURN {
                match rustix::io::read(&output.source, &mut space) {
                    Ok(count) if count > 0 => {
                        audience.give(output.lines.stream(), &space[..count]);
                        if let Some(log) = &mut log {
                            self.note(output.lines.take(&space[..count], now, log));
                            if output.lines.is_long() {
                                self.note(output.lines.flush_long(now, log));
                            }
                        }
                    }
                    Err(rustix::io::Errno::AGAIN) => return true,
                    Err(rustix::io::Errno::INTR) => {}
                    // The end of a pipe is 0, of a terminal EIO.
                    Ok(_) | Err(_) => {
                        if let Some(log) = &mut log {
                            self.note(output.lines.close(now, log));
                        }
                        return false;
                    }
                }
            }
            true
        });
        if let Some(log) = &mut log {
            self.compress(&log.take_to_compress());
        }
        (self.outputs, self.log, self.audience) = (outputs, log, audience);
    }

    /// Compresses files in a child: it takes a moment, in which nobody else should wait.
    fn compress(&self, files: &[PathBuf]) {
        if files.is_empty() {
            return;
        }
        // SAFETY: the supervisor has a single thread.
        match unsafe { process::fork(0) } {
            Ok(Forked::Child) => {
                process::reset_signals();
                let failed = files.iter().any(|file| rotation::compress(file).is_err());
                process::exit_child(i32::from(failed))
            }
            // Whoever reaps it need not know it. What failed is tried again after the next rotation.
            Ok(Forked::Parent { .. }) => {}
            Err(error) => complain(&format!("container {}: logs are not compressed: {error}", self.id)),
        }
    }

    /// Goes on in a new log file: somebody has moved the old one away.
    pub(crate) fn reopen_log(&mut self) {
        if let Some(Err(error)) = self.log.as_mut().map(LogFile::reopen) {
            complain(&format!("container {}: its log cannot be reopened: {error}", self.id));
        }
    }

    /// Attaches a client.
    pub(crate) fn attach(&mut self, connection: Connection, attach: &Attach) {
        if !matches!(self.life, Life::Running { .. }) {
            return audience::refuse(connection, "the container does not run");
        }
        let outputs: &[_] =
            if self.launch.tty { &[Stream::Stdout] } else { &[Stream::Stdout, Stream::Stderr] };
        let terminal = self.outputs.first().filter(|_| self.launch.tty);
        let terminal = terminal.map(|output| (Descriptor::Terminal, output.source.as_fd()));
        let pipe = self.stdin.as_ref().map(|stdin| (Descriptor::Stdin, stdin.as_fd()));
        // Who may not write to a terminal is told its size all the same.
        let input = terminal.or(pipe.filter(|_| attach.stdin && self.launch.stdin));
        self.audience.join(connection, outputs, input);
    }

    /// Runs a further program in it.
    pub(crate) fn exec(&self, connection: Connection, exec: &Exec, number: u64) -> ExecSession {
        if !matches!(self.life, Life::Running { .. }) {
            return ExecSession::refuse(connection, "the container does not run");
        }
        ExecSession::begin(connection, &self.folder, &self.launch, exec, number)
    }

    /// What its clients are waited for.
    pub(crate) fn audience(&self) -> impl Iterator<Item = (BorrowedFd<'_>, PollFlags)> {
        self.audience.awaited()
    }

    /// Serves its clients.
    pub(crate) fn serve_audience(&mut self) {
        if self.audience.go_on() && self.launch.stdin_once {
            self.stdin = None;
        }
    }

    /// Reads all that is there. Nobody writes any more, so this ends.
    fn log_the_rest(&mut self, now: Timestamp) {
        let deadline = Instant::now() + LAST_READING;
        loop {
            let ready = self.outputs.iter().any(|output| is_readable(&output.source));
            if !ready || Instant::now() > deadline {
                return;
            }
            self.log_output(now);
        }
    }

    fn note(&self, written: io::Result<()>) {
        if let Err(error) = written {
            complain(&format!("container {}: a log line is lost: {error}", self.id));
        }
    }

    /// Asks the main process to end, and sets the time at which it is killed; as soon as there is one, if it
    /// is being launched.
    pub(crate) fn stop(&mut self, signal: i32, grace: Duration) {
        let Some(pid) = self.pid() else {
            self.stop_wanted = Some((signal, grace));
            return;
        };
        process::signal(pid, if grace.is_zero() { libc::SIGKILL } else { signal });
        let kill_at = Instant::now() + grace;
        self.kill_at = Some(self.kill_at.map_or(kill_at, |earlier| earlier.min(kill_at)));
    }

    /// What it takes along when the OOM killer takes one of its processes.
    pub(crate) fn oom_kill_mode(&self) -> OomKillMode {
        self.launch.oom_kill_mode
    }

    /// Its name in the Pod.
    pub(crate) fn name(&self) -> &str {
        &self.launch.name
    }

    /// Whether it has lost a process since this was last asked, as far as anything follows from that.
    pub(crate) fn has_lost_a_process(&mut self, now: Instant) -> bool {
        self.losses.as_mut().is_some_and(|losses| losses.have_grown(&self.cgroup, now))
    }

    /// When to ask that again, unasked.
    pub(crate) fn look_at(&self) -> Option<Instant> {
        self.losses.as_ref().and_then(Losses::look_at)
    }

    /// Kills it for the loss of a process, its own or another container's; one that is being made, as soon as it runs.
    pub(crate) fn take_along(&mut self, cause: &TakenAlong) {
        match self.life {
            Life::Running { .. } => {}
            Life::Launching { .. } => {
                self.comes_too_late.get_or_insert_with(|| cause.clone());
                return;
            }
            Life::Ended(_) | Life::Failed => return,
        }
        // What the OOM killer has killed already, it does not die of this.
        if !self.pid().is_some_and(|pid| Pid::try_from(pid).is_ok_and(Pid::is_dying)) {
            self.taken_along.get_or_insert_with(|| cause.clone());
        }
        self.kill();
    }

    /// Kills it, and what still works on making it.
    pub(crate) fn kill_with_launcher(&self) {
        if let Some(launcher) = self.launcher() {
            process::signal(launcher, libc::SIGKILL);
        }
        self.kill();
    }

    /// Kills all that is in its cgroup.
    pub(crate) fn kill(&self) {
        if let Err(error) = self.cgroup.kill_all()
            && !error.is_gone()
        {
            complain(&format!("container {}: {}", self.id, chain(&error)));
        }
    }

    /// When its grace ends.
    pub(crate) fn kill_at(&self) -> Option<Instant> {
        self.pid().and(self.kill_at)
    }

    /// Kills it if its grace is over.
    pub(crate) fn kill_if_due(&mut self, now: Instant) {
        if let (Some(pid), Some(at)) = (self.pid(), self.kill_at)
            && now >= at
        {
            process::signal(pid, libc::SIGKILL);
            self.kill_at = None;
        }
    }

    /// Its main process has been reaped: reads the cgroups before anything is removed, kills what the main
    /// process left behind, and logs the rest of the output.
    pub(crate) fn ended(&mut self, exit: Exit, pod: Option<&Cgroup>, now: Timestamp) -> ContainerEnd {
        let end = ContainerEnd {
            exit,
            at: now,
            container: Some(self.cgroup.snapshot()),
            pod: pod.map(Cgroup::snapshot),
            // It may have ended by itself meanwhile.
            taken_along: self.taken_along.take().filter(|_| exit.is_sigkill()),
        };
        self.losses = None;
        if let Err(error) = self.cgroup.kill_all() {
            complain(&format!("container {}: {}", self.id, chain(&error)));
        }
        self.log_the_rest(now);
        // Whoever still holds an end of a pipe now is not of this container.
        self.close_outputs(now);
        self.audience.end(exit);
        self.stdin = None;
        launch::forget(&self.folder);
        if let Err(error) = state::write_json(&self.folder.end(), &end) {
            complain(&format!("container {}: its end cannot be recorded: {error}", self.id));
        }
        self.life = Life::Ended(Box::new(end.clone()));
        end
    }

    fn close_outputs(&mut self, now: Timestamp) {
        for mut output in std::mem::take(&mut self.outputs) {
            if let Some(mut log) = self.log.take() {
                self.note(output.lines.close(now, &mut log));
                self.log = Some(log);
            }
        }
    }
}

/// Both ends of a container's standard streams.
struct Streams {
    /// What the container gets.
    given: Stdio,
    /// What is read of it.
    outputs: Vec<Output>,
    /// What keeps its input open.
    stdin: Option<OwnedFd>,
}

fn streams(launch: &Launch) -> io::Result<Streams> {
    if launch.tty {
        return Ok(Streams { given: Stdio::Terminal, outputs: Vec::new(), stdin: None });
    }
    let output = |stream| -> io::Result<(OwnedFd, Output)> {
        let (source, sink) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        rustix::io::ioctl_fionbio(&source, true)?;
        Ok((sink, Output { source, lines: Lines::new(stream) }))
    };
    let (stdout, from_stdout) = output(Stream::Stdout)?;
    let (stderr, from_stderr) = output(Stream::Stderr)?;
    let (stdin, kept) = if launch.stdin {
        let (read, write) = rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?;
        // For the client that is handed it.
        rustix::io::ioctl_fionbio(&write, true)?;
        (read, Some(write))
    } else {
        (rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?, None)
    };
    let given = Stdio::Pipes { stdin, stdout, stderr };
    Ok(Streams { given, outputs: vec![from_stdout, from_stderr], stdin: kept })
}

fn is_readable(source: &OwnedFd) -> bool {
    let mut awaited = [PollFd::new(source, PollFlags::IN)];
    poll(&mut awaited, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|ready| ready > 0)
}

/// Reads what is there; true when the other end has closed.
pub(super) fn read_available(source: &OwnedFd, into: &mut Vec<u8>) -> bool {
    let mut space = [0; 4096];
    loop {
        match rustix::io::read(source, &mut space) {
            Ok(0) => return true,
            Ok(count) => into.extend_from_slice(&space[..count]),
            Err(rustix::io::Errno::AGAIN) => return false,
            Err(rustix::io::Errno::INTR) => {}
            Err(_) => return true,
        }
    }
}

/// An error as text with its causes, which an event can carry.
pub(crate) fn told(error: impl std::error::Error) -> io::Error {
    io::Error::other(chain(&error))
}

/// Says something in the supervisor's own file; it has no other reader.
pub(crate) fn complain(text: &str) {
    let _ = io::Write::write_fmt(&mut io::stderr(), format_args!("{} {text}\n", Timestamp::now()));
}
