//! Exec and attach: CRI answers them with an address, at which a client then streams.
//!
//! The address is on loopback, as containerd's is, and holds a token that is good for one connection within a minute:
//! whoever knows it may stream, and nobody else. The listener is made when it is first needed. A program whose output is
//! only wanted whole (`ExecSync`) needs none of that.

mod channels; // frames of the WebSocket protocol
mod pump; // between a client and a program
mod server; // HTTP
mod sync; // ExecSync
mod tokens; // one-time addresses

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use k8s_cri::v1 as cri;
use tokio::net::TcpListener;
use tokio::sync::OnceCell;
use tonic::Status;

use super::Runtime;
use super::container::not_found;
use super::sandbox::internal;
use super::table::ContainerState;
use crate::session::{Refused, Session, Streams};
use crate::shim::protocol::Request;
use crate::shim::session::{Attach, Exec};
use crate::state::SandboxFolder;
use tokens::Tokens;

/// What a client was given an address for.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    request: Request,
    wants: Wants,
    /// What it streams with is a terminal.
    tty: bool,
}

/// The streams that a client wants.
#[derive(Clone, Copy, Debug)]
struct Wants {
    stdin: bool,
    stdout: bool,
    stderr: bool,
}

/// The streaming side of a runtime.
#[derive(Debug, Default)]
pub(super) struct Streaming {
    tokens: Tokens<Asked>,
    address: OnceCell<SocketAddr>,
}

impl Runtime {
    /// Where a client can run this program.
    pub(super) async fn exec_address(&self, request: cri::ExecRequest) -> Result<String, Status> {
        let wants = Wants { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        wants.check(request.tty)?;
        check_command(&request.cmd)?;
        self.folder_of_running(&request.container_id)?;
        let exec = Exec {
            container: request.container_id,
            command: request.cmd,
            tty: request.tty,
            stdin: request.stdin,
        };
        let asked = Asked { request: Request::Exec(exec), wants, tty: request.tty };
        self.address("exec", asked).await
    }

    /// Where a client can attach to this container.
    pub(super) async fn attach_address(&self, request: cri::AttachRequest) -> Result<String, Status> {
        let wants = Wants { stdin: request.stdin, stdout: request.stdout, stderr: request.stderr };
        wants.check(request.tty)?;
        self.folder_of_running(&request.container_id)?;
        let tty =
            self.0.tables.look().containers.get(&request.container_id).is_some_and(|row| row.config.tty);
        let attach = Attach { container: request.container_id, stdin: request.stdin };
        let asked = Asked { request: Request::Attach(attach), wants, tty };
        self.address("attach", asked).await
    }

    async fn address(&self, what: &str, asked: Asked) -> Result<String, Status> {
        let listening = self.0.streaming.address.get_or_try_init(|| async {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
            let address = listener.local_addr()?;
            tokio::spawn(server::serve(listener, Arc::downgrade(&self.0)));
            Ok::<_, std::io::Error>(address)
        });
        let address =
            listening.await.map_err(|error| internal("no streaming server can be started", &error))?;
        let token = self.0.streaming.tokens.insert(asked)?;
        Ok(format!("http://{address}/{what}/{token}"))
    }

    /// The sandbox folder of a container, if that runs.
    fn folder_of_running(&self, id: &str) -> Result<SandboxFolder, Status> {
        let rows = self.0.tables.look();
        let row = rows.containers.get(id).ok_or_else(|| not_found(id))?;
        if !matches!(row.state, ContainerState::Running { .. }) {
            return Err(Status::failed_precondition(format!("container {id} does not run")));
        }
        let sandbox = rows.sandboxes.get(&row.sandbox);
        sandbox.map(|sandbox| sandbox.folder.clone()).ok_or_else(|| not_found(id))
    }

    /// Begins a session.
    async fn open(&self, request: &Request) -> Result<(Session, Streams), Refused> {
        let (Request::Exec(Exec { container, .. }) | Request::Attach(Attach { container, .. })) = request
        else {
            return Err(Refused { reason: "this is no session".to_owned(), exit_code: None });
        };
        let folder = self.folder_of_running(container);
        let folder =
            folder.map_err(|status| Refused { reason: status.message().to_owned(), exit_code: None })?;
        Session::open(&folder, request).await
    }
}

impl Wants {
    fn check(self, tty: bool) -> Result<(), Status> {
        if tty && self.stderr {
            return Err(Status::invalid_argument("tty and stderr cannot both be true"));
        }
        if !(self.stdin || self.stdout || self.stderr) {
            return Err(Status::invalid_argument("one of stdin, stdout, or stderr must be set"));
        }
        Ok(())
    }
}

fn check_command(command: &[String]) -> Result<(), Status> {
    if command.is_empty() || command[0].is_empty() {
        return Err(Status::invalid_argument("no command is given"));
    }
    if command.iter().any(|word| word.contains('\0')) {
        return Err(Status::invalid_argument("a NUL byte in the command"));
    }
    Ok(())
}
