use super::*;

const UID: &str = "39ea0cc2-b638-4caf-8286-8a895677d802";
const ID: &str = "6a626f351dcbdee46312cedd5e75f8f4a736bf366705fcb78254c0c962af5993";

#[test]
fn cgroupfs_names() {
    let names = CgroupNames::new(Driver::Cgroupfs);
    assert_eq!(names.kubepods(), "/kubepods");
    assert_eq!(names.qos_tier(QosClass::Guaranteed), "/kubepods");
    assert_eq!(names.qos_tier(QosClass::BestEffort), "/kubepods/besteffort");
    assert_eq!(names.pod(QosClass::Guaranteed, UID), format!("/kubepods/pod{UID}"));
    assert_eq!(
        names.container(QosClass::Burstable, UID, Runtime::Containerd, ID),
        format!("/kubepods/burstable/pod{UID}/{ID}")
    );
    assert_eq!(
        names.container(QosClass::Burstable, UID, Runtime::CriO, ID),
        format!("/kubepods/burstable/pod{UID}/crio-{ID}")
    );
    assert_eq!(names.below("/memlet/a-b/").qos_tier(QosClass::Burstable), "/memlet/a-b/kubepods/burstable");
}

#[test]
fn systemd_names() {
    let names = CgroupNames::new(Driver::Systemd);
    let uid = UID.replace('-', "_");
    assert_eq!(names.kubepods(), "/kubepods.slice");
    assert_eq!(names.qos_tier(QosClass::Burstable), "/kubepods.slice/kubepods-burstable.slice");
    assert_eq!(names.pod(QosClass::Guaranteed, UID), format!("/kubepods.slice/kubepods-pod{uid}.slice"));
    assert_eq!(
        names.container(QosClass::BestEffort, UID, Runtime::Containerd, ID),
        format!(
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{uid}.slice/cri-containerd-{ID}.scope"
        )
    );
    assert_eq!(
        names.below("/kubelet").qos_tier(QosClass::Burstable),
        "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice"
    );
}

/// What [`decode`] says, in one line.
fn said(path: &str) -> String {
    let Some(identity) = decode(path) else { return "-".to_owned() };
    let word = |text: Option<String>| text.unwrap_or_else(|| "?".to_owned());
    format!(
        "{:?} {} {} {} {} {} prefix={:?}",
        identity.level,
        word(identity.qos.map(|qos| qos.to_string())),
        word(identity.pod_uid),
        word(identity.container_id),
        word(identity.runtime.map(|runtime| runtime.to_string())),
        identity.driver,
        identity.prefix,
    )
}

#[test]
fn decodes_what_it_names() {
    for driver in [Driver::Cgroupfs, Driver::Systemd] {
        for root in ["", "/memlet", "/kubelet/in-between"] {
            let names = CgroupNames::new(driver).below(root);
            for class in [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort] {
                for uid in [UID, "0123456789abcdef0123456789abcdef"] {
                    let pod = decode(&names.pod(class, uid)).unwrap();
                    assert_eq!(
                        (pod.level, pod.qos, pod.pod_uid.as_deref()),
                        (Level::Pod, Some(class), Some(uid))
                    );
                    assert_eq!((pod.container_id, pod.driver), (None, driver));
                    for runtime in [Runtime::Containerd, Runtime::CriO, Runtime::Docker, Runtime::Podman] {
                        let path = names.container(class, uid, runtime, ID);
                        let container = decode(&path).unwrap();
                        assert_eq!(container.level, Level::Container, "{path}");
                        assert_eq!(container.container_id.as_deref(), Some(ID), "{path}");
                        assert_eq!(container.pod_uid.as_deref(), Some(uid), "{path}");
                        assert!(container.runtime.is_none_or(|found| found == runtime), "{path}");
                    }
                }
            }
            assert_eq!(decode(&names.kubepods()).unwrap().level, Level::Kubepods);
            assert_eq!(decode(&names.qos_tier(QosClass::Burstable)).unwrap().level, Level::QosTier);
        }
    }
}

