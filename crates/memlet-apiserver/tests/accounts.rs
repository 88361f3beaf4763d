//! Service accounts: what each namespace has, the tokens of Pods, and what they are good for.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/served.rs"]
mod served;
#[path = "support/mod.rs"]
mod support;

use http::{Request, StatusCode};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, ServiceAccount};
use kube::api::{Api, DeleteParams, PostParams};
use memlet_apiserver::keys::{Keys, ServerNames};
use memlet_apiserver::serving::Limits;
use memlet_apiserver::{ApiServer, Identity, PodTokens};
use serde_json::{Value, json};
use served::{Served, get, serve};
use support::{pod, pods, send, status_of};

/// A server that keeps accounts, and its keys.
fn keeping(pod_tokens: PodTokens) -> (ApiServer, Keys) {
    let server = ApiServer::in_memory();
    let keys = Keys::in_memory(&ServerNames::default()).unwrap();
    server.keep_accounts(&keys, pod_tokens).unwrap();
    (server, keys)
}

async fn token(server: &ApiServer, account: &str, request: Value) -> (StatusCode, Value) {
    let path = format!("/api/v1/namespaces/default/serviceaccounts/{account}/token");
    let (code, _, body) = send(&server.client(), "POST", &path, request.to_string()).await;
    (code, body)
}

async fn bound_token(server: &ApiServer, pod: &str) -> String {
    let reference = json!({"apiVersion": "v1", "kind": "Pod", "name": pod});
    let (code, body) = token(server, "default", json!({"spec": {"boundObjectRef": reference}})).await;
    assert_eq!(code, StatusCode::CREATED, "{body}");
    body["status"]["token"].as_str().unwrap().to_owned()
}

async fn ask(served: &Served, token: &str, path: &str) -> (StatusCode, Value) {
    let mut request: Request<bytes::Bytes> = get(path);
    request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
    let response = served.ask(None, request).await;
    (response.status(), serde_json::from_str(response.body()).unwrap_or_default())
}

