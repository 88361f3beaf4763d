//! Service accounts: who Pods are.
//!
//! Each namespace has a `default` account, and the authority's certificate in the config map `kube-root-ca.crt`, for its
//! Pods to trust the server by. Both are made with the namespace and made again where they are deleted, in the same
//! request that would leave the namespace without them: no Pod is ever refused for coming too early.

mod request;

use http::{Method, StatusCode};
use k8s_openapi::Resource as _;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, ServiceAccount};
use serde_json::{Value, json};

use crate::access::TokenKey;
use crate::error::ApiError;
use crate::keys::Keys;
use crate::kind::ServedKind;
use crate::request::ResourceRequest;
use crate::server::ApiServer;
use crate::storage::Key;
use crate::verbs::Core;

pub(crate) use request::request_token;

/// The account of Pods that name none.
pub(crate) const DEFAULT: &str = "default";
/// The config map with the authority's certificate, and the key that it is under.
pub(crate) const ROOT_MAP: &str = "kube-root-ca.crt";
pub(crate) const ROOT_KEY: &str = "ca.crt";

/// Whether Pods are given the token of their account as a volume. The node must be able to mount it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PodTokens {
    /// As upstream does it, unless the Pod or the account says otherwise.
    Mounted,
    /// Never.
    Left,
}

/// What the server needs to keep accounts.
pub(crate) struct Accounts {
    pub(crate) key: TokenKey,
    pub(crate) pod_tokens: PodTokens,
    authority_pem: String,
}

/// The accounts cannot be kept.
#[derive(Debug, thiserror::Error)]
#[error("cannot keep service accounts: {0}")]
pub struct AccountsError(String);

impl ApiServer {
    /// Begins to keep service accounts: makes what each namespace lacks, gives out tokens and believes them, and refuses
    /// Pods whose account is missing. A server that is not told to has none of it.
    ///
    /// # Errors
    /// The keys hold none that can sign tokens.
    pub fn keep_accounts(&self, keys: &Keys, pod_tokens: PodTokens) -> Result<(), AccountsError> {
        let key = TokenKey::new(keys.accounts_key()).map_err(AccountsError)?;
        let accounts = Accounts { key, pod_tokens, authority_pem: keys.authority_pem() };
        let core = self.core();
        if core.accounts.set(accounts).is_err() {
            return Err(AccountsError("they are kept already".to_owned()));
        }
        furnish_all(core);
        Ok(())
    }
}

/// After a request that wrote: sees to it that no namespace lacks what each must have.
pub(crate) fn furnish_after<K: ServedKind>(core: &Core, request: &ResourceRequest) {
    if request.method == Method::POST {
        if K::KIND == Namespace::KIND {
            furnish_all(core);
        }
        return;
    }
    let needed = match K::KIND {
        ServiceAccount::KIND => DEFAULT,
        ConfigMap::KIND => ROOT_MAP,
        _ => return,
    };
    // A whole collection may have gone, too.
    let concerned = request.path.name.as_deref().is_none_or(|name| name == needed);
    if let Some(namespace) = request.path.namespace.as_deref().filter(|_| concerned) {
        furnish(core, namespace);
    }
}

fn furnish_all(core: &Core) {
    for namespace in core.storage.list(Namespace::URL_PATH_SEGMENT, None, None).objects {
        furnish(core, &namespace.key.name);
    }
}

fn furnish(core: &Core, namespace: &str) {
    let Some(accounts) = core.accounts.get() else { return };
    let account = core.storage.get(ServiceAccount::URL_PATH_SEGMENT, &Key::new(namespace, DEFAULT));
    if account.is_none() {
        make::<ServiceAccount>(core, namespace, &json!({ "metadata": { "name": DEFAULT } }));
    }
    let key = Key::new(namespace, ROOT_MAP);
    if core.storage.get(ConfigMap::URL_PATH_SEGMENT, &key).is_none() {
        let data = json!({ ROOT_KEY: accounts.authority_pem });
        make::<ConfigMap>(core, namespace, &json!({ "metadata": { "name": ROOT_MAP }, "data": data }));
        return;
    }
    let set = core.change::<ConfigMap>(&key, false, |_, old| {
        let mut new = old.clone();
        new.data.get_or_insert_default().insert(ROOT_KEY.to_owned(), accounts.authority_pem.clone());
        Ok(new)
    });
    tell::<ConfigMap>(namespace, set.map(drop));
}

fn make<K: ServedKind>(core: &Core, namespace: &str, object: &Value) {
    let made = core.create::<K>(&ResourceRequest::own::<K>(Some(namespace), object));
    tell::<K>(namespace, made.map(drop));
}

/// Whoever else made it, or a namespace that is going, are no faults.
fn tell<K: ServedKind>(namespace: &str, done: Result<(), ApiError>) {
    let Err(error) = done else { return };
    if !matches!(error.code(), StatusCode::CONFLICT | StatusCode::FORBIDDEN | StatusCode::NOT_FOUND) {
        tracing::warn!(?error, namespace, resource = K::URL_PATH_SEGMENT, "cannot be made for the namespace");
    }
}
