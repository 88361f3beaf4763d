//! What a manifest can ask of a container, seen from inside it.

use std::fs;
use std::time::Duration;

use libtest_mimic::Failed;
use memlet_cgroup::Version;

use crate::house::{House, patience, version};
use crate::images::{SHELL, import_busybox};
use crate::{Test, test, test_with};

const NEEDS: &[&str] = &["busybox", "umoci", "skopeo"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test("manifest: several containers are told apart by prefix", prefixes),
        test("manifest: init containers run in order, before the others", init_order),
        test_with("manifest: command, args, env, working folder", NEEDS, command_and_environment),
        test_with("manifest: users, groups and capabilities", NEEDS, users),
        test_with("manifest: a read-only root", NEEDS, read_only_root),
        test_with("manifest: volumes are shared between containers", NEEDS, volumes),
        test_with("manifest: a host path, read-only and not", NEEDS, host_path),
        test_with("manifest: namespaces are the Pod's own", NEEDS, namespaces),
        test_with("manifest: pids and network shared where asked", NEEDS, shared),
        test_with("manifest: graceful termination", NEEDS, grace),
    ]
}

/// A Pod of one busybox container that runs a script.
fn script(script: &str, container: &str, pod: &str) -> String {
    let script: String = script.lines().map(|line| format!("        {}\n", line.trim())).collect();
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: Never\n{pod}  containers:\n  - name: c\n    \
         image: {SHELL}\n    command: [sh, -ec]\n    args:\n    - |\n{script}{container}"
    )
}

fn with_shell() -> Result<House, Failed> {
    let house = House::new()?;
    import_busybox(&house)?;
    Ok(house)
}

fn prefixes() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  containers:\n  \
               - {name: one, image: memlet.dev/memory-eater, args: ['8', '0']}\n  \
               - {name: another, image: memlet.dev/memory-eater, args: ['8', '0']}\n";
    let ran = house.run(pod, &[])?;
    ran.exits(0).says("one     |   1000    7.8 MB").says("another |   1000    7.8 MB");
    house.nothing_is_left()
}

fn init_order() -> Result<(), Failed> {
    let house = House::new()?;
    let eater =
        |name: &str| format!("  - {{name: {name}, image: memlet.dev/memory-eater, args: ['8', '0.05']}}\n");
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: Never\n  initContainers:\n{}{}  containers:\n{}",
        eater("first"),
        eater("second"),
        eater("main")
    );
    let ran = house.run(&pod, &[])?;
    ran.exits(0);
    let order =
        ["first started", "first ended", "second started", "second ended", "main started", "main ended"];
    let places: Vec<_> = order.iter().map(|text| ran.stdout.find(&format!("-- {text}"))).collect();
    assert!(places.iter().all(Option::is_some) && places.is_sorted(), "{places:?} in\n{}", ran.stdout);
    house.nothing_is_left()
}

fn command_and_environment() -> Result<(), Failed> {
    let house = with_shell()?;
    let pod = script(
        "echo pwd $(pwd)
         echo greeting $GREETING
         echo pod $POD limit $LIMIT
         echo expanded $TWICE
         echo host $(hostname)
         exit 7",
        "    workingDir: /tmp\n    env:\n    - {name: GREETING, value: hello}\n    - {name: TWICE, value: $(GREETING)-$(GREETING)}\n    \
         - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}\n    \
         - {name: LIMIT, valueFrom: {resourceFieldRef: {resource: limits.memory}}}\n    resources: {limits: {memory: 32Mi}}\n",
        "",
    );
    let ran = house.run(&pod, &[])?;
    ran.exits(7).says("pwd /tmp\n").says("greeting hello\n").says("pod p limit 33554432\n");
    ran.says("expanded hello-hello\n").says("host p\n");
    house.nothing_is_left()
}

fn users() -> Result<(), Failed> {
    let house = with_shell()?;
    let show = "echo id $(id -u):$(id -g) groups $(id -G)
                echo caps $(grep CapEff /proc/self/status | cut -f2) nnp $(grep NoNewPrivs /proc/self/status | cut -f2)";
    let ran = house.run(&script(show, "", ""), &[])?;
    // Where no device cgroup judges what was made, as on v2, nothing may be made (MKNOD).
    let capabilities = match version() {
        Some(Version::V2) => "caps 00000000a00425fb nnp 0",
        _ => "caps 00000000a80425fb nnp 0",
    };
    ran.exits(0).says("id 0:0").says(capabilities);
    let context = "    securityContext: {runAsUser: 1000, runAsGroup: 2000, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}\n";
    let ran = house.run(&script(show, context, ""), &[])?;
    ran.exits(0).says("id 1000:2000").says("caps 0000000000000000 nnp 1");
    let context = "    securityContext: {capabilities: {drop: [ALL], add: [NET_ADMIN]}}\n";
    house.run(&script(show, context, ""), &[])?.exits(0).says("caps 0000000000001000");
    house.nothing_is_left()
}

