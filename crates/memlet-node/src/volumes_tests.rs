use super::*;
use serde_json::{Value, json};

fn spec(volumes: Value) -> PodSpec {
    serde_json::from_value(json!({"containers": [], "volumes": volumes})).unwrap()
}

fn mounted(volumes: &Volumes, mount: Value) -> Result<Mount, VolumeError> {
    volumes.mount(&serde_json::from_value(mount).unwrap(), &[], Path::new("/nowhere"))
}

#[test]
fn an_empty_dir_is_open_to_all_and_gone_after() {
    let folder = tempfile::tempdir().unwrap();
    let pod = folder.path().join("pods/u");
    let volumes = Volumes::plan(&spec(json!([{"name": "v", "emptyDir": {}}])), &pod, Bytes::ZERO, None);
    volumes.set_up().unwrap();
    volumes.set_up().expect("what is there is fine");
    let place = pod.join("volumes/kubernetes.io~empty-dir/v");
    assert_eq!(fs::metadata(&place).unwrap().permissions().mode() & 0o7777, 0o777);
    let mount = mounted(&volumes, json!({"name": "v", "mountPath": "/v", "readOnly": true})).unwrap();
    assert_eq!((mount.host_path.as_str(), mount.readonly), (place.to_str().unwrap(), true));
    volumes.tear_down().unwrap();
    volumes.tear_down().expect("what is gone is fine");
    assert!(!pod.exists());
}

#[test]
fn memory_is_as_large_as_the_least_bound() {
    let memory = |size: Option<&str>, limit: Option<u64>| {
        let volume = json!([{"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": size}}]);
        let limit = limit.map(Bytes::from_mib);
        let volumes = Volumes::plan(&spec(volume), Path::new("/p"), Bytes::from_mib(924), limit);
        let Plan::Memory { size, .. } = volumes.plans[0].1.clone() else { panic!("it is in memory") };
        size
    };
    assert_eq!(memory(None, None), Bytes::from_mib(924));
    assert_eq!(memory(None, Some(128)), Bytes::from_mib(128));
    assert_eq!(memory(Some("64Mi"), Some(128)), Bytes::from_mib(64));
    assert_eq!(memory(Some("256Mi"), Some(128)), Bytes::from_mib(128));
}

#[test]
fn host_paths_are_what_they_are_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("file"), "").unwrap();
    fs::create_dir(folder.path().join("dir")).unwrap();
    let set_up = |name: &str, kind: &str| {
        let path = folder.path().join(name);
        let volume = json!([{"name": "h", "hostPath": {"path": path, "type": kind}}]);
        Volumes::plan(&spec(volume), folder.path(), Bytes::ZERO, None).set_up()
    };
    for (name, kind) in
        [("file", "File"), ("dir", "Directory"), ("new", "DirectoryOrCreate"), ("f", "FileOrCreate")]
    {
        set_up(name, kind).unwrap_or_else(|error| panic!("{name} {kind}: {error}"));
    }
    assert!(folder.path().join("new").is_dir() && folder.path().join("f").is_file());
    for (name, kind) in [("dir", "File"), ("file", "Directory"), ("none", "Directory"), ("file", "Socket")] {
        assert!(matches!(set_up(name, kind), Err(VolumeError::WrongType { .. })), "{name} {kind}");
    }
    let error =
        set_up("none", "Directory").unwrap_err().to_string().replace(folder.path().to_str().unwrap(), "");
    insta::assert_snapshot!(error, @r#"MountVolume.SetUp failed for volume "h" : hostPath type check failed: /none is not a directory"#);
}

#[test]
fn mounts_are_found_by_the_kernels_list() {
    let mountinfo = "\
22 1 0:20 / /p rw - tmpfs tmpfs rw
23 22 0:21 / /p/u/v rw - tmpfs tmpfs rw
24 23 0:22 / /p/u/v/a\\040b rw - tmpfs tmpfs rw
25 22 0:23 / /p/uv rw - tmpfs tmpfs rw
";
    assert_eq!(
        mount_points_below(mountinfo, Path::new("/p/u")),
        [Path::new("/p/u/v/a b"), Path::new("/p/u/v")]
    );
}

#[test]
fn a_sub_path_may_name_variables() {
    let variables = [("POD".to_owned(), "web-1".to_owned())];
    assert_eq!(expanded("v", "logs/$(POD)", &variables).unwrap(), "logs/web-1");
    let missing = expanded("v", "logs/$(NONE)", &variables).unwrap_err();
    assert_eq!(
        missing.to_string(),
        "failed to prepare subPath for volumeMount \"v\": missing value for \"logs/$(NONE)\""
    );
}
