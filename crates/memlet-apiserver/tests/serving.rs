//! The server on a socket: who gets in, what is refused, and that it outlives what clients do to it.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/served.rs"]
mod served;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use memlet_apiserver::keys::{Keys, ServerNames};
use memlet_apiserver::serving::{self, Limits};
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use served::{connect, get, read_for, served, served_within};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;

const NAMESPACES: &str = "/api/v1/namespaces";
const UNAUTHORIZED: &str = r#"{"apiVersion":"v1","kind":"Status","code":401,"message":"Unauthorized","metadata":{},"reason":"Unauthorized","status":"Failure"}"#;

#[tokio::test]
async fn the_administrator_is_answered_over_both_versions_of_http() {
    let served = served();
    let response = served.ask(Some(served.keys.admin()), get(NAMESPACES)).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert!(response.body().contains("kube-node-lease"));
    assert_eq!(response.headers()["audit-id"].len(), 36);

    let mut client = served.http_2(served.keys.admin()).await;
    let uri = format!("{}{NAMESPACES}", served.url());
    let response = client.send_request(Request::get(uri).body(Full::default()).unwrap()).await.unwrap();
    assert_eq!(response.status(), StatusCode::OK);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("kube-node-lease"));
}

#[tokio::test]
async fn strangers_are_told_401_and_nothing_else() {
    let served = served();
    let response = served.ask(None, get(NAMESPACES)).await;
    assert_eq!((response.status(), response.body().as_str()), (StatusCode::UNAUTHORIZED, UNAUTHORIZED));
    assert_eq!(response.headers()["content-type"], "application/json");
    assert_eq!(response.headers()["cache-control"], "no-cache, private");

    // What tells nothing is for everybody.
    for path in ["/healthz", "/livez", "/readyz", "/version"] {
        assert_eq!(served.ask(None, get(path)).await.status(), StatusCode::OK, "{path}");
    }

    let other = Keys::in_memory(&ServerNames::default()).unwrap();
    for path in [NAMESPACES, "/healthz", "/nowhere"] {
        let response = served.ask(Some(other.admin()), get(path)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "a foreign certificate, {path}");
    }
    // A server's certificate is not a client's.
    let response = served.ask(Some(served.keys.server()), get(NAMESPACES)).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);

    for credentials in ["Bearer nonsense", "Bearer a.b.c", "Bearer ", "Basic YWRtaW46YWRtaW4=", "\u{0}"] {
        let Ok(request) = Request::get("/healthz").header("authorization", credentials).body(Bytes::new())
        else {
            continue;
        };
        let response = served.ask(None, request).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{credentials}");
    }
}

#[tokio::test]
async fn a_certificate_counts_only_while_it_is_valid() {
    let served = served();
    let kept = std::fs::read_to_string(served.folder.path().join("keys/ca.pem")).unwrap();
    let issuer =
        Issuer::from_ca_cert_pem(&served.keys.authority_pem(), KeyPair::from_pem(&kept).unwrap()).unwrap();
    let now = std::time::SystemTime::now();
    let hour = Duration::from_hours(1);
    for (begin, end, expected) in [
        (now - hour, now + hour, StatusCode::OK),
        (now - 2 * hour, now - hour, StatusCode::UNAUTHORIZED),
        (now + hour, now + 2 * hour, StatusCode::UNAUTHORIZED),
    ] {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "late");
        params.distinguished_name.push(DnType::OrganizationName, "system:masters");
        (params.not_before, params.not_after) = (begin.into(), end.into());
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &issuer).unwrap();
        let shown = (
            certificate.der().clone(),
            rustls::pki_types::PrivatePkcs8KeyDer::from(key.serialize_der()).into(),
        );
        let mut stream =
            connect(served.address, &served.keys.authority_pem(), Some(shown), "http/1.1").await.unwrap();
        stream.write_all(b"GET /api/v1/nodes HTTP/1.1\r\nconnection: close\r\n\r\n").await.unwrap();
        let answer = read_for(&mut stream, Duration::from_secs(5)).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {}", expected.as_u16())), "{answer}");
    }
}