#[test]
fn decodes_paths_of_kernel_reports() {
    insta::assert_snapshot!(
        said("/system.slice/docker-fc22.scope/kubepods/besteffort/podd8dcbcc6-5695-4b90-823b-ac11f60809ec/d1d9d0f6"),
        @r#"Container BestEffort d8dcbcc6-5695-4b90-823b-ac11f60809ec d1d9d0f6 ? cgroupfs prefix="/system.slice/docker-fc22.scope""#
    );
    insta::assert_snapshot!(
        said("/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podab_cd.slice/cri-containerd-914914.scope"),
        @r#"Container Guaranteed ab-cd 914914 containerd systemd prefix="/kubelet.slice""#
    );
    insta::assert_snapshot!(
        said("/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda_b.slice"),
        @r#"Pod Burstable a-b ? ? systemd prefix="""#
    );
    insta::assert_snapshot!(
        said("/system.slice/containerd.service/kubepods-burstable-poda_b.slice:cri-containerd:c0ffee"),
        @r#"Container Burstable a-b c0ffee containerd systemd prefix="/system.slice/containerd.service""#
    );
    // A nested kubelet's Pod is nearer than the one it runs in.
    insta::assert_snapshot!(
        said("/kubepods/burstable/podouter/c0ffee/kubelet/kubepods/podinner/deadbeef/init.scope"),
        @r#"InsideContainer Guaranteed inner deadbeef ? cgroupfs prefix="/kubepods/burstable/podouter/c0ffee/kubelet""#
    );
    insta::assert_snapshot!(
        said("/kubepods.slice/kubepods-poda.slice/crio-c0ffee.scope/system.slice/x.service"),
        @r#"InsideContainer Guaranteed a c0ffee cri-o systemd prefix="""#
    );
    insta::assert_snapshot!(
        said("/kubepods.slice/kubepods-poda.slice/crio-conmon-c0ffee.scope"),
        @r#"Container Guaranteed a ? ? systemd prefix="""#
    );
    for none in [
        "",
        "/",
        "/docker/2e088fe462e25e60be1dafafe2c05c47bda1a97978648d10ad2b7484fc0b8f50",
        "/system.slice/pod-manager.service",
        "/kubepods/something",
        "/kubepods.slice/other.service",
        "/kubepodsx",
        "/kubepods/pod1234:",
        "/kubepods.slice/kubepods-poda-b.slice",
        "/kubepods.slice/kubepods-burstable.slice/kubepods",
        "/my group,task=evil,pid=1",
    ] {
        assert_eq!(said(none), "-", "{none}");
    }
}

#[test]
fn containers_outside_of_pods() {
    let of = |component: &str| decode_container(component).map(|found| (found.runtime, found.container_id));
    assert_eq!(of(ID), Some((None, ID.to_owned())));
    assert_eq!(of("docker-c0ffee.scope"), Some((Some(Runtime::Docker), "c0ffee".to_owned())));
    assert_eq!(of("libpod-c0ffee.scope"), Some((Some(Runtime::Podman), "c0ffee".to_owned())));
    assert_eq!(of("libpod-conmon-c0ffee.scope"), None);
    assert_eq!(of("user.slice"), None);
}

proptest::proptest! {
    #[test]
    fn no_path_panics(path in "(/|kubepods|burstable|besteffort|pod|-|_|\\.slice|\\.scope|:cri-containerd:|crio-|c0ffee|\\PC){0,12}") {
        let _ = decode(&path);
    }

    /// Whatever stands before, the same Pod and container are read.
    #[test]
    fn prefixes_do_not_matter(
        root in "(/[a-z][a-z0-9.]{0,8}){0,3}", class in 0..3_usize, uid in "[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}",
        id in "[0-9a-f]{64}", systemd: bool,
    ) {
        let class = [QosClass::Guaranteed, QosClass::Burstable, QosClass::BestEffort][class];
        let names = CgroupNames::new(if systemd { Driver::Systemd } else { Driver::Cgroupfs });
        let path = format!("{root}{}", names.container(class, &uid, Runtime::Containerd, &id));
        let identity = decode(&path).unwrap();
        proptest::prop_assert_eq!(identity.prefix, root);
        proptest::prop_assert_eq!(identity.qos, Some(class));
        proptest::prop_assert_eq!(identity.pod_uid, Some(uid));
        proptest::prop_assert_eq!(identity.container_id, Some(id));
    }
}

#[test]
fn the_embedded_runtime_s_containers_are_read_as_such() {
    for driver in [Driver::Cgroupfs, Driver::Systemd] {
        let names = CgroupNames::new(driver);
        let path = container_in(&names.pod(QosClass::Burstable, "39ea0cc2-d15e"), "f6b09caae6cf");
        let identity = decode(&path).unwrap();
        assert_eq!((identity.level, identity.driver), (Level::Container, driver), "{path}");
        assert_eq!(identity.container_id.as_deref(), Some("f6b09caae6cf"));
        assert_eq!(decode(&format!("{path}/x")).unwrap().level, Level::InsideContainer);
    }
    assert_eq!(container_in("/", "a"), "/a");
    assert_eq!(CgroupNames::new(Driver::Systemd).below("/a-b/c").root(), "/a_b.slice/a_b-c.slice");
    assert_eq!(CgroupNames::new(Driver::Systemd).root(), "/");
}
