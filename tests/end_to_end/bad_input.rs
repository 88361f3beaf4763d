//! Wrong inputs: each a clear error, exit code 2, nothing left behind.

use libtest_mimic::Failed;
use memlet_cgroup::Version;

use crate::house::{House, finish};
use crate::{Test, test};

const POD: &str = "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  restartPolicy: Never\n  containers:\n  - name: c\n    image: memlet.dev/memory-eater\n    args: [\"1\", \"0\"]\n";

/// A manifest, and what standard error must say about it.
const REFUSED: &[(&str, &str, &[&str])] = &[
    ("not YAML", "a: [1,", &["is not valid YAML"]),
    ("text only", "just words", &["holds no Kubernetes object"]),
    ("wrong kind", "apiVersion: apps/v1\nkind: Deployment\n", &["is a Deployment", "spec.template"]),
    ("empty", "# nothing\n", &["no Pod in"]),
    (
        "unknown field",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: c, image: i, limits: {}}\n",
        &["unknown field \"spec.containers[0].limits\""],
    ),
    (
        "missing name",
        "apiVersion: v1\nkind: Pod\nmetadata: {}\nspec:\n  containers:\n  - {name: c, image: i}\n",
        &["metadata.name: Required value: name or generateName is required"],
    ),
    (
        "bad name",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: Not_OK}\nspec:\n  containers:\n  - {name: c, image: i}\n",
        &["metadata.name: Invalid value: \"Not_OK\"", "RFC 1123"],
    ),
    (
        "a namespace with a blank",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: a b}\nspec:\n  containers:\n  - {name: c, image: i}\n",
        &[
            "pod.yaml: Namespace \"a b\" is invalid: ",
            "metadata.name: Invalid value: \"a b\": a lowercase RFC 1123 label",
        ],
    ),
    (
        "a namespace in capitals",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p, namespace: A}\nspec:\n  containers:\n  - {name: c, image: i}\n",
        &[
            "pod.yaml: Namespace \"A\" is invalid: ",
            "metadata.name: Invalid value: \"A\": a lowercase RFC 1123 label",
        ],
    ),
    (
        "no containers",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers: []\n",
        &["spec.containers: Required value"],
    ),
    (
        "duplicate container names",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - {name: c, image: i}\n  - {name: c, image: i}\n",
        &["spec.containers[1].name: Duplicate value: \"c\""],
    ),
    (
        "volume mounted but not defined",
        "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  containers:\n  - name: c\n    image: i\n    volumeMounts: [{name: v, mountPath: /v}]\n",
        &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
    ),
];

/// Memory limits that are none.
const LIMITS: &[(&str, &str)] = &[
    ("128Mb", "quantities must match the regular expression"),
    ("128 Mi", "quantities must match the regular expression"),
    ("\"-1\"", "must be greater than or equal to 0"),
    ("lots", "quantities must match the regular expression"),
];

pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for (name, manifest, says) in REFUSED {
        tests.push(test(format!("bad input: {name}"), move || refused(manifest, says)));
    }
    for (limit, says) in LIMITS {
        tests.push(test(format!("bad input: a limit of {limit}"), move || {
            refused(&format!("{POD}    resources: {{limits: {{memory: {limit}}}}}\n"), &[says])
        }));
    }
    tests.push(test("bad input: request above limit", || {
        let manifest =
            format!("{POD}    resources: {{limits: {{memory: 64Mi}}, requests: {{memory: 128Mi}}}}\n");
        refused(&manifest, &["must be less than or equal to memory limit of 64Mi"])
    }));
    // A quantity, but more than any node has: it is Pending, as on a cluster.
    tests.push(test("bad input: a limit of 1e400", || no_room_for("limits: {memory: \"1e400\"}")));
    tests.push(test("bad input: no such file", no_such_file));
    tests.push(test("bad input: a size that is none", no_size));
    tests.push(test("bad input: bytes that are no text", no_text));
    tests.push(test("bad input: an image that is not here", no_image));
    tests.push(test("bad input: a request that no node has", || no_room_for("requests: {memory: 1000Gi}")));
    tests.push(test("bad input: a limit too low to start anything", limit_too_low));
    tests.push(test("odd input: 128m of memory is warned of", milli_bytes));
    tests.push(test("bad input: a field that is not supported yet", unsupported));
    tests.push(test("bad input: kubepods that is somebody else's", foreign_kubepods));
    tests.push(test("bad input: systemd's driver where it cannot be had", no_systemd).only_on(Version::V1));
    tests.push(test("bad input: not root", not_root));
    tests.push(test("bad input: what keeps a Pod from beginning is told", stuck_before_a_container));
    tests.push(test("bad input: a Pod for another node", elsewhere));
    tests.push(test("bad input: a node without room for Pods", tiny_node));
    tests.push(test("bad input: a manifest without end", endless));
    tests.push(test("bad input: a command that a built-in image has not", builtin_has_one_program));
    tests.push(test("odd input: relative folders", relative_folders));
    tests
}

fn refused(manifest: &str, says: &[&str]) -> Result<(), Failed> {
    let house = House::new()?;
    let ran = house.run(manifest, &[])?;
    ran.exits(2).complains("error: ");
    assert!(ran.stdout.is_empty(), "a refusal says nothing on stdout: {}", ran.stdout);
    assert!(ran.stderr.lines().count() <= 4, "a refusal is short:\n{}", ran.stderr);
    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
    assert!(!ran.stderr.contains("Status {"), "a refusal is a sentence: {}", ran.stderr);
    for text in says {
        ran.complains(text);
    }
    house.nothing_is_left()
}

fn no_such_file() -> Result<(), Failed> {
    let house = House::new()?;
    finish(house.command(&["/nowhere/pod.yaml"]).spawn()?)?
        .exits(2)
        .complains("cannot read /nowhere/pod.yaml");
    house.nothing_is_left()
}

fn no_size() -> Result<(), Failed> {
    let house = House::new()?;
    house.run(POD, &["--node-memory", "128Mb"])?.exits(2).complains("128M");
    house.nothing_is_left()
}

fn no_text() -> Result<(), Failed> {
    let house = House::new()?;
    house.run_stdin(b"\xff\xfe")?.exits(2).complains("error: ");
    house.nothing_is_left()
}

fn no_image() -> Result<(), Failed> {
    let house = House::new()?;
    let manifest = POD.replace("memlet.dev/memory-eater", "nowhere.example/app:1");
    house.run(&manifest, &[])?.exits(2).complains("memlet image import FILE --tag nowhere.example/app:1");
    house.nothing_is_left()
}

fn no_room_for(resources: &str) -> Result<(), Failed> {
    let house = House::new()?;
    let manifest = format!("{POD}    resources: {{{resources}}}\n");
    house.run(&manifest, &[])?.exits(2).complains("0/1 nodes are available: 1 Insufficient memory.");
    house.nothing_is_left()
}

fn limit_too_low() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = house.run(&format!("{POD}    resources: {{limits: {{memory: 64Ki}}}}\n"), &[])?;
    ran.says("memory limit too low?");
    assert!(ran.code.is_some_and(|code| code != 0), "{ran:?}");
    house.nothing_is_left()
}

fn milli_bytes() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = house.run(&format!("{POD}    resources: {{requests: {{memory: 128m}}}}\n"), &[])?;
    ran.exits(0).complains("fractional byte value \"128m\" is invalid, must be an integer");
    house.nothing_is_left()
}

fn unsupported() -> Result<(), Failed> {
    let house = House::new()?;
    let manifest = format!("{POD}    livenessProbe: {{exec: {{command: [\"true\"]}}}}\n");
    house.run(&manifest, &[])?.exits(2).complains("livenessProbe");
    house.nothing_is_left()
}

