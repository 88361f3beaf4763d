//! TLS: what the server shows, and how far it believes what clients show.
//!
//! As upstream does it, the handshake takes any client certificate that the client has the key for; whether this
//! server's authority signed it is asked when a request comes, so that a stranger is told 401 in a `Status` rather than
//! being cut off.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, Error, RootCertStore, ServerConfig, SignatureScheme};

use crate::keys::Keys;

/// HTTP/2, where the client can: many requests share a connection.
pub(super) const HTTP_2: &[u8] = b"h2";
const HTTP_1: &[u8] = b"http/1.1";

/// Says whether a client certificate is of this server's authority, and valid.
pub(super) type Judge = Arc<dyn ClientCertVerifier>;

/// The two ends of the question who a client is: the handshake, and the judge of what it showed.
pub(super) fn configuration(keys: &Keys) -> Result<(ServerConfig, Judge), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let judge = judge(keys, &provider)?;
    let any = Arc::new(AnyClient(Arc::clone(&judge)));
    let own = keys.server();
    let mut configuration = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(any)
        .with_single_cert(vec![own.certificate().clone()], own.key())?;
    configuration.alpn_protocols = vec![HTTP_2.to_vec(), HTTP_1.to_vec()];
    Ok((configuration, judge))
}

fn judge(keys: &Keys, provider: &Arc<CryptoProvider>) -> Result<Judge, Error> {
    let mut roots = RootCertStore::empty();
    roots.add(keys.authority().clone())?;
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider))
        .build()
        .map_err(|error| Error::General(error.to_string()))
}

/// Takes any certificate, but only with its key.
#[derive(Debug)]
struct AnyClient(Judge);

impl ClientCertVerifier for AnyClient {
    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.0.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
