//! The server's keys and certificates: an authority of its own, and what it has signed.
//!
//! Everything is in one folder, made at the first start and kept: `ca.pem`, `apiserver.pem` (what the server shows),
//! `admin.pem` (the client certificate in the kubeconfig) and `service-account.pem` (signs tokens). A key and its
//! certificate share a file, so that no crash can leave one without the other. What only the authority vouches for is
//! renewed when its end nears, when the clock says it is not valid yet, or when the server's names changed; the authority
//! itself is made anew only when its ten years are over.

mod authority;
mod certified;
mod files;
mod kubeconfig;
mod names;

use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use certified::Certified;
pub use kubeconfig::{CONTEXT, to_yaml};
pub use names::ServerNames;

use authority::Authority;
use files::KeyFolder;

const AUTHORITY: &str = "ca.pem";
const SERVER: &str = "apiserver.pem";
const ADMIN: &str = "admin.pem";
const ACCOUNTS: &str = "service-account.pem";

/// The user and group of the certificate in the kubeconfig.
const ADMIN_USER: &str = "kubernetes-admin";
pub(crate) const MASTERS: &str = "system:masters";

/// Why there are no keys.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeysError {
    /// A file or folder cannot be used.
    #[error("cannot {act} {}: {source}", path.display())]
    File {
        /// What was to be done.
        act: &'static str,
        /// With what.
        path: PathBuf,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error(
        "the key file {} is damaged ({why}); move it away and start again to have a new one made (where it is ca.pem, \
         kubeconfigs written before must be written anew)",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A key or certificate cannot be made.
    #[error("cannot make the {what}: {why}")]
    Make {
        /// Which one.
        what: &'static str,
        /// What the library said.
        why: String,
    },
}

/// The server's keys and certificates.
pub struct Keys {
    authority: Authority,
    server: Certified,
    admin: Certified,
    accounts: rcgen::KeyPair,
}

impl Keys {
    /// The keys of a folder, which is made with them where it is not there yet.
    ///
    /// # Errors
    /// The folder cannot be used, or a file in it is damaged.
    pub fn load_or_make(folder: &Path, names: &ServerNames) -> Result<Self, KeysError> {
        let folder = KeyFolder::open(folder)?;
        let now = SystemTime::now();
        let authority = match folder.read_certified(AUTHORITY)? {
            Some(kept) if !kept.is_near_end(now) => Authority::from_kept(kept)
                .map_err(|why| KeysError::Damaged { path: folder.path(AUTHORITY), why })?,
            kept => {
                if kept.is_some() {
                    tracing::warn!("the certificate authority has run out: kubeconfigs must be written anew");
                }
                let authority = Authority::make(now)?;
                folder.write(AUTHORITY, &authority.certified().to_pem())?;
                authority
            }
        };
        let server = match folder.read_certified(SERVER)? {
            Some(kept) if authority.vouches_for(&kept, now) && kept.names() == *names => kept,
            _ => {
                let server = authority.issue_server(names, now)?;
                folder.write(SERVER, &server.to_pem())?;
                server
            }
        };
        let admin = match folder.read_certified(ADMIN)? {
            Some(kept) if authority.vouches_for(&kept, now) => kept,
            _ => {
                let admin = authority.issue_client(ADMIN_USER, MASTERS, now)?;
                folder.write(ADMIN, &admin.to_pem())?;
                admin
            }
        };
        let accounts = if let Some(kept) = folder.read_key(ACCOUNTS)? {
            kept
        } else {
            let key = certified::make_key("service accounts' key")?;
            folder.write(ACCOUNTS, &key.serialize_pem())?;
            key
        };
        Ok(Self { authority, server, admin, accounts })
    }

    /// New keys that are kept nowhere.
    ///
    /// # Errors
    /// The machine has no randomness to give.
    pub fn in_memory(names: &ServerNames) -> Result<Self, KeysError> {
        let now = SystemTime::now();
        let authority = Authority::make(now)?;
        let server = authority.issue_server(names, now)?;
        let admin = authority.issue_client(ADMIN_USER, MASTERS, now)?;
        Ok(Self { authority, server, admin, accounts: certified::make_key("service accounts' key")? })
    }

    /// The authority's certificate, in PEM: what a client must trust.
    pub fn authority_pem(&self) -> String {
        self.authority.certified().certificate_pem()
    }

    /// The authority's certificate.
    pub(crate) fn authority(&self) -> &rustls::pki_types::CertificateDer<'static> {
        self.authority.certified().certificate()
    }

    /// What the server shows to its clients.
    pub fn server(&self) -> &Certified {
        &self.server
    }

    /// The administrator's client certificate.
    pub fn admin(&self) -> &Certified {
        &self.admin
    }

    /// A new client certificate for a node's agent (`system:node:NAME`), for a day short of a year.
    ///
    /// # Errors
    /// The machine has no randomness to give.
    pub fn node_client(&self, node: &str) -> Result<Certified, KeysError> {
        self.authority.issue_client(&format!("system:node:{node}"), "system:nodes", SystemTime::now())
    }

    /// A new client certificate for any user and group.
    ///
    /// # Errors
    /// The machine has no randomness to give.
    pub fn client(&self, user: &str, group: &str) -> Result<Certified, KeysError> {
        self.authority.issue_client(user, group, SystemTime::now())
    }

    /// The kubeconfig of the administrator, with everything embedded. `server` is the URL of the API.
    pub fn kubeconfig(&self, server: &str) -> kube::config::Kubeconfig {
        kubeconfig::of(server, &self.authority_pem(), ADMIN_USER, &self.admin)
    }

    /// The private key that signs service accounts' tokens, as PKCS#8.
    pub(crate) fn accounts_key(&self) -> &[u8] {
        self.accounts.serialized_der()
    }
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
