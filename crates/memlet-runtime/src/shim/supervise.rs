//! The supervisor's one loop: wait for children, output, daemons and the end of a grace; act; tell.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memlet_cgroup::{Cgroup, Hierarchy};
use memlet_diagnosis::evidence::{ContainerEnd, Exit, TakenAlong};
use memlet_policy::oom_kill_mode::OomKillMode;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::mount::MountFlags;

use super::audience;
use super::cgroup::make_cgroup;
use super::connection::Connection;
use super::container::{Container, Launched, complain, told};
use super::exec_session::ExecSession;
use super::pause;
use super::process;
use super::protocol::{Event, Request, Sandbox, VERSION};
use super::session::Exec;
use crate::state::{self, SandboxFolder};

/// Supervises the sandbox described in `folder` until it is told to end.
pub(crate) fn run(folder: SandboxFolder) -> io::Result<()> {
    process::shed_inheritance();
    if !rustix::net::sockopt::socket_acceptconn(io::stdin()).unwrap_or(false) {
        return Err(io::Error::other("memlet starts its supervisors itself: run `memlet run` instead"));
    }
    // SAFETY: standard input is open, as was just asked, and nothing in a supervisor uses it as such.
    let listener = UnixListener::from(unsafe { OwnedFd::from_raw_fd(0) });
    listener.set_nonblocking(true)?;
    let _ = rustix::process::setsid();
    if let Ok(name) = std::ffi::CString::new(super::NAME) {
        let _ = rustix::thread::set_name(&name);
    }
    process::adopt_orphans()?;
    let signals = process::awaited_signals()?;
    let mut supervisor = Supervisor {
        folder,
        hierarchy: None,
        pod: None,
        pause: None,
        pause_cgroup: None,
        sandbox: None,
        containers: BTreeMap::new(),
        pod_killed: None,
        connections: Vec::new(),
        sessions: Vec::new(),
        session_count: 0,
        strangers: BTreeMap::new(),
        ending: false,
        ended_by_signal: false,
    };
    if let Err(error) = supervisor.make_sandbox() {
        supervisor.sandbox = Some(Event::SandboxFailed { reason: error.to_string() });
        supervisor.ending = true;
    }
    supervisor.serve(&listener, &signals)
}

struct Supervisor {
    folder: SandboxFolder,
    hierarchy: Option<Hierarchy>,
    pod: Option<Cgroup>,
    pause: Option<i32>,
    /// Counts the kills of pause, for as long as it may matter why a container did not start.
    pause_cgroup: Option<Cgroup>,
    /// Ready or failed, repeated to every daemon that connects.
    sandbox: Option<Event>,
    containers: BTreeMap<String, Container>,
    /// What took the whole Pod along: also what the daemon asked for before it heard of that.
    pod_killed: Option<TakenAlong>,
    connections: Vec<Connection>,
    /// Programs that clients run in containers.
    sessions: Vec<ExecSession>,
    /// How many there were.
    session_count: u64,
    /// Children that ended before their launcher said whose they are.
    strangers: BTreeMap<i32, Exit>,
    ending: bool,
    /// Whoever ended it so does not listen.
    ended_by_signal: bool,
}

impl Supervisor {
    fn make_sandbox(&mut self) -> io::Result<()> {
        let description: Sandbox = state::read_json(&self.folder.description())?;
        let hierarchy = Hierarchy::detect().map_err(told)?;
        let cgroup = make_cgroup(&hierarchy, &description.cgroup)?;
        if description.own_ipc {
            mount_shared_memory(&self.folder)?;
        }
        let pause =
            pause::start(&self.folder, &description, &cgroup).map_err(|error| explained(error, &cgroup))?;
        self.pause = Some(pause);
        self.pod = match &description.pod_cgroup {
            Some(path) => Some(Cgroup::open(&hierarchy, path).map_err(told)?),
            None => None,
        };
        let oom_score_adj = process::oom_score_adj_of(pause, description.oom_score_adj);
        self.sandbox = Some(Event::SandboxReady { pause, oom_score_adj });
        self.hierarchy = Some(hierarchy);
        self.pause_cgroup = Some(cgroup);
        Ok(())
    }

