//! Between a client on a WebSocket and a program's streams, until one of them ends.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{SplitSink, SplitStream};
use futures::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, watch};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::{Bytes, Message, Utf8Bytes};

use super::channels::{self, STATUS, STDERR, STDOUT, Said, Version};
use super::{Asked, Runtime};
use crate::session::{End, Refused, Session, Streams};
use crate::shim::protocol::Request;

/// Read of a program's output at a time.
const PIECE: usize = 32 << 10;
/// So many messages wait for one end to take them.
const QUEUE: usize = 16;
/// A client is asked so often whether it is still there.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// One that has said nothing for so long is not.
const SILENCE: Duration = Duration::from_secs(90);
/// A client takes its last messages within this, or does without.
const FAREWELL: Duration = Duration::from_secs(10);

/// What is written to a client, in order.
type Outgoing = mpsc::Sender<Message>;

/// Begins the session that was asked for and serves it to its end.
pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
    socket: WebSocketStream<S>,
    version: Version,
    runtime: Runtime,
    asked: Asked,
) {
    let (sink, source) = socket.split();
    let (outgoing, queue) = mpsc::channel(QUEUE);
    let conversation = async {
        let status = match runtime.open(&asked.request).await {
            Ok((session, streams)) => {
                drop(runtime);
                converse(session, streams, &asked, version, source, &outgoing).await
            }
            Err(refused) => Some(refuse(&refused, &asked, &outgoing).await),
        };
        if let Some(status) = status {
            let text = status.to_string();
            send(&outgoing, STATUS, text.as_bytes()).await;
            // A close without a code is an error to kubectl.
            let farewell = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
            let _ = outgoing.send(Message::Close(Some(farewell))).await;
        }
        drop(outgoing);
    };
    let writing = write(sink, queue);
    tokio::pin!(writing);
    tokio::select! {
        // It ends only with the client while the conversation lasts.
        () = &mut writing => {}
        () = conversation => { let _ = tokio::time::timeout(FAREWELL, writing).await; }
    }
}

/// Writes to the client what is queued, and asks now and then whether it is there.
async fn write<S: AsyncRead + AsyncWrite + Unpin>(
    mut sink: SplitSink<WebSocketStream<S>, Message>,
    mut queue: mpsc::Receiver<Message>,
) {
    loop {
        let message = match tokio::time::timeout(HEARTBEAT, queue.recv()).await {
            Ok(Some(message)) => message,
            Ok(None) => break,
            Err(_) => Message::Ping(Bytes::new()),
        };
        if sink.send(message).await.is_err() {
            return;
        }
    }
    let _ = sink.close().await;
}

async fn send(outgoing: &Outgoing, channel: u8, bytes: &[u8]) {
    // Who is gone misses nothing.
    let _ = outgoing.send(Message::Binary(channels::message(channel, bytes).into())).await;
}

/// Tells why there is no session: what is wrong with a program is the user's to read, and its exit code a shell's.
async fn refuse(refused: &Refused, asked: &Asked, outgoing: &Outgoing) -> Value {
    let Some(code) = refused.exit_code else { return channels::failure(&refused.reason) };
    let channel = if asked.wants.stderr { STDERR } else { STDOUT };
    let end = if asked.tty { "\r\n" } else { "\n" };
    send(outgoing, channel, format!("{}{end}", refused.reason).as_bytes()).await;
    channels::exit_status(memlet_diagnosis::evidence::Exit::Code(code))
}

