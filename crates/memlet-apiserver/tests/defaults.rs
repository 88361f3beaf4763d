//! What a Pod gains at creation, beside what a real cluster gave the same manifest.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

mod support;

use kube::api::PostParams;
use memlet_apiserver::ApiServer;
use serde_json::{Value, json};
use support::{pods, send};

/// The part of a recorded spec that this server is to give: without the node, which binding adds, and the
/// service-account token's volume, which is not mounted yet.
fn recorded(text: &str) -> Value {
    let mut spec: Value = serde_json::from_str::<Value>(text).unwrap()["spec"].take();
    let fields = spec.as_object_mut().unwrap();
    fields.remove("nodeName");
    fields.remove("volumes");
    for container in spec["containers"].as_array_mut().unwrap() {
        container.as_object_mut().unwrap().remove("volumeMounts");
    }
    spec
}

async fn defaulted(manifest: Value) -> Value {
    let client = ApiServer::in_memory().client();
    let pods = pods(&client);
    let pod = pods.create(&PostParams::default(), &serde_json::from_value(manifest).unwrap()).await.unwrap();
    serde_json::to_value(pod).unwrap()
}

#[tokio::test]
async fn the_memory_eater_is_defaulted_as_recorded() {
    let pod = defaulted(json!({
        "metadata": {"name": "memory-eater-128"},
        "spec": {"containers": [{
            "name": "memory-eater", "image": "maho/memory_eater:0.1",
            "resources": {"limits": {"memory": "128Mi"}},
        }]},
    }))
    .await;
    assert_eq!(pod["spec"], recorded(include_str!("golden/memory-eater-128.json")));
    assert_eq!(pod["status"], json!({"phase": "Pending", "qosClass": "Burstable"}));
}

#[tokio::test]
async fn the_pending_pod_is_defaulted_as_recorded() {
    let pod = defaulted(json!({
        "metadata": {"name": "pending-1000gi"},
        "spec": {
            "restartPolicy": "Never", "terminationGracePeriodSeconds": 0,
            "containers": [{
                "name": "main", "image": "busybox", "imagePullPolicy": "IfNotPresent", "command": ["sleep", "3600"],
                "resources": {"requests": {"memory": "1000Gi"}},
            }],
        },
    })).await;
    assert_eq!(pod["spec"], recorded(include_str!("golden/pending-1000gi.json")));
}

#[tokio::test]
async fn amounts_are_answered_in_canonical_form() {
    let pod = json!({
        "metadata": {"name": "a"},
        "spec": {"containers": [{"name": "c", "image": "i", "resources": {
            "limits": {"cpu": 2, "memory": 134_217_728, "ephemeral-storage": "1024Mi"}, "requests": {"memory": "0.5Ki"},
        }}]},
    });
    let client = ApiServer::in_memory().client();
    let (code, _, pod) = send(&client, "POST", "/api/v1/namespaces/default/pods", pod.to_string()).await;
    assert_eq!(code, 201, "{pod}");
    assert_eq!(
        pod["spec"]["containers"][0]["resources"],
        json!({
            "limits": {"cpu": "2", "memory": "134217728", "ephemeral-storage": "1Gi"},
            "requests": {"cpu": "2", "memory": "512", "ephemeral-storage": "1Gi"},
        })
    );
}

#[tokio::test]
async fn the_class_is_fixed_at_creation() {
    for (resources, class) in [
        (json!({}), "BestEffort"),
        (json!({"limits": {"memory": "1Mi"}}), "Burstable"),
        (json!({"limits": {"memory": "1Mi", "cpu": "1"}}), "Guaranteed"),
    ] {
        let containers = json!([{"name": "c", "image": "i:1", "resources": resources}]);
        let pod = defaulted(json!({"metadata": {"name": "a"}, "spec": {"containers": containers}})).await;
        assert_eq!(pod["status"]["qosClass"], class);
    }
}

#[tokio::test]
async fn ports_probes_volumes_and_variables() {
    let pod = defaulted(json!({
        "metadata": {"name": "a"},
        "spec": {
            "hostNetwork": true,
            "tolerations": [{"operator": "Exists"}],
            "volumes": [{"name": "v"}, {"name": "s", "secret": {"secretName": "x"}}],
            "containers": [{
                "name": "c", "image": "i", "ports": [{"containerPort": 80}],
                "livenessProbe": {"httpGet": {"port": 80}},
                "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}],
            }],
        },
    }))
    .await;
    let container = &pod["spec"]["containers"][0];
    assert_eq!(container["imagePullPolicy"], "Always");
    assert_eq!(container["ports"], json!([{"containerPort": 80, "hostPort": 80, "protocol": "TCP"}]));
    assert_eq!(
        container["livenessProbe"],
        json!({
            "httpGet": {"port": 80, "path": "/", "scheme": "HTTP"},
            "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
        })
    );
    assert_eq!(container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"], "v1");
    assert_eq!(
        pod["spec"]["volumes"],
        json!([
            {"name": "v", "emptyDir": {}}, {"name": "s", "secret": {"secretName": "x", "defaultMode": 420}},
        ])
    );
    assert_eq!(pod["spec"]["tolerations"], json!([{"operator": "Exists"}]), "it bears everything already");
}
