//! A private key and the certificate for it, and what the certificate says.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rcgen::{KeyPair, PublicKeyData as _};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{KeysError, ServerNames};

const CERTIFICATE: &str = "CERTIFICATE";

/// How long before its end a certificate is renewed.
const RENEWED_BEFORE_END: Duration = Duration::from_hours(30 * 24);

pub(super) fn make_key(what: &'static str) -> Result<KeyPair, KeysError> {
    KeyPair::generate().map_err(|error| KeysError::Make { what, why: error.to_string() })
}

/// A private key and the certificate for it. The two belong together: that is checked where one is read.
pub struct Certified {
    pub(super) key: KeyPair,
    certificate: CertificateDer<'static>,
    begin: SystemTime,
    end: SystemTime,
    names: ServerNames,
}

impl Certified {
    /// Refuses what is no certificate, and a key that is another's.
    pub(super) fn new(key: KeyPair, certificate: CertificateDer<'static>) -> Result<Self, String> {
        let (_, parsed) = X509Certificate::from_der(&certificate)
            .map_err(|error| format!("its certificate cannot be read: {error}"))?;
        if *parsed.public_key().subject_public_key.data != *key.der_bytes() {
            return Err("its certificate is for another key".to_owned());
        }
        let validity = parsed.validity();
        let (begin, end) = (time(validity.not_before.timestamp()), time(validity.not_after.timestamp()));
        let names = names(&parsed)?;
        Ok(Self { key, certificate, begin, end, names })
    }

    /// From one text that holds both.
    pub(super) fn from_pem(text: &str) -> Result<Self, String> {
        let blocks = pem::parse_many(text).map_err(|error| error.to_string())?;
        let mut certificates = blocks.iter().filter(|block| block.tag() == CERTIFICATE);
        let certificate = certificates.next().ok_or("there is no certificate in it")?;
        Self::new(key_from_pem(text)?, certificate.contents().to_vec().into())
    }

    /// Both in one text.
    pub(super) fn to_pem(&self) -> String {
        format!("{}{}", self.key_pem(), self.certificate_pem())
    }

    /// The certificate, in PEM.
    pub fn certificate_pem(&self) -> String {
        encode(&pem::Pem::new(CERTIFICATE, self.certificate.as_ref()))
    }

    /// The private key, in PEM.
    pub fn key_pem(&self) -> String {
        encode(&pem::Pem::new("PRIVATE KEY", self.key.serialized_der()))
    }

    /// The certificate.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The private key.
    pub fn key(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.key.serialize_der()).into()
    }

    /// When the certificate stops being valid.
    pub fn end(&self) -> SystemTime {
        self.end
    }

    pub(super) fn names(&self) -> ServerNames {
        self.names.clone()
    }

    pub(super) fn is_near_end(&self, now: SystemTime) -> bool {
        self.end.duration_since(now).unwrap_or_default() < RENEWED_BEFORE_END
    }

    pub(super) fn has_begun(&self, now: SystemTime) -> bool {
        self.begin <= now
    }
}

/// The one private key of a text.
pub(super) fn key_from_pem(text: &str) -> Result<KeyPair, String> {
    let blocks = pem::parse_many(text).map_err(|error| error.to_string())?;
    let key = blocks.iter().find(|block| block.tag() == "PRIVATE KEY").ok_or("there is no key in it")?;
    KeyPair::try_from(key.contents()).map_err(|error| format!("its key cannot be read: {error}"))
}

/// With the line ends of Unix.
fn encode(block: &pem::Pem) -> String {
    pem::encode_config(block, pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF))
}

fn time(seconds: i64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or_default())
}

fn names(certificate: &X509Certificate<'_>) -> Result<ServerNames, String> {
    let mut names = ServerNames::default();
    let alternatives = certificate.subject_alternative_name().map_err(|error| error.to_string())?;
    for name in alternatives.iter().flat_map(|extension| &extension.value.general_names) {
        match name {
            GeneralName::DNSName(host) => {
                names.hosts.insert((*host).to_owned());
            }
            GeneralName::IPAddress(bytes) => {
                names.addresses.extend(<[u8; 4]>::try_from(*bytes).map(IpAddr::from));
                names.addresses.extend(<[u8; 16]>::try_from(*bytes).map(IpAddr::from));
            }
            _ => {}
        }
    }
    Ok(names)
}