#[tokio::test]
async fn a_client_that_trusts_another_authority_does_not_go_on() {
    let served = served();
    let other = Keys::in_memory(&ServerNames::default()).unwrap();
    let refused = connect(served.address, &other.authority_pem(), None, "h2").await.unwrap_err();
    assert!(
        refused.to_string().contains("UnknownIssuer") || refused.to_string().contains("BadSignature"),
        "{refused}"
    );
    assert_eq!(served.ask(None, get("/healthz")).await.status(), StatusCode::OK, "the server lives");
}

#[tokio::test]
async fn malformed_http_is_400_and_the_server_lives() {
    let served = served();
    let many: String = (0..200).map(|number| format!("x-{number}: y\r\n")).collect();
    let long = "x".repeat(100_000);
    for (bytes, expected) in [
        ("nonsense\r\n\r\n".to_owned(), "400"),
        ("GET /healthz HTTP/9.9\r\n\r\n".to_owned(), "400"),
        ("GET /healthz HTTP/1.1\r\nhost\u{1}: x\r\n\r\n".to_owned(), "400"),
        ("POST /api/v1/namespaces HTTP/1.1\r\ncontent-length: -1\r\n\r\n".to_owned(), "400"),
        (
            "POST /api/v1/namespaces HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab".to_owned(),
            "400",
        ),
        ("POST /api/v1/namespaces HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n".to_owned(), "400"),
        (format!("GET /healthz HTTP/1.1\r\n{many}\r\n"), "431"),
        (format!("GET /healthz HTTP/1.1\r\nx: {long}\r\n\r\n"), "431"),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), "431"),
        ("GET /healthz HTTP/1.1\r\n\r\n".to_owned(), "200"),
    ] {
        let answer = served.exchange(bytes.as_bytes()).await;
        let start: String = bytes.chars().take(60).collect();
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{start:?} got {answer:.100}");
    }
}

#[tokio::test]
async fn a_client_that_forgot_tls_is_told_so() {
    let served = served();
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n\r\n").await.unwrap();
    let answer = read_for(&mut stream, Duration::from_secs(5)).await;
    assert!(answer.starts_with("HTTP/1.0 400 Bad Request"), "{answer}");
    assert!(answer.ends_with("Client sent an HTTP request to an HTTPS server.\n"), "{answer}");
}

#[tokio::test]
async fn a_body_beyond_3_mib_is_413() {
    let served = served();
    let request = Request::post(NAMESPACES)
        .header("content-type", "application/json")
        .body(Bytes::from(vec![b' '; (3 << 20) + 1]))
        .unwrap();
    let response = served.ask(Some(served.keys.admin()), request).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert!(response.body().contains("Request entity too large: limit is 3145728"));
}

#[tokio::test]
async fn whoever_does_not_go_on_is_cut_off() {
    let mut limits = Limits::default();
    (limits.handshake, limits.head, limits.idle) =
        (Duration::from_millis(300), Duration::from_millis(300), Duration::from_millis(300));
    let served = served_within(limits);
    let start = Instant::now();
    // Not even a handshake.
    let mut silent = TcpStream::connect(served.address).await.unwrap();
    // Half a head.
    let mut half = served.connect(None, "http/1.1").await.unwrap();
    half.write_all(b"GET /healthz HT").await.unwrap();
    // Nothing at all, over HTTP/2.
    let mut idle = served.connect(None, "h2").await.unwrap();
    idle.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let patience = Duration::from_secs(20);
    assert_eq!(read_for(&mut silent, patience).await, "");
    read_for(&mut half, patience).await;
    read_for(&mut idle, patience).await;
    assert!(start.elapsed() < patience, "all three were closed by the server");
}