    fn serve(&mut self, listener: &UnixListener, signals: &OwnedFd) -> io::Result<()> {
        // Ending without anybody who listens: the daemon is about to connect, so give it its moment.
        let mut farewell = None;
        loop {
            if self.ending {
                let until = *farewell.get_or_insert_with(|| Instant::now() + Duration::from_secs(5));
                let is_heard = !self.connections.is_empty() || self.ended_by_signal;
                let all_told = is_heard && !self.connections.iter().any(Connection::has_more_to_say);
                if (self.all_reaped() && all_told) || Instant::now() >= until {
                    return Ok(());
                }
            }
            self.wait(listener, signals, farewell)?;
            self.accept(listener);
            if drain(signals) {
                self.ended_by_signal = true;
                self.end();
            }
            for container in self.containers.values_mut() {
                container.log_output(Timestamp::now());
            }
            self.reap()?;
            self.follow_losses();
            self.note_launches();
            self.answer();
            self.sessions.retain_mut(ExecSession::go_on);
            for container in self.containers.values_mut() {
                container.serve_audience();
                container.kill_if_due(Instant::now());
            }
            self.connections.retain_mut(|connection| {
                connection.write_on();
                !connection.is_broken()
            });
        }
    }

    fn wait(&self, listener: &UnixListener, signals: &OwnedFd, farewell: Option<Instant>) -> io::Result<()> {
        let of_containers = self.containers.values().flat_map(|it| [it.kill_at(), it.look_at()]).flatten();
        let next = of_containers.chain(farewell).min();
        let timeout = next.map(|at| {
            let left = at.saturating_duration_since(Instant::now()) + Duration::from_millis(1);
            Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }
        });
        let mut awaited = vec![PollFd::new(listener, PollFlags::IN), PollFd::new(signals, PollFlags::IN)];
        for connection in &self.connections {
            let more = if connection.has_more_to_say() { PollFlags::OUT } else { PollFlags::empty() };
            awaited.push(PollFd::from_borrowed_fd(connection.stream.as_fd(), PollFlags::IN | more));
        }
        for container in self.containers.values() {
            awaited.extend(
                container.descriptors().map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)),
            );
            awaited.extend(container.audience().map(|(it, flags)| PollFd::from_borrowed_fd(it, flags)));
        }
        for session in &self.sessions {
            // What has broken is not waited for: it would be ready for ever.
            let connection = session.connection();
            let heard = (!connection.is_broken()).then(|| connection.stream.as_fd());
            let sources = session.outcome().into_iter().chain(heard);
            awaited.extend(sources.map(|source| PollFd::from_borrowed_fd(source, PollFlags::IN)));
        }
        match poll(&mut awaited, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn accept(&mut self, listener: &UnixListener) {
        while let Ok((stream, _)) = listener.accept() {
            let Ok(mut connection) = Connection::new(stream) else { continue };
            let hello = Event::Hello { version: VERSION, pid: std::process::id().cast_signed() };
            let sandbox = self.sandbox.iter().cloned();
            let containers = self.containers.values().flat_map(Container::present);
            for event in [hello].into_iter().chain(sandbox).chain(containers).chain([Event::Present]) {
                connection.tell(&event);
            }
            self.connections.push(connection);
        }
    }

    fn tell(&mut self, event: &Event) {
        for connection in &mut self.connections {
            connection.tell(event);
        }
    }

    fn note_launches(&mut self) {
        let now = Timestamp::now();
        let ending = self.ending;
        let launched: Vec<_> = self
            .containers
            .values_mut()
            .filter_map(|container| Some((container.id().to_owned(), container.launched(now)?)))
            .collect();
        for (container, launched) in launched {
            match launched {
                Launched::Started { pid, at, oom_score_adj } => {
                    if ending && let Some(late) = self.containers.get(&container) {
                        late.kill();
                    }
                    self.tell(&Event::Started { container, pid, at, oom_score_adj });
                    if let Some(exit) = self.strangers.remove(&pid) {
                        self.note_end(pid, exit);
                    }
                }
                Launched::Failed { reason, at } => {
                    let reason = self.start_failure(reason);
                    self.tell(&Event::StartFailed { container, reason, at });
                }
            }
        }
        let running: Vec<_> = self.sessions.iter_mut().filter_map(ExecSession::launched).collect();
        for pid in running {
            if let Some(exit) = self.strangers.remove(&pid) {
                self.note_end(pid, exit);
            }
        }
        if !self.is_launching() {
            // Nobody can claim them any more, and their pids may come again.
            self.strangers.clear();
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        while let Some((pid, exit)) = process::reap()? {
            if self.pause == Some(pid) {
                self.pause = None;
                if !self.ending {
                    let reason = self.start_failure(format!("the pause process ended ({exit:?})"));
                    self.sandbox = Some(Event::SandboxFailed { reason: reason.clone() });
                    self.tell(&Event::SandboxFailed { reason });
                    self.end();
                }
            } else {
                self.note_end(pid, exit);
            }
        }
        Ok(())
    }

    fn note_end(&mut self, pid: i32, exit: Exit) {
        let now = Timestamp::now();
        if let Some(container) = self.containers.values_mut().find(|container| container.pid() == Some(pid)) {
            let end = Box::new(container.ended(exit, self.pod.as_ref(), now));
            let (container, cause) = (container.id().to_owned(), cause_of(container));
            // Its own death may be the first that is heard of it.
            if end.taken_along.is_none() && lost_a_process(&end) {
                self.take_along(&container, &cause);
            }
            self.tell(&Event::Ended { container, end });
        } else if let Some(container) =
            self.containers.values_mut().find(|container| container.launcher() == Some(pid))
        {
            container.note_launcher_end();
        } else if let Some(session) = self.sessions.iter_mut().find(|session| session.pid() == Some(pid)) {
            session.ended(exit);
        } else if let Some(session) = self.sessions.iter_mut().find(|session| session.launcher() == Some(pid))
        {
            session.note_launcher_end();
        } else if self.is_launching() {
            self.strangers.insert(pid, exit);
        }
    }

    /// Whether something is being started whose process is not known yet.
    fn is_launching(&self) -> bool {
        self.containers.values().any(|container| container.launcher().is_some())
            || self.sessions.iter().any(|session| session.launcher().is_some())
    }

    /// Lets what the Pod wants to die with a process that the OOM killer took die with it.
    fn follow_losses(&mut self) {
        let now = Instant::now();
        let lost = self.containers.values_mut().filter_map(|container| {
            container.has_lost_a_process(now).then(|| (container.id().to_owned(), cause_of(container)))
        });
        for (id, cause) in lost.collect::<Vec<_>>() {
            self.take_along(&id, &cause);
        }
    }

    fn take_along(&mut self, id: &str, cause: &TakenAlong) {
        if cause.mode == OomKillMode::Pod {
            self.pod_killed.get_or_insert_with(|| cause.clone());
        }
        for (other, container) in &mut self.containers {
            let goes_along = match cause.mode {
                OomKillMode::Process => false,
                OomKillMode::Container => other == id,
                OomKillMode::Pod => true,
            };
            if goes_along {
                container.take_along(cause);
            }
        }
    }

    fn answer(&mut self) {
        let mut requests = Vec::new();
        for mut connection in std::mem::take(&mut self.connections) {
            let mut asked = connection.requests().into_iter();
            match asked.next() {
                Some(Request::Exec(exec)) => self.exec(connection, &exec),
                Some(Request::Attach(attach)) => match self.containers.get_mut(&attach.container) {
                    Some(container) => container.attach(connection, &attach),
                    None => audience::refuse(connection, "the container does not run"),
                },
                first => {
                    requests.extend(first.into_iter().chain(asked));
                    self.connections.push(connection);
                }
            }
        }
        for request in requests {
            match request {
                Request::Start { container } => self.start(&container),
                Request::Stop { container, signal, grace_ms } => {
                    if let Some(container) = self.containers.get_mut(&container) {
                        container.stop(signal, Duration::from_millis(grace_ms));
                    }
                }
                Request::ReopenLog { container } => {
                    if let Some(container) = self.containers.get_mut(&container) {
                        container.reopen_log();
                    }
                }
                // Of sessions, which are no daemon's connection.
                Request::Exec(_) | Request::Attach(_) | Request::CloseStdin => {}
                Request::Shutdown => self.end(),
            }
        }
    }

    fn exec(&mut self, connection: Connection, exec: &Exec) {
        self.session_count += 1;
        let session = match self.containers.get(&exec.container) {
            Some(container) => container.exec(connection, exec, self.session_count),
            None => ExecSession::refuse(connection, "the container does not run"),
        };
        self.sessions.push(session);
    }

    fn end(&mut self) {
        self.ending = true;
        self.kill_everything();
    }

    fn start(&mut self, id: &str) {
        if self.containers.contains_key(id) {
            return;
        }
        let begun = match (&self.hierarchy, self.pause) {
            (Some(hierarchy), Some(_)) => Container::begin(&self.folder, id, hierarchy),
            // The spec names the namespaces by the pid of pause, which may be another's by now.
            _ => Err(io::Error::other("its sandbox is gone")),
        };
        match begun {
            Ok(mut container) => {
                // One that ran before is started again because it ended. One that never ran would be all that is left of
                // the Pod.
                let is_first = !self.containers.values().any(|other| other.name() == container.name());
                if let Some(cause) = self.pod_killed.as_ref().filter(|_| is_first) {
                    container.take_along(cause);
                }
                self.containers.insert(id.to_owned(), container);
            }
            Err(error) => {
                let at = Timestamp::now();
                let reason = self.start_failure(error.to_string());
                let failed = state::Start::Failed { reason, at };
                if let Err(error) = state::write_json(&self.folder.container(id).start(), &failed) {
                    complain(&format!("container {id}: that it does not start cannot be recorded: {error}"));
                }
                self.tell(&failed.told(id));
            }
        }
    }

    /// Why a container did not start, where it is that the kernel killed pause: whatever was being started was
    /// killed with it, and can say nothing of that itself.
    fn start_failure(&self, reason: String) -> String {
        match &self.pause_cgroup {
            Some(cgroup) if was_oom_killed(cgroup) => format!(
                "the pause process was OOM-killed (memory limit too low?), and the Pod's containers end with it \
                 ({reason})"
            ),
            _ => reason,
        }
    }

    /// Whether none of its children is left, not even unreaped.
    fn all_reaped(&self) -> bool {
        let over = |container: &Container| container.pid().is_none() && container.launcher().is_none();
        self.pause.is_none() && self.containers.values().all(over)
    }

    /// Kills pause and every container, each by its cgroup.
    fn kill_everything(&mut self) {
        for container in self.containers.values() {
            container.kill_with_launcher();
        }
        if let Some(pause) = self.pause {
            process::signal(pause, libc::SIGKILL);
        }
    }
}

fn cause_of(container: &Container) -> TakenAlong {
    TakenAlong { container: container.name().to_owned(), mode: container.oom_kill_mode() }
}

fn lost_a_process(end: &ContainerEnd) -> bool {
    end.container.as_ref().and_then(|memory| memory.oom_kills).is_some_and(|kills| kills > 0)
}

/// Says so where the kernel's OOM killer is why pause could not be made: the Pod's limit is all it can hit.
fn explained(error: io::Error, cgroup: &Cgroup) -> io::Error {
    if !was_oom_killed(cgroup) {
        return error;
    }
    io::Error::other(format!(
        "the pause process was OOM-killed (memory limit too low?): the Pod's limit leaves no room to start anything \
         ({error})"
    ))
}

fn was_oom_killed(cgroup: &Cgroup) -> bool {
    cgroup.oom_kills().is_some_and(|kills| kills > 0)
}

/// 64 MiB at most, as every container runtime has it; charged to whoever writes into it.
fn mount_shared_memory(folder: &SandboxFolder) -> io::Result<()> {
    let at = folder.shared_memory();
    state::make_private_folder(&at)?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    Ok(rustix::mount::mount("shm", &at, "tmpfs", flags, Some(c"mode=1777,size=65536k"))?)
}

/// Empties the descriptor of signals: of children that ended, `reap` asks which. Whether this process is to end.
fn drain(signals: &OwnedFd) -> bool {
    let mut is_to_end = false;
    while let Some(signal) = process::next_signal(signals) {
        is_to_end |= signal == libc::SIGTERM;
    }
    is_to_end
}
