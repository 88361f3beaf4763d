//! What Pods take from configMaps, secrets and their own object: variables, and files that follow.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::api::{Api, Patch, PatchParams, PostParams};
use serde_json::{Value, json};

use crate::{Bench, container, phase, run, shell};

pub(crate) const TESTS: [(&str, fn()); 3] = [
    ("variables_come_from_objects", variables_come_from_objects),
    ("files_come_from_objects_and_follow_them", files_come_from_objects_and_follow_them),
    ("a_missing_object_holds_up_the_volume", a_missing_object_holds_up_the_volume),
];

impl Bench {
    async fn config_map(&self, name: &str, data: Value) {
        let maps: Api<ConfigMap> = Api::default_namespaced(self.client.clone());
        let map = serde_json::from_value(json!({"metadata": {"name": name}, "data": data})).unwrap();
        maps.create(&PostParams::default(), &map).await.unwrap();
    }

    async fn secret(&self, name: &str, data: Value) {
        let secrets: Api<Secret> = Api::default_namespaced(self.client.clone());
        let secret = serde_json::from_value(json!({"metadata": {"name": name}, "stringData": data})).unwrap();
        secrets.create(&PostParams::default(), &secret).await.unwrap();
    }

    fn volumes(&self, uid: &str) -> PathBuf {
        self.config.state.join("pods").join(uid).join("volumes")
    }
}