fn foreign_kubepods() -> Result<(), Failed> {
    use memlet_cgroup::{Cgroup, Hierarchy};

    let house = House::new()?;
    let hierarchy = Hierarchy::detect()?;
    let theirs = Cgroup::create(&hierarchy, &house.root.join("kubepods")?)?;
    house.run(POD, &[])?.exits(2).complains("--cgroup-root");
    assert!(theirs.is_alive(), "what is not ours must stay");
    hierarchy.remove_everywhere(&house.root)?;
    house.nothing_is_left()
}

/// systemd hands out the memory controller on cgroup v2 only.
fn no_systemd() -> Result<(), Failed> {
    let house = House::new()?;
    let ran = house.run(POD, &["--cgroup-driver", "systemd"])?;
    ran.exits(2).complains("needs cgroup v2").complains("cgroupfs");
    assert!(ran.stderr.lines().count() <= 4, "{}", ran.stderr);
    house.nothing_is_left()
}

fn not_root() -> Result<(), Failed> {
    use std::os::unix::process::CommandExt;

    let house = House::new()?;
    let file = house.write("pod.yaml", POD)?;
    std::fs::set_permissions(house.folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    // The program itself may lie where only root can go.
    let program = house.folder.path().join("memlet");
    std::fs::copy(crate::house::MEMLET, &program)?;
    let mut command = std::process::Command::new(program);
    command.uid(65534).gid(65534).arg("run").arg(file);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    finish(command.spawn()?)?.exits(2).complains("without root").complains("sudo");
    house.nothing_is_left()
}

/// What only an Event tells: a volume or a sandbox that cannot be made.
fn stuck_before_a_container() -> Result<(), Failed> {
    let house = House::new()?;
    let mount = "    volumeMounts: [{name: v, mountPath: /v}]\n  volumes: [{name: v, hostPath: {path: /nonexist, type: Directory}}]\n";
    house.run(&format!("{POD}{mount}"), &[])?.exits(2).complains("FailedMount").complains("/nonexist");
    let ran = house.run(&format!("{POD}    resources: {{limits: {{memory: 128m}}}}\n"), &[])?;
    ran.exits(2).complains("fractional byte value").complains("memory limit too low?");
    house.nothing_is_left()
}

fn elsewhere() -> Result<(), Failed> {
    let house = House::new()?;
    let pod = POD.replace("spec:\n", "spec:\n  nodeName: elsewhere\n");
    house.run(&pod, &[])?.exits(2).complains("this node is \"memlet\"").complains("--node-name elsewhere");
    house.run(&pod, &["--node-name", "elsewhere"])?.exits(0);
    house.nothing_is_left()
}

fn tiny_node() -> Result<(), Failed> {
    let house = House::new()?;
    house.run(POD, &["--node-memory", "64Mi"])?.exits(2).complains("--node-memory 64Mi").complains("100Mi");
    house.nothing_is_left()
}

fn endless() -> Result<(), Failed> {
    let house = House::new()?;
    finish(house.command(&["/dev/zero"]).spawn()?)?.exits(2).complains("/dev/zero is larger than 8Mi");
    house.nothing_is_left()
}

fn relative_folders() -> Result<(), Failed> {
    let house = House::new()?;
    let file = house.write("pod.yaml", POD)?;
    let mut command = std::process::Command::new(crate::house::MEMLET);
    command.current_dir(house.folder.path()).args(["run", "--cgroup-root", house.root.as_str()]);
    command.args(["--run-folder", "run", "--data", "data"]).arg(file);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    finish(command.spawn()?)?.exits(0).says("c: Completed");
    house.nothing_is_left()
}

fn builtin_has_one_program() -> Result<(), Failed> {
    let house = House::new()?;
    house.run(&format!("{POD}    command: [sh]\n"), &[])?.exits(2).complains("holds no program \"sh\"");
    house.nothing_is_left()
}
