//! The certificate authority: who may call itself what.

use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyUsagePurpose, SanType,
};
use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::certified::{Certified, make_key};
use super::{KeysError, ServerNames};

const NAME: &str = "memlet-ca";
const DAY: Duration = Duration::from_hours(24);
const AUTHORITY_LIFE: Duration = DAY.saturating_mul(3650);
const LIFE: Duration = DAY.saturating_mul(365);
/// Certificates begin in the past, so that a clock that is set back a little does not undo them.
const BACKDATED: Duration = Duration::from_hours(24);
/// The authority begins a day earlier than whatever it can sign.
const AUTHORITY_BACKDATED: Duration = Duration::from_hours(48);

/// A key that vouches for others.
pub(super) struct Authority {
    certified: Certified,
}

impl Authority {
    pub(super) fn make(now: SystemTime) -> Result<Self, KeysError> {
        let what = "certificate authority";
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, NAME);
        params.not_before = (now - AUTHORITY_BACKDATED).into();
        params.not_after = (now + AUTHORITY_LIFE).into();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages =
            vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = make_key(what)?;
        let certificate = params.self_signed(&key).map_err(|error| failed(what, &error))?;
        let certified = Certified::new(key, certificate.der().clone()).map_err(|why| failed(what, &why))?;
        Ok(Self { certified })
    }

    /// From what was kept; refuses a certificate that is no authority's.
    pub(super) fn from_kept(certified: Certified) -> Result<Self, String> {
        let (_, parsed) =
            X509Certificate::from_der(certified.certificate()).map_err(|error| error.to_string())?;
        if !parsed.is_ca() {
            return Err("its certificate is not an authority's".to_owned());
        }
        Ok(Self { certified })
    }

    pub(super) fn certified(&self) -> &Certified {
        &self.certified
    }

    /// Whether this authority signed it, and it is good for a while yet.
    pub(super) fn vouches_for(&self, other: &Certified, now: SystemTime) -> bool {
        let own = X509Certificate::from_der(self.certified.certificate());
        let other_parsed = X509Certificate::from_der(other.certificate());
        let (Ok((_, own)), Ok((_, parsed))) = (own, other_parsed) else { return false };
        parsed.verify_signature(Some(own.public_key())).is_ok()
            && other.has_begun(now)
            && !other.is_near_end(now)
    }

    /// What the server shows.
    pub(super) fn issue_server(&self, names: &ServerNames, now: SystemTime) -> Result<Certified, KeysError> {
        let what = "server's certificate";
        let mut params = leaf("kube-apiserver", None, ExtendedKeyUsagePurpose::ServerAuth, now);
        for host in &names.hosts {
            let host = host.as_str().try_into().map_err(|error| failed(what, &error))?;
            params.subject_alt_names.push(SanType::DnsName(host));
        }
        params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
        self.sign(what, &params)
    }

    /// What a client shows: its name is the user, its organisation the group.
    pub(super) fn issue_client(
        &self,
        user: &str,
        group: &str,
        now: SystemTime,
    ) -> Result<Certified, KeysError> {
        self.sign("client's certificate", &leaf(user, Some(group), ExtendedKeyUsagePurpose::ClientAuth, now))
    }

    fn sign(&self, what: &'static str, params: &CertificateParams) -> Result<Certified, KeysError> {
        let issuer = Issuer::from_ca_cert_der(self.certified.certificate(), &self.certified.key)
            .map_err(|error| failed(what, &error))?;
        let key = make_key(what)?;
        let certificate = params.signed_by(&key, &issuer).map_err(|error| failed(what, &error))?;
        Certified::new(key, certificate.der().clone()).map_err(|why| failed(what, &why))
    }
}

fn leaf(
    name: &str,
    organization: Option<&str>,
    purpose: ExtendedKeyUsagePurpose,
    now: SystemTime,
) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    if let Some(organization) = organization {
        params.distinguished_name.push(DnType::OrganizationName, organization);
    }
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + LIFE).into();
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![purpose];
    params.use_authority_key_identifier_extension = true;
    params
}

fn failed(what: &'static str, why: &impl ToString) -> KeysError {
    KeysError::Make { what, why: why.to_string() }
}