#[tokio::test]
async fn too_many_requests_are_429_with_the_time_to_wait() {
    let mut limits = Limits::default();
    limits.user_rate = 5;
    let served = served_within(limits);
    let mut codes = Vec::new();
    let mut refused = None;
    for _ in 0..15 {
        let response = served.ask(None, get("/healthz")).await;
        codes.push(response.status().as_u16());
        if response.status() == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(response);
        }
    }
    let refused = refused.unwrap_or_else(|| panic!("none refused: {codes:?}"));
    assert_eq!(refused.headers()["retry-after"], "1");
    assert_eq!(refused.body(), "Too many requests, please try again later.\n");
    // The administrator has a measure of their own.
    assert_eq!(served.ask(Some(served.keys.admin()), get(NAMESPACES)).await.status(), StatusCode::OK);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_idle_connections_hinder_nobody() {
    let served = served();
    let mut idle = Vec::new();
    for _ in 0..1000 {
        idle.push(TcpStream::connect(served.address).await.unwrap());
    }
    let start = Instant::now();
    assert_eq!(served.ask(Some(served.keys.admin()), get(NAMESPACES)).await.status(), StatusCode::OK);
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
}

#[tokio::test]
async fn beyond_the_bound_connections_wait_for_others_to_end() {
    let mut limits = Limits::default();
    limits.connections = 2;
    let served = served_within(limits);
    let first = served.connect(None, "http/1.1").await.unwrap();
    let _second = served.connect(None, "http/1.1").await.unwrap();
    let third = tokio::time::timeout(Duration::from_millis(300), served.connect(None, "http/1.1")).await;
    assert!(third.is_err(), "a third connection was served");
    drop(first);
    served.connect(None, "http/1.1").await.unwrap();
}

#[tokio::test]
async fn streams_that_are_opened_and_reset_end_the_connection_only() {
    let served = served();
    let mut stream = served.connect(Some(served.keys.admin()), "h2").await.unwrap();
    let mut attack = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec();
    for number in 0..5000_u32 {
        let id = (number * 2 + 1).to_be_bytes();
        // HEADERS of `GET /` by the static table, END_STREAM and END_HEADERS; then RST_STREAM.
        let head = [0x82, 0x87, 0x84, 0x41, 0x01, b'x'];
        attack.extend([0, 0, 6, 1, 5]);
        attack.extend(id);
        attack.extend(head);
        attack.extend([0, 0, 4, 3, 0]);
        attack.extend(id);
        attack.extend([0, 0, 0, 8]);
    }
    let _ = stream.write_all(&attack).await;
    let _ = stream.flush().await;
    let start = Instant::now();
    read_for(&mut stream, Duration::from_secs(10)).await;
    assert!(start.elapsed() < Duration::from_secs(10), "the server closed the connection");
    assert_eq!(served.ask(Some(served.keys.admin()), get(NAMESPACES)).await.status(), StatusCode::OK);
}

#[tokio::test]
async fn a_watch_ends_well_when_the_server_stops() {
    let served = served();
    let mut client = served.http_2(served.keys.admin()).await;
    let uri = format!("{}{NAMESPACES}?watch=true", served.url());
    let response = client.send_request(Request::get(uri).body(Full::default()).unwrap()).await.unwrap();
    let mut body = response.into_body();
    assert!(body.frame().await.unwrap().is_ok());
    let address = served.address;
    let start = Instant::now();
    let (rest, ()) = tokio::join!(body.collect(), served.stop());
    rest.expect("the stream of events ends, it is not cut");
    drop(client);
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert!(TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_taken_port_is_told_with_its_address() {
    let served = served();
    let error = serving::bind(&[served.address], Limits::default()).unwrap_err();
    assert!(error.is_taken());
    assert_eq!(error.address, served.address);
    assert!(error.to_string().starts_with(&format!("cannot listen on {}: ", served.address)), "{error}");
    let elsewhere: SocketAddr = "192.0.2.1:0".parse().unwrap();
    assert!(!serving::bind(&[elsewhere], Limits::default()).unwrap_err().is_taken());
}
