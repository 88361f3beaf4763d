//! The kubeconfig: how a client finds the server, trusts it, and shows who it is.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, Cluster, Context, Kubeconfig, NamedAuthInfo, NamedCluster, NamedContext};

use super::Certified;

/// The name of the context, and of the cluster in it.
pub const CONTEXT: &str = "memlet";
const NAMESPACE: &str = "default";

pub(super) fn of(server: &str, authority_pem: &str, user: &str, client: &Certified) -> Kubeconfig {
    let user_name = format!("{CONTEXT}-{}", user.trim_start_matches("kubernetes-"));
    let cluster = Cluster {
        server: Some(server.to_owned()),
        certificate_authority_data: Some(STANDARD.encode(authority_pem)),
        ..Cluster::default()
    };
    let auth_info = AuthInfo {
        client_certificate_data: Some(STANDARD.encode(client.certificate_pem())),
        client_key_data: Some(STANDARD.encode(client.key_pem()).into()),
        ..AuthInfo::default()
    };
    let context = Context {
        cluster: CONTEXT.to_owned(),
        user: Some(user_name.clone()),
        namespace: Some(NAMESPACE.to_owned()),
        ..Context::default()
    };
    Kubeconfig {
        kind: Some("Config".to_owned()),
        api_version: Some("v1".to_owned()),
        clusters: vec![NamedCluster {
            name: CONTEXT.to_owned(),
            cluster: Some(cluster),
            ..Default::default()
        }],
        auth_infos: vec![NamedAuthInfo { name: user_name, auth_info: Some(auth_info), ..Default::default() }],
        contexts: vec![NamedContext {
            name: CONTEXT.to_owned(),
            context: Some(context),
            ..Default::default()
        }],
        current_context: Some(CONTEXT.to_owned()),
        ..Kubeconfig::default()
    }
}

/// The text of a kubeconfig, as kubectl reads and writes it: sorted, and each value on its line.
pub fn to_yaml(config: &Kubeconfig) -> String {
    let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
    // Strings, lists and maps: they always have both forms.
    let sorted = serde_json::to_value(config).unwrap_or_default();
    serde_saphyr::to_string_with_options(&sorted, options).unwrap_or_default()
}
