//! A client of the streaming protocol, as kubectl is one.

use std::time::Duration;

use futures::{SinkExt, StreamExt};
use libtest_mimic::Failed;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Client {
    socket: WebSocketStream<TcpStream>,
    pub(crate) protocol: String,
    /// What has come on the channels 1 and 2.
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) status: Option<Value>,
}

impl Client {
    pub(crate) async fn connect(url: &str, protocols: &'static str) -> Result<Self, Failed> {
        let (address, _) = url.strip_prefix("http://").ok_or("no http")?.split_once('/').ok_or("no path")?;
        let stream = TcpStream::connect(address).await?;
        let mut request = url.replacen("http", "ws", 1).into_client_request()?;
        request.headers_mut().insert("sec-websocket-protocol", protocols.parse()?);
        let (socket, response) = tokio_tungstenite::client_async(request, stream).await?;
        let protocol = response.headers()["sec-websocket-protocol"].to_str()?.to_owned();
        Ok(Self { socket, protocol, stdout: String::new(), stderr: String::new(), status: None })
    }

    pub(crate) async fn say(&mut self, channel: u8, bytes: &[u8]) -> Result<(), Failed> {
        Ok(self.socket.send(Message::Binary([&[channel], bytes].concat().into())).await?)
    }

    pub(crate) async fn resize(&mut self, columns: u16, rows: u16) -> Result<(), Failed> {
        self.say(4, format!("{{\"Width\":{columns},\"Height\":{rows}}}").as_bytes()).await
    }

    /// Hears one message; false when the connection has ended.
    async fn hear(&mut self) -> Result<bool, Failed> {
        let heard = tokio::time::timeout(PATIENCE, self.socket.next()).await;
        let heard =
            heard.map_err(|_| format!("nothing is heard after {:?} {:?}", self.stdout, self.stderr))?;
        match heard {
            Some(Ok(Message::Binary(bytes))) => {
                let text = String::from_utf8_lossy(&bytes[1..]);
                match bytes[0] {
                    1 => self.stdout.push_str(&text),
                    2 => self.stderr.push_str(&text),
                    3 => self.status = Some(serde_json::from_str(&text)?),
                    other => return Err(format!("channel {other}").into()),
                }
                Ok(true)
            }
            Some(Ok(Message::Close(Some(frame)))) if frame.code == CloseCode::Normal => Ok(false),
            Some(Ok(Message::Close(frame))) => Err(format!("it closes with {frame:?}").into()),
            Some(Err(_)) | None => Ok(false),
            Some(Ok(_)) => Ok(true),
        }
    }

    /// Hears on until this is in what the program wrote.
    pub(crate) async fn until(&mut self, text: &str) -> Result<(), Failed> {
        while !self.stdout.contains(text) && !self.stderr.contains(text) {
            if !self.hear().await? {
                return Err(format!("no {text:?} in {:?} {:?}", self.stdout, self.stderr).into());
            }
        }
        Ok(())
    }

    /// Hears all, and gives the exit code.
    pub(crate) async fn end(&mut self) -> Result<i32, Failed> {
        while self.hear().await? {}
        let status = self.status.clone().ok_or("no status came")?;
        if status["status"] == "Success" {
            return Ok(0);
        }
        let code = status["details"]["causes"][0]["message"].as_str().unwrap_or_default();
        code.parse().map_err(|_| format!("no exit code: {status}").into())
    }
}