fn variables_come_from_objects() {
    run(true, async |bench| {
        bench.secret("door", json!({"key": "sesame"})).await;
        let script = r#"test "$COLOUR $DOOR_key $HEAP $MISSING $WHERE" = "blue sesame 32  default/eater""#;
        let mut spec = shell(script, Some("32Mi"));
        spec["containers"][0]["envFrom"] = json!([{"prefix": "DOOR_", "secretRef": {"name": "door"}}]);
        spec["containers"][0]["env"] = json!([
            {"name": "COLOUR", "valueFrom": {"configMapKeyRef": {"name": "colours", "key": "sky"}}},
            {"name": "MISSING", "valueFrom": {"secretKeyRef": {"name": "none", "key": "x", "optional": true}}},
            {"name": "HEAP", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
            {"name": "NAMESPACE", "valueFrom": {"fieldRef": {"fieldPath": "metadata.namespace"}}},
            {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "WHERE", "value": "$(NAMESPACE)/$(NAME)"},
        ]);
        bench.create("eater", spec).await;
        let waiting = |pod: &k8s_openapi::api::core::v1::Pod| {
            let statuses = pod.status.as_ref().and_then(|status| status.container_statuses.as_ref());
            let waiting = statuses.and_then(|statuses| statuses[0].state.as_ref()?.waiting.as_ref());
            waiting.is_some_and(|waiting| waiting.reason.as_deref() == Some("CreateContainerConfigError"))
        };
        let pod = bench.until("eater", waiting).await;
        let message = container(&pod).state.as_ref().unwrap().waiting.as_ref().unwrap().message.clone();
        assert_eq!(message.as_deref(), Some("configmap \"colours\" not found"));
        let events = bench.events("eater").await;
        assert!(events.contains(&"Failed Error: configmap \"colours\" not found".to_owned()), "{events:?}");
        bench.config_map("colours", json!({"sky": "blue"})).await;
        let pod = bench.until("eater", |pod| phase("Succeeded")(pod) || phase("Failed")(pod)).await;
        assert_eq!(
            crate::ending(&pod),
            ("Completed".to_owned(), 0),
            "the variables are not as they should be"
        );
        bench.finish().await;
    });
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

async fn until_it_reads(path: &Path, contents: &str) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while read(path) != contents {
        assert!(Instant::now() < deadline, "{} reads {:?}", path.display(), read(path));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn files_come_from_objects_and_follow_them() {
    run(true, async |bench| {
        bench.config_map("colours", json!({"sky": "blue"})).await;
        bench.secret("door", json!({"key": "sesame"})).await;
        let mut spec = shell("exec sleep 100", Some("32Mi"));
        spec["volumes"] = json!([
            {"name": "c", "configMap": {"name": "colours"}},
            {"name": "s", "secret": {"secretName": "door", "defaultMode": 256}},
            {"name": "all", "projected": {"sources": [
                {"configMap": {"name": "colours", "items": [{"key": "sky", "path": "up/sky"}]}},
                {"downwardAPI": {"items": [{"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}}]}},
            ]}},
        ]);
        let mount = |name: &str| json!({"name": name, "mountPath": format!("/{name}")});
        spec["containers"][0]["volumeMounts"] = json!([mount("c"), mount("s"), mount("all")]);
        let uid = bench.create("reader", spec).await.metadata.uid.unwrap();
        bench.until("reader", phase("Running")).await;
        let volumes = bench.volumes(&uid);
        let sky = volumes.join("kubernetes.io~configmap/c/sky");
        let (secret, all) =
            (volumes.join("kubernetes.io~secret/s"), volumes.join("kubernetes.io~projected/all"));
        assert_eq!((read(&sky).as_str(), read(&secret.join("key")).as_str()), ("blue", "sesame"));
        assert_eq!((read(&all.join("up/sky")).as_str(), read(&all.join("labels")).as_str()), ("blue", ""));
        for place in [&secret, &all] {
            assert_eq!(
                rustix::fs::statfs(place).unwrap().f_type,
                0x0102_1994,
                "{} is in memory",
                place.display()
            );
        }
        assert_eq!(
            bench.runtime.mounts("main"),
            ["/c ro", "/s ro", "/all ro", "/dev/termination-log rw", "/etc/hosts rw"]
        );
        let maps: Api<ConfigMap> = Api::default_namespaced(bench.client.clone());
        let change = Patch::Merge(json!({"data": {"sky": "grey"}}));
        maps.patch("colours", &PatchParams::default(), &change).await.unwrap();
        // A change of the Pod's own object is shown at once, and all else with it.
        let labels = Patch::Merge(json!({"metadata": {"labels": {"seen": "yes"}}}));
        bench.pods().patch("reader", &PatchParams::default(), &labels).await.unwrap();
        until_it_reads(&all.join("labels"), "seen=\"yes\"").await;
        until_it_reads(&sky, "grey").await;
        assert_eq!(read(&all.join("up/sky")), "grey");
        bench.finish().await;
    });
}

fn a_missing_object_holds_up_the_volume() {
    run(true, async |bench| {
        let mut spec = shell("exit 0", Some("32Mi"));
        spec["volumes"] = json!([{"name": "config", "configMap": {"name": "late"}}]);
        spec["containers"][0]["volumeMounts"] =
            json!([{"name": "config", "mountPath": "/c", "subPath": "key"}]);
        let uid = bench.create("waits", spec).await.metadata.uid.unwrap();
        let told =
            "FailedMount MountVolume.SetUp failed for volume \"config\" : configmap \"late\" not found";
        let deadline = Instant::now() + Duration::from_secs(5);
        while !bench.events("waits").await.contains(&told.to_owned()) {
            assert!(Instant::now() < deadline, "{:?}", bench.events("waits").await);
        }
        let pod = bench.until("waits", phase("Pending")).await;
        let waiting = container(&pod).state.as_ref().unwrap().waiting.as_ref().unwrap();
        assert_eq!(waiting.reason.as_deref(), Some("ContainerCreating"));
        bench.config_map("late", json!({"key": "value"})).await;
        bench.until("waits", phase("Succeeded")).await;
        let volume = bench.volumes(&uid).join("kubernetes.io~configmap");
        let deadline = Instant::now() + Duration::from_secs(2);
        while volume.exists() {
            assert!(Instant::now() < deadline, "the volume stays though the Pod has ended");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        bench.finish().await;
    });
}