#[tokio::test]
async fn every_namespace_has_an_account_and_the_authority_for_as_long_as_it_is_there() {
    let (server, keys) = keeping(PodTokens::Mounted);
    let client = server.client();
    let (code, ..) = send(&client, "POST", "/api/v1/namespaces", r#"{"metadata":{"name":"new"}}"#).await;
    assert_eq!(code, StatusCode::CREATED);
    for namespace in ["default", "kube-system", "kube-public", "kube-node-lease", "new"] {
        let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
        let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
        let uid = accounts.get("default").await.unwrap().metadata.uid;
        accounts.delete("default", &DeleteParams::default()).await.unwrap();
        assert_ne!(accounts.get("default").await.unwrap().metadata.uid, uid, "it is another one");
        maps.delete("kube-root-ca.crt", &DeleteParams::default()).await.unwrap();
        let map = maps.get("kube-root-ca.crt").await.unwrap();
        assert_eq!(map.data.unwrap()["ca.crt"], keys.authority_pem());
        let path = format!("/api/v1/namespaces/{namespace}/configmaps/kube-root-ca.crt");
        send(
            &client,
            "PUT",
            &path,
            r#"{"metadata":{"name":"kube-root-ca.crt"},"data":{"ca.crt":"x","y":"z"}}"#,
        )
        .await;
        let map = maps.get("kube-root-ca.crt").await.unwrap();
        assert_eq!(map.data.unwrap()["ca.crt"], keys.authority_pem(), "what was changed is set right");
        send(&client, "DELETE", &format!("/api/v1/namespaces/{namespace}/serviceaccounts"), "").await;
        accounts.get("default").await.unwrap();
    }
    // A namespace that goes takes them along.
    send(&client, "DELETE", "/api/v1/namespaces/new", "").await;
    let (code, ..) = send(&client, "GET", "/api/v1/namespaces/new", "").await;
    assert_eq!(code, StatusCode::NOT_FOUND);
    let gone: Api<ConfigMap> = Api::namespaced(client, "new");
    assert!(gone.list(&kube::api::ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn a_pod_mounts_the_token_of_its_account() {
    let (server, _) = keeping(PodTokens::Mounted);
    let created = pods(&server.client()).create(&PostParams::default(), &pod("eater")).await.unwrap();
    let spec = created.spec.unwrap();
    let volume = &spec.volumes.as_ref().unwrap()[0];
    let (name, end) = volume.name.split_at("kube-api-access-".len());
    assert_eq!((name, end.len()), ("kube-api-access-", 5));
    let mut shown = json!({ "volumes": spec.volumes, "mounts": spec.containers[0].volume_mounts });
    for name in [shown.pointer_mut("/volumes/0/name"), None].into_iter().flatten() {
        *name = "kube-api-access-…".into();
    }
    assert_eq!(shown["mounts"][0]["name"], volume.name);
    *shown.pointer_mut("/mounts/0/name").unwrap() = "kube-api-access-…".into();
    // As recorded from a real cluster, without what that one's vendor adds.
    let expected = json!({
        "mounts": [{
            "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount",
            "name": "kube-api-access-…",
            "readOnly": true,
        }],
        "volumes": [{
            "name": "kube-api-access-…",
            "projected": {
                "defaultMode": 420,
                "sources": [
                    {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
                    {"configMap": {"items": [{"key": "ca.crt", "path": "ca.crt"}], "name": "kube-root-ca.crt"}},
                    {"downwardAPI": {"items": [{
                        "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"},
                        "path": "namespace",
                    }]}},
                ],
            },
        }],
    });
    assert_eq!(shown, expected);
}

#[tokio::test]
async fn who_wants_no_token_gets_none() {
    let volumes = |pod: &Pod| pod.spec.as_ref().unwrap().volumes.as_ref().map_or(0, Vec::len);
    let create = async |server: &ApiServer, name: &str, spec: Value| {
        let mut pod = pod(name);
        let mut whole = serde_json::to_value(&pod).unwrap();
        whole["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        pod = serde_json::from_value(whole).unwrap();
        pods(&server.client()).create(&PostParams::default(), &pod).await
    };
    let (server, _) = keeping(PodTokens::Mounted);
    let quiet = json!({"metadata": {"name": "quiet"}, "automountServiceAccountToken": false});
    let path = "/api/v1/namespaces/default/serviceaccounts";
    assert_eq!(send(&server.client(), "POST", path, quiet.to_string()).await.0, StatusCode::CREATED);
    for (name, spec, expected) in [
        ("a", json!({"automountServiceAccountToken": false}), 0),
        ("b", json!({"serviceAccountName": "quiet"}), 0),
        ("c", json!({"serviceAccountName": "quiet", "automountServiceAccountToken": true}), 1),
        ("d", json!({"serviceAccount": "default"}), 1),
    ] {
        let pod = create(&server, name, spec).await.unwrap();
        assert_eq!(volumes(&pod), expected, "{name}");
    }
    let refused = status_of(create(&server, "e", json!({"serviceAccountName": "none"})).await.unwrap_err());
    assert_eq!(refused.code, 403);
    assert_eq!(
        refused.message,
        r#"pods "e" is forbidden: error looking up service account default/none: serviceaccount "none" not found"#
    );
    // A container that has its own there is left alone, and no volume is made for nobody.
    let own = json!({
        "volumes": [{"name": "own", "emptyDir": {}}],
        "containers": [{"name": "main", "image": "eater:1", "volumeMounts":
            [{"name": "own", "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}]}],
    });
    assert_eq!(volumes(&create(&server, "f", own).await.unwrap()), 1);

    let (server, _) = keeping(PodTokens::Left);
    assert_eq!(volumes(&create(&server, "a", json!({})).await.unwrap()), 0);
    // A server that keeps no accounts asks for none.
    let plain = ApiServer::in_memory();
    assert_eq!(volumes(&create(&plain, "a", json!({"serviceAccountName": "none"})).await.unwrap()), 0);
}

#[tokio::test]
async fn the_bounds_of_a_token() {
    let (server, _) = keeping(PodTokens::Mounted);
    let (code, body) = token(&server, "default", json!({})).await;
    assert_eq!(code, StatusCode::CREATED);
    assert_eq!(body["spec"]["expirationSeconds"], 3600);
    assert_eq!(body["kind"], "TokenRequest");
    assert_eq!(body["metadata"]["name"], "default");
    let pod_reference = |name: &str| json!({"apiVersion": "v1", "kind": "Pod", "name": name});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "name": "x"});
    pods(&server.client()).create(&PostParams::default(), &pod("eater")).await.unwrap();
    let path = "/api/v1/namespaces/default/serviceaccounts";
    send(&server.client(), "POST", path, r#"{"metadata":{"name":"other"}}"#).await;
    for (account, spec, code, message) in [
        (
            "default",
            json!({"expirationSeconds": 599}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes",
        ),
        (
            "default",
            json!({"expirationSeconds": i64::MAX}),
            422,
            "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 9223372036854775807: may not specify a duration larger than 2^32 seconds",
        ),
        ("none", json!({}), 404, "serviceaccounts \"none\" not found"),
        ("default", json!({"boundObjectRef": pod_reference("none")}), 404, "pods \"none\" not found"),
        (
            "default",
            json!({"boundObjectRef": secret}),
            400,
            "cannot bind token for serviceaccount \"default\" to type /Secret",
        ),
        (
            "other",
            json!({"boundObjectRef": pod_reference("eater")}),
            400,
            "cannot bind token for serviceaccount \"other\" to pod running with different serviceaccount name.",
        ),
    ] {
        let (found, body) = token(&server, account, json!({"spec": spec})).await;
        assert_eq!((found.as_u16(), body["message"].as_str()), (code, Some(message)));
    }
    let mut other = pod_reference("eater");
    other["uid"] = "x".into();
    assert_eq!(token(&server, "default", json!({"spec": {"boundObjectRef": other}})).await.0.as_u16(), 409);
}

#[tokio::test]
async fn a_token_reads_its_namespace_and_dies_with_its_pod() {
    let server = ApiServer::in_memory();
    let socket = serve(server.clone(), Limits::default());
    server.keep_accounts(&socket.keys, PodTokens::Mounted).unwrap();
    let client = server.client();
    pods(&client).create(&PostParams::default(), &pod("eater")).await.unwrap();
    let token = bound_token(&server, "eater").await;

    let own = "/api/v1/namespaces/default";
    assert_eq!(ask(&socket, &token, &format!("{own}/pods/eater")).await.0, StatusCode::OK);
    assert_eq!(ask(&socket, &token, "/api").await.0, StatusCode::OK);
    let who = r#"User "system:serviceaccount:default:default""#;
    for (path, message) in [
        (
            format!("{own}/secrets"),
            format!(
                r#"secrets is forbidden: {who} cannot list resource "secrets" in API group "" in the namespace "default""#
            ),
        ),
        (
            "/api/v1/pods".to_owned(),
            format!(
                r#"pods is forbidden: {who} cannot list resource "pods" in API group "" at the cluster scope"#
            ),
        ),
        (
            "/api/v1/namespaces/kube-system/pods/x".to_owned(),
            format!(
                r#"pods "x" is forbidden: {who} cannot get resource "pods" in API group "" in the namespace "kube-system""#
            ),
        ),
        (
            format!("{own}/pods/eater/exec"),
            format!(
                r#"pods "eater" is forbidden: {who} cannot get resource "pods/exec" in API group "" in the namespace "default""#
            ),
        ),
        (
            "/apis/coordination.k8s.io/v1/leases".to_owned(),
            format!(
                r#"leases.coordination.k8s.io is forbidden: {who} cannot list resource "leases" in API group "coordination.k8s.io" at the cluster scope"#
            ),
        ),
        ("/metrics".to_owned(), format!(r#"forbidden: {who} cannot get path "/metrics""#)),
    ] {
        let (code, body) = ask(&socket, &token, &path).await;
        assert_eq!(
            (code, body["message"].as_str()),
            (StatusCode::FORBIDDEN, Some(message.as_str())),
            "{path}"
        );
        assert_eq!(body["reason"], "Forbidden");
    }

    pods(&client).delete("eater", &DeleteParams::default().grace_period(0)).await.unwrap();
    let (code, body) = ask(&socket, &token, &format!("{own}/pods")).await;
    assert_eq!((code, body["message"].as_str()), (StatusCode::UNAUTHORIZED, Some("Unauthorized")));
    // Another Pod of the same name does not bring it back.
    pods(&client).create(&PostParams::default(), &pod("eater")).await.unwrap();
    assert_eq!(ask(&socket, &token, &format!("{own}/pods")).await.0, StatusCode::UNAUTHORIZED);

    let token = bound_token(&server, "eater").await;
    assert_eq!(ask(&socket, &token, &format!("{own}/pods")).await.0, StatusCode::OK);
    let accounts: Api<ServiceAccount> = Api::default_namespaced(client);
    accounts.delete("default", &DeleteParams::default()).await.unwrap();
    assert_eq!(ask(&socket, &token, &format!("{own}/pods")).await.0, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn a_token_for_others_is_not_for_this_server() {
    let server = ApiServer::in_memory();
    let socket = serve(server.clone(), Limits::default());
    server.keep_accounts(&socket.keys, PodTokens::Mounted).unwrap();
    let (_, body) = token(&server, "default", json!({"spec": {"audiences": ["vault"]}})).await;
    let token = body["status"]["token"].as_str().unwrap();
    assert_eq!(ask(&socket, token, "/api/v1/namespaces/default/pods").await.0, StatusCode::UNAUTHORIZED);

    let review = async |audiences: Value| {
        let spec = json!({"spec": {"token": token, "audiences": audiences}}).to_string();
        send(&server.client(), "POST", "/apis/authentication.k8s.io/v1/tokenreviews", spec).await.2
    };
    let known = review(json!(["vault", "x"])).await;
    assert_eq!(known["status"]["authenticated"], true);
    assert_eq!(known["status"]["audiences"], json!(["vault"]));
    assert_eq!(known["status"]["user"]["username"], "system:serviceaccount:default:default");
    assert_eq!(review(json!([])).await["status"]["authenticated"], false);
}

#[tokio::test]
async fn what_others_may_do_can_be_asked() {
    let (server, _) = keeping(PodTokens::Mounted);
    let jane = kube::Client::new(server.service_as(Identity::of("jane", [])), "default");
    let admin = server.client();
    let group = "/apis/authorization.k8s.io/v1";
    let asked =
        json!({"spec": {"resourceAttributes": {"verb": "list", "resource": "pods", "namespace": "a"}}});
    for (client, allowed) in [(&jane, false), (&admin, true)] {
        let path = format!("{group}/selfsubjectaccessreviews");
        let (code, _, body) = send(client, "POST", &path, asked.to_string()).await;
        assert_eq!((code, &body["status"]["allowed"]), (StatusCode::CREATED, &json!(allowed)));
    }
    let mut of_account = asked.clone();
    of_account["spec"]["user"] = "system:serviceaccount:a:b".into();
    of_account["spec"]["groups"] = json!(["system:serviceaccounts:a"]);
    let path = format!("{group}/subjectaccessreviews");
    let (_, _, body) = send(&admin, "POST", &path, of_account.to_string()).await;
    assert_eq!(body["status"]["allowed"], true);
    assert_eq!(send(&jane, "POST", &path, of_account.to_string()).await.0, StatusCode::FORBIDDEN);
    assert_eq!(send(&admin, "POST", &path, r#"{"spec":{"user":"x"}}"#).await.0.as_u16(), 422);

    let whoami = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let (_, _, body) = send(&jane, "POST", whoami, "{}").await;
    assert_eq!(body["status"]["userInfo"], json!({"username": "jane", "groups": ["system:authenticated"]}));
    assert_eq!(send(&jane, "GET", whoami, "").await.0, StatusCode::FORBIDDEN);
    assert_eq!(send(&admin, "GET", whoami, "").await.0, StatusCode::METHOD_NOT_ALLOWED);
}
