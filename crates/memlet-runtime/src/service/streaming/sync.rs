//! `ExecSync`: a program whose output is wanted whole.

use std::sync::Arc;
use std::time::Duration;

use k8s_cri::v1 as cri;
use tonic::Status;

use super::{Runtime, check_command};
use crate::session::{End, Session, Streams};
use crate::shim::protocol::Request;
use crate::shim::session::Exec;

/// More of each output is not kept: CRI's bound.
const MOST_OUTPUT: usize = 16 << 20;

impl Runtime {
    pub(in crate::service) async fn run_in_container(
        &self,
        request: cri::ExecSyncRequest,
    ) -> Result<cri::ExecSyncResponse, Status> {
        check_command(&request.cmd)?;
        self.folder_of_running(&request.container_id)?;
        let exec = Exec { container: request.container_id, command: request.cmd, tty: false, stdin: false };
        let (session, streams) = match self.open(&Request::Exec(exec)).await {
            Ok(session) => session,
            Err(refused) => {
                let Some(exit_code) = refused.exit_code else { return Err(Status::unknown(refused.reason)) };
                let stderr = format!("{}\n", refused.reason).into_bytes();
                return Ok(cri::ExecSyncResponse { stdout: Vec::new(), stderr, exit_code });
            }
        };
        let limit = u64::try_from(request.timeout).ok().filter(|seconds| *seconds > 0);
        let Some(limit) = limit.map(Duration::from_secs) else { return collect(session, streams).await };
        // What is dropped where the time is up is killed with its session.
        tokio::time::timeout(limit, collect(session, streams)).await.unwrap_or_else(|_| {
            Err(Status::deadline_exceeded(format!("the command did not end within {limit:?}")))
        })
    }
}

async fn collect(mut session: Session, streams: Streams) -> Result<cri::ExecSyncResponse, Status> {
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let exit = {
        let reading = async {
            tokio::join!(
                read(streams.stdout.as_ref(), &mut stdout),
                read(streams.stderr.as_ref(), &mut stderr)
            );
            std::future::pending::<()>().await;
        };
        tokio::select! {
            exit = session.end() => exit,
            () = reading => unreachable!("it never ends"),
        }
    };
    let exit =
        exit.map_err(|error| Status::unknown(format!("the container's supervisor is gone: {error}")))?;
    read_rest(streams.stdout.as_ref(), &mut stdout);
    read_rest(streams.stderr.as_ref(), &mut stderr);
    Ok(cri::ExecSyncResponse { stdout, stderr, exit_code: exit.code() })
}

async fn read(end: Option<&Arc<End>>, into: &mut Vec<u8>) {
    let Some(end) = end else { return };
    let mut space = vec![0; 32 << 10];
    while let Ok(count @ 1..) = end.read(&mut space).await {
        keep(into, &space[..count]);
    }
}

fn read_rest(end: Option<&Arc<End>>, into: &mut Vec<u8>) {
    let Some(end) = end else { return };
    let mut space = vec![0; 32 << 10];
    while let count @ 1.. = end.read_now(&mut space) {
        keep(into, &space[..count]);
    }
}

fn keep(into: &mut Vec<u8>, bytes: &[u8]) {
    let room = MOST_OUTPUT - into.len();
    into.extend_from_slice(&bytes[..bytes.len().min(room)]);
}
