//! Creates Pods from manifests, as `kubectl create` does.

use anyhow::{Context, Result, bail};
use http::Request;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PostParams};

use crate::manifest::Document;
use crate::say;

/// Creates a Pod as `kubectl create` does, strictly; warnings go to standard error.
pub(crate) async fn create(client: &kube::Client, document: &Document) -> Result<Pod> {
    let namespace = document.object["metadata"]["namespace"].as_str().unwrap_or("default");
    ensure_namespace(client, namespace).await?;
    let path = format!("/api/v1/namespaces/{namespace}/pods?fieldValidation=Strict&fieldManager=memlet-run");
    let body = serde_json::to_vec(&document.object).context("the Pod makes no JSON")?;
    let request = Request::post(path).header("content-type", "application/json").body(body.into())?;
    let answer = client.send(request).await.context("the API server does not answer")?;
    for warning in memlet_apiserver::warnings(answer.headers()) {
        say::warning(&format!("{}: {warning}", document.source));
    }
    let created = answer.status().is_success();
    let body = answer.into_body().collect_bytes().await.context("the API server's answer is cut")?;
    if created {
        return serde_json::from_slice(&body).context("the API server's answer is no Pod");
    }
    let status: kube::core::Status =
        serde_json::from_slice(&body).context("the API server's answer is no Status")?;
    bail!("{}: {}{}", document.source, status.message, hint(&status.message))
}

/// What upstream's text leaves to the reader.
fn hint(message: &str) -> &'static str {
    if message.contains("quantities must match") || message.contains("unable to parse quantity") {
        "; write 128Mi for 128 × 1024² bytes, or 128M for 128 million"
    } else {
        ""
    }
}

/// A run has no other way to make the namespace that a Pod names.
async fn ensure_namespace(client: &kube::Client, name: &str) -> Result<()> {
    let namespaces = Api::<Namespace>::all(client.clone());
    if namespaces.get_opt(name).await.context("the API server does not answer")?.is_some() {
        return Ok(());
    }
    let namespace = Namespace {
        metadata: kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..Default::default()
    };
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .map(drop)
        .with_context(|| format!("namespace {name:?}"))
}
