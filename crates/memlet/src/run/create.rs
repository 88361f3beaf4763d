//! Creates Pods from manifests, as `kubectl create` does.

use anyhow::{Context, Result, anyhow, bail};
use http::Request;
use k8s_openapi::api::core::v1::{Namespace, Pod};
use kube::api::{Api, PostParams};

use crate::manifest::Document;
use crate::say;

/// Creates a Pod as `kubectl create` does, strictly; warnings go to standard error.
pub(crate) async fn create(client: &kube::Client, document: &Document) -> Result<Pod> {
    // An empty one means the default one, as for kubectl; one that is no text is the server's to refuse.
    let namespace = document.object["metadata"]["namespace"].as_str().filter(|name| !name.is_empty());
    let namespace = namespace.unwrap_or("default");
    ensure_namespace(client, namespace).await.map_err(|error| anyhow!("{}: {error:#}", document.source))?;
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

/// A run has no other way to make the namespace that a Pod names. The server judges its name, so that what
/// passes here has its place in a path.
async fn ensure_namespace(client: &kube::Client, name: &str) -> Result<()> {
    let namespace = Namespace {
        metadata: kube::core::ObjectMeta { name: Some(name.to_owned()), ..Default::default() },
        ..Default::default()
    };
    match Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await {
        Err(kube::Error::Api(status)) if status.is_already_exists() => Ok(()),
        made => made.map(drop).map_err(refusal),
    }
}

/// The server's own sentence where it refused something; kube's error would show the whole Status.
pub(crate) fn refusal(error: kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) => anyhow!("{}", status.message),
        error => anyhow!(error).context("the API server does not answer"),
    }
}