fn read_only_root() -> Result<(), Failed> {
    let house = with_shell()?;
    let write = "touch /x && echo written || echo refused";
    house.run(&script(write, "", ""), &[])?.exits(0).says("written\n");
    let context = "    securityContext: {readOnlyRootFilesystem: true}\n";
    house.run(&script(write, context, ""), &[])?.exits(0).says("refused\n");
    house.nothing_is_left()
}

fn volumes() -> Result<(), Failed> {
    let house = with_shell()?;
    let pod = format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: Never\n  \
         volumes: [{{name: disk, emptyDir: {{}}}}, {{name: memory, emptyDir: {{medium: Memory, sizeLimit: 1Mi}}}}]\n  initContainers:\n  \
         - name: writer\n    image: {SHELL}\n    command: [sh, -ec, 'echo kept > /d/file; grep \" /m \" /proc/mounts; dd if=/dev/zero of=/m/big bs=64k count=32 2>&1 || echo full']\n    \
         volumeMounts: [{{name: disk, mountPath: /d}}, {{name: memory, mountPath: /m}}]\n  containers:\n  \
         - name: reader\n    image: {SHELL}\n    command: [sh, -ec, 'cat /d/file; touch /d/x 2>/dev/null || echo read-only']\n    \
         volumeMounts: [{{name: disk, mountPath: /d, readOnly: true}}]\n"
    );
    let ran = house.run(&pod, &[])?;
    ran.exits(0).says("tmpfs /m tmpfs").says("full").says("kept").says("read-only");
    house.nothing_is_left()
}

fn host_path() -> Result<(), Failed> {
    let house = with_shell()?;
    let shared = house.folder.path().join("shared");
    fs::create_dir(&shared)?;
    let volume =
        format!("  volumes: [{{name: h, hostPath: {{path: {}, type: Directory}}}}]\n", shared.display());
    let mount = "    volumeMounts: [{name: h, mountPath: /h}]\n";
    house.run(&script("echo from inside > /h/file", mount, &volume), &[])?.exits(0);
    assert_eq!(fs::read_to_string(shared.join("file"))?, "from inside\n");
    house.nothing_is_left()?;
    assert!(shared.join("file").exists(), "a host path is never removed");
    Ok(())
}

fn namespaces() -> Result<(), Failed> {
    let house = with_shell()?;
    let ran = house.run(
        &script(
            "echo pid $$$$
             echo links $(ls /sys/class/net)
             ping -c1 -W1 127.0.0.1 > /dev/null && echo loopback up
             echo processes $(ls -d /proc/[0-9]* | wc -l)
             true",
            "",
            "",
        ),
        &[],
    )?;
    ran.exits(0).says("pid 1\n").says("links lo\n").says("loopback up\n");
    house.nothing_is_left()
}

fn shared() -> Result<(), Failed> {
    let house = with_shell()?;
    let pod = script("cat /proc/1/comm; echo mine $$$$", "", "  shareProcessNamespace: true\n");
    let ran = house.run(&pod, &[])?;
    ran.exits(0).says("pause\n").says_not("mine 1\n");
    let host = fs::read_to_string("/proc/sys/kernel/hostname")?;
    let pod = script("echo host $(hostname); ls /sys/class/net | wc -l", "", "  hostNetwork: true\n");
    house.run(&pod, &[])?.exits(0).says(&format!("host {host}"));
    let pod = script("cat /proc/1/comm", "", "  hostPID: true\n");
    let first = fs::read_to_string("/proc/1/comm")?;
    house.run(&pod, &[])?.exits(0).says(&first);
    house.nothing_is_left()
}

/// Ctrl-C gives a program that listens the time it needs, and kills one that does not.
fn grace() -> Result<(), Failed> {
    let house = with_shell()?;
    let polite = script(
        "trap 'echo cleaning up; exit 0' TERM
         echo ready
         while :; do sleep 0.05; done",
        "",
        "  terminationGracePeriodSeconds: 20\n",
    );
    let (ran, took) = crate::endings::interrupt_when(&house, &polite, "ready")?;
    ran.exits(130).says("cleaning up");
    assert!(
        took < patience(Duration::from_secs(5)),
        "nobody waits out the grace of a program that has ended: {took:?}"
    );
    let deaf = script(
        "trap '' TERM
         echo ready
         while :; do sleep 0.05; done",
        "",
        "  terminationGracePeriodSeconds: 1\n",
    );
    let (ran, took) = crate::endings::interrupt_when(&house, &deaf, "ready")?;
    ran.exits(130);
    let expected = Duration::from_secs(1)..patience(Duration::from_secs(5));
    assert!(expected.contains(&took), "a grace of 1 s took {took:?}");
    house.nothing_is_left()
}
