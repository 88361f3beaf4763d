//! A server on a socket, and clients that speak to it at every level: bytes, HTTP, kubectl.
#![allow(dead_code, reason = "not every test file uses all of it")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use memlet_apiserver::ApiServer;
use memlet_apiserver::keys::{Certified, Keys, ServerNames};
use memlet_apiserver::serving::{self, Limits};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// A server that runs until it is dropped.
pub(crate) struct Served {
    pub(crate) server: ApiServer,
    pub(crate) keys: Arc<Keys>,
    pub(crate) address: SocketAddr,
    pub(crate) folder: tempfile::TempDir,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

pub(crate) fn served() -> Served {
    served_within(Limits::default())
}

pub(crate) fn served_within(limits: Limits) -> Served {
    serve(ApiServer::in_memory(), limits)
}

pub(crate) fn serve(server: ApiServer, limits: Limits) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let names = ServerNames::new(["box"], []);
    let keys = Arc::new(Keys::load_or_make(&folder.path().join("keys"), &names).unwrap());
    let listener = serving::bind(&["127.0.0.1:0".parse().unwrap()], limits).unwrap();
    let address = listener.addresses()[0];
    let (stop, stopped) = oneshot::channel();
    let (own, own_keys) = (server.clone(), Arc::clone(&keys));
    let task = tokio::spawn(async move {
        let stopped = async move {
            let _ = stopped.await;
        };
        listener.serve(own, &own_keys, stopped).await.unwrap();
    });
    Served { server, keys, address, folder, stop: Some(stop), task }
}

impl Served {
    /// Stops the server and waits until it has.
    pub(crate) async fn stop(mut self) {
        self.stop.take().unwrap().send(()).unwrap();
        self.task.await.unwrap();
    }

    /// A TLS connection as this client, or as nobody.
    pub(crate) async fn connect(
        &self,
        client: Option<&Certified>,
        protocol: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let shown = client.map(|client| (client.certificate().clone(), client.key()));
        connect(self.address, &self.keys.authority_pem(), shown, protocol).await
    }

    /// Sends bytes as the administrator over HTTP/1.1 and gives what comes back until the connection ends or is silent.
    pub(crate) async fn exchange(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect(Some(self.keys.admin()), "http/1.1").await.unwrap();
        // A server that has refused may close before all is sent.
        let _ = stream.write_all(bytes).await;
        read_for(&mut stream, Duration::from_secs(2)).await
    }

    /// The code, headers and body of a request over HTTP/1.1.
    pub(crate) async fn ask(&self, client: Option<&Certified>, request: Request<Bytes>) -> Response<String> {
        let stream = self.connect(client, "http/1.1").await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        let response = sender.send_request(request.map(Full::new)).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        Response::from_parts(parts, String::from_utf8_lossy(&body).into_owned())
    }

    /// A client over HTTP/2.
    pub(crate) async fn http_2(
        &self,
        client: &Certified,
    ) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = self.connect(Some(client), "h2").await.unwrap();
        let io = TokioIo::new(stream);
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io).await.unwrap();
        tokio::spawn(connection);
        sender
    }

    pub(crate) fn url(&self) -> String {
        format!("https://{}", self.address)
    }
}

pub(crate) async fn connect(
    address: SocketAddr,
    trusted_pem: &str,
    shown: Option<(rustls::pki_types::CertificateDer<'static>, rustls::pki_types::PrivateKeyDer<'static>)>,
    protocol: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(pem::parse(trusted_pem).unwrap().into_contents().into()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    let mut configuration = match shown {
        Some((certificate, key)) => builder.with_client_auth_cert(vec![certificate], key).unwrap(),
        None => builder.with_no_client_auth(),
    };
    configuration.alpn_protocols = vec![protocol.as_bytes().to_vec()];
    let stream = TcpStream::connect(address).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(Arc::new(configuration)).connect(name, stream).await
}

/// What comes until the end, or until nothing comes for this long.
pub(crate) async fn read_for(stream: &mut (impl tokio::io::AsyncRead + Unpin), silence: Duration) -> String {
    let mut all = Vec::new();
    let mut part = [0; 4096];
    while let Ok(Ok(length)) = tokio::time::timeout(silence, stream.read(&mut part)).await {
        if length == 0 {
            break;
        }
        all.extend_from_slice(&part[..length]);
    }
    String::from_utf8_lossy(&all).into_owned()
}

pub(crate) fn get(path: &str) -> Request<Bytes> {
    Request::get(path).header("host", "localhost").body(Bytes::new()).unwrap()
}
