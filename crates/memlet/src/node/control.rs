//! How `memlet node add` and `rm` reach the program that runs: a socket in its folder, root's alone, on which one line of
//! JSON asks and one answers.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream as Connection};
use tokio::sync::{mpsc, oneshot};

use super::folder::DataFolder;
use super::pool::NodeSpec;

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Request {
    /// One more node.
    Add(NodeSpec),
    /// One node less; its Pods end with it where that is said, else it must have none.
    Remove {
        /// Its name.
        name: String,
        /// Whether its Pods may end.
        pods: bool,
    },
}

/// What became of it, in words for people.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Answer {
    /// It is done.
    Done(String),
    /// It is not, and why.
    Failed(String),
}

/// A request, and where its answer goes.
pub(crate) type Asked = (Request, oneshot::Sender<Answer>);

/// A request is shorter than this.
const LONGEST: u64 = 64 << 10;
/// Ending Pods takes their grace.
const PATIENCE: Duration = Duration::from_mins(11);

/// Listens from now on.
///
/// # Errors
/// The socket cannot be made.
pub(crate) fn listen(data: &DataFolder) -> Result<mpsc::Receiver<Asked>> {
    let path = data.control();
    // A dead program's; the folder is this one's.
    let _ = std::fs::remove_file(&path);
    let listener =
        UnixListener::bind(&path).with_context(|| format!("cannot listen on {}", path.display()))?;
    // Nobody else gets into the folder meanwhile.
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))
        .with_context(|| format!("{} cannot be kept from others", path.display()))?;
    let (asked, requests) = mpsc::channel(1);
    tokio::spawn(async move {
        while let Ok((connection, _)) = listener.accept().await {
            tokio::spawn(serve(connection, asked.clone()));
        }
    });
    Ok(requests)
}

async fn serve(connection: Connection, asked: mpsc::Sender<Asked>) {
    let (read, mut write) = connection.into_split();
    let mut line = String::new();
    let mut read = tokio::io::BufReader::new(read.take(LONGEST));
    if read.read_line(&mut line).await.is_err() {
        return;
    }
    let answer = match serde_json::from_str(&line) {
        Err(error) => Answer::Failed(format!("not understood: {error}")),
        Ok(request) => {
            let (answer, answered) = oneshot::channel();
            let ended = || Answer::Failed("the program is ending".to_owned());
            match asked.send((request, answer)).await {
                Ok(()) => answered.await.unwrap_or_else(|_| ended()),
                Err(_) => ended(),
            }
        }
    };
    let text = serde_json::to_string(&answer).unwrap_or_default() + "\n";
    // Whoever asked may be gone; it is done all the same.
    let _ = write.write_all(text.as_bytes()).await;
}

/// Asks the program that runs.
///
/// # Errors
/// None runs, it does not answer, or it refuses.
pub(crate) fn ask(data: &DataFolder, request: &Request) -> Result<String> {
    super::running::require(data)?;
    let path = data.control();
    let connect = || format!("the program cannot be asked by {}", path.display());
    let mut stream = UnixStream::connect(&path).with_context(connect)?;
    stream.set_read_timeout(Some(PATIENCE)).with_context(connect)?;
    let text = serde_json::to_string(request).context("the request makes no JSON")? + "\n";
    stream.write_all(text.as_bytes()).with_context(connect)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).with_context(connect)?;
    match serde_json::from_str(&line).context("the program ended before it answered")? {
        Answer::Done(text) => Ok(text),
        Answer::Failed(reason) => bail!("{reason}"),
    }
}