/// How the session ended; `None` where the client left it.
async fn converse<S: AsyncRead + AsyncWrite + Unpin>(
    mut session: Session,
    streams: Streams,
    asked: &Asked,
    version: Version,
    source: SplitStream<WebSocketStream<S>>,
    outgoing: &Outgoing,
) -> Option<Value> {
    let is_exec = matches!(asked.request, Request::Exec(_));
    let (input, inputs) = mpsc::channel(QUEUE);
    let (ended, hears_end) = watch::channel(false);
    let Streams { stdin, stdout, stderr, terminal } = streams;
    let outputs = async {
        let stdout = pump(stdout.filter(|_| asked.wants.stdout), STDOUT, outgoing, hears_end.clone());
        let stderr = pump(stderr.filter(|_| asked.wants.stderr), STDERR, outgoing, hears_end.clone());
        tokio::join!(stdout, stderr);
    };
    let (closed, mut hears_close) = mpsc::channel(1);
    let feeding = async {
        feed(stdin.filter(|_| asked.wants.stdin), inputs).await;
        let _ = closed.send(()).await;
    };
    let ending = async {
        let exit = loop {
            tokio::select! {
                exit = session.end() => break exit,
                Some(()) = hears_close.recv() => {
                    if session.close_stdin().await.is_err() {
                        break Err(std::io::ErrorKind::BrokenPipe.into());
                    }
                }
            }
        };
        // What a program that was run left running may hold its output open for ever; a container's ends by itself.
        let _ = ended.send(is_exec);
        exit
    };
    let working = async { tokio::join!(outputs, ending).1 };
    tokio::pin!(working);
    let listening = listen(source, version, &input, terminal);
    tokio::pin!(listening, feeding);
    let mut fed = false;
    loop {
        tokio::select! {
            exit = &mut working => {
                return Some(match exit {
                    Ok(exit) if is_exec => channels::exit_status(exit),
                    Ok(_) => channels::success(),
                    Err(_) => channels::failure("the container's supervisor is gone"),
                });
            }
            () = &mut listening => return None,
            () = &mut feeding, if !fed => fed = true,
        }
    }
}

/// Takes in what the client says, until it goes or falls silent.
async fn listen<S: AsyncRead + AsyncWrite + Unpin>(
    mut source: SplitStream<WebSocketStream<S>>,
    version: Version,
    input: &mpsc::Sender<Option<Vec<u8>>>,
    terminal: Option<Arc<End>>,
) {
    let mut heard = Instant::now();
    loop {
        let left = SILENCE.saturating_sub(heard.elapsed());
        let Ok(Some(Ok(message))) = tokio::time::timeout(left, source.next()).await else { return };
        heard = Instant::now();
        let bytes = match message {
            Message::Binary(bytes) => bytes,
            Message::Text(text) => text.into(),
            Message::Close(_) => return,
            _ => continue,
        };
        match Said::parse(version, &bytes) {
            // Whoever was to be fed may have stopped eating.
            Said::Input(bytes) => drop(input.send(Some(bytes)).await),
            Said::InputEnds => drop(input.send(None).await),
            Said::Size { columns, rows } => {
                if let Some(terminal) = &terminal {
                    let _ = terminal.resize(columns, rows);
                }
            }
            Said::Nothing => {}
        }
    }
}

/// Feeds the program what the client says, until that ends; then lets its input go.
async fn feed(stdin: Option<Arc<End>>, mut input: mpsc::Receiver<Option<Vec<u8>>>) {
    while let Some(Some(bytes)) = input.recv().await {
        if let Some(stdin) = &stdin
            && stdin.write_all(&bytes).await.is_err()
        {
            return;
        }
    }
}

/// Gives the client what the program writes, until that ends, or the program has and nothing is left.
async fn pump(end: Option<Arc<End>>, channel: u8, outgoing: &Outgoing, mut over: watch::Receiver<bool>) {
    let Some(end) = end else { return };
    let mut space = vec![0; PIECE];
    loop {
        let count = tokio::select! {
            biased;
            read = end.read(&mut space) => read.unwrap_or(0),
            Ok(_) = over.wait_for(|over| *over) => break,
        };
        if count == 0 {
            return;
        }
        send(outgoing, channel, &space[..count]).await;
    }
    while let count @ 1.. = end.read_now(&mut space) {
        send(outgoing, channel, &space[..count]).await;
    }
}
