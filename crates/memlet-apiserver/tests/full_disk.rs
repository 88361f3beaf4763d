//! A real file system that fills up under the server, and then has room again. Mounting it needs root.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on fails")]

#[path = "support/mod.rs"]
mod support;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use libtest_mimic::{Arguments, Trial};
use memlet_apiserver::{ApiServer, Settings};
use serde_json::json;
use support::{status_of, until};

fn main() -> ExitCode {
    let folder = tempfile::tempdir().unwrap();
    let mount = Mount::new(folder.path());
    let can_mount = mount.is_some();
    let full = Trial::test("a_full_disk_refuses_and_recovers", move || {
        a_full_disk_refuses_and_recovers(&mount.unwrap());
        Ok(())
    });
    let conclusion = libtest_mimic::run(&Arguments::from_args(), vec![full.with_ignored_flag(!can_mount)]);
    conclusion.exit_code()
}

/// A file system in memory, unmounted when it goes.
struct Mount(PathBuf);

impl Mount {
    fn new(folder: &Path) -> Option<Self> {
        let mount = Self(folder.to_owned());
        mount.mount("size=3m").then_some(mount)
    }

    fn mount(&self, options: &str) -> bool {
        let mut command = Command::new("mount");
        command.args(["-t", "tmpfs", "-o", options, "memlet-test"]).arg(&self.0);
        command.output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).output();
    }
}

#[tokio::main(flavor = "current_thread")]
async fn a_full_disk_refuses_and_recovers(mount: &Mount) {
    let folder = mount.0.join("server");
    let server = ApiServer::open(&folder, Settings::default()).unwrap();
    let maps: Api<ConfigMap> = Api::default_namespaced(server.client());
    let filling = "x".repeat(100 << 10);
    let create = async |name: String| {
        let map = json!({"metadata": {"name": name}, "data": {"k": filling}});
        maps.create(&PostParams::default(), &serde_json::from_value(map).unwrap()).await
    };
    let mut created = Vec::new();
    let refused = loop {
        match create(format!("m{}", created.len())).await {
            Ok(map) => created.push(map),
            Err(error) => break status_of(error),
        }
        assert!(created.len() < 100, "10 MiB went into 3 MiB");
    };
    assert_eq!(refused.code, 500);
    let expected = format!(
        "Internal error occurred: nothing was changed, because changes cannot be stored: {}/objects.redb cannot be \
         written: I/O error: No space left on device (os error 28)",
        folder.display()
    );
    assert_eq!(refused.message, expected);
    // It lives, says the truth, and refuses at once.
    let list = maps.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.items.len(), created.len());
    assert_eq!(list.metadata.resource_version, created.last().unwrap().metadata.resource_version);
    let begin = std::time::Instant::now();
    create("later".to_owned()).await.unwrap_err();
    assert!(begin.elapsed() < Duration::from_millis(500), "a refusal took {:?}", begin.elapsed());

    assert!(mount.mount("remount,size=64m"));
    until(async || create("later".to_owned()).await.is_ok()).await;
    let before = maps.list(&ListParams::default()).await.unwrap();
    server.close();
    let again: Api<ConfigMap> =
        Api::default_namespaced(ApiServer::open(&folder, Settings::default()).unwrap().client());
    let after = again.list(&ListParams::default()).await.unwrap();
    assert_eq!((after.items, after.metadata), (before.items, before.metadata));
}
