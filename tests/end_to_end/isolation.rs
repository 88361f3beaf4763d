//! What a container must not get from the machine or from whoever started `memlet run`.

use std::process::{Command, Stdio};

use libtest_mimic::Failed;
use memlet_cgroup::Version;

use crate::house::{House, MEMLET, finish};
use crate::images::{SHELL, import_busybox};
use crate::{Test, test_with};

/// Signals 32 and 33: glibc's own, which its `posix_spawn` ignores in whatever it starts.
const OF_THE_LIBRARY: u64 = 1 << 31 | 1 << 32;

const NEEDS: &[&str] = &["busybox", "umoci", "skopeo"];

pub(crate) fn tests() -> Vec<Test> {
    vec![
        test_with("isolation: nothing of the caller's is inherited", NEEDS, inheritance),
        test_with("isolation: the host's cgroups are not shown", NEEDS, cgroups),
        // On v2 a program in the kernel would have to judge devices.
        test_with("isolation: a block device that was made cannot be opened", NEEDS, block_device)
            .only_on(Version::V1),
    ]
}

/// A Pod of one shell script, which holds no single quotes.
fn script(script: &str, pod: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: p}}\nspec:\n  restartPolicy: Never\n{pod}  containers:\n  - name: c\n    \
         image: {SHELL}\n    command: [sh, -c, '{script}']\n    resources: {{limits: {{memory: 48Mi}}}}\n"
    )
}

fn with_shell() -> Result<House, Failed> {
    let house = House::new()?;
    import_busybox(&house)?;
    Ok(house)
}

/// A file mask, an open file, ignored and blocked signals: of the shell that starts `memlet run`.
fn inheritance() -> Result<(), Failed> {
    let house = with_shell()?;
    let show = "echo umask $(umask); echo files $(ls /proc/self/fd)";
    // Without a shell, which ignores some signals itself.
    let signals = format!(
        "  - {{name: s, image: '{SHELL}', command: [grep, -E, 'Sig(Ign|Blk)', /proc/self/status]}}\n"
    );
    let pod = house.write("pod.yaml", script(show, "") + &signals)?;
    let folder = house.folder.path().display();
    let start = format!(
        "umask 077; trap '' HUP USR1 TERM; exec 9<{pod}; exec {MEMLET} run --cgroup-root {root} --run-folder {folder}/run \
         --data {folder}/data {pod}",
        pod = pod.display(),
        root = house.root
    );
    let mut command = Command::new("sh");
    command.args(["-c", &start]).env("NO_COLOR", "1").stdin(Stdio::null());
    let ran = finish(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)?;
    // The fourth file is the folder that ls lists.
    ran.exits(0).says(" | umask 0022\n").says(" | files 0 1 2 3\n");
    ran.says(" | SigBlk:\t0000000000000000\n");
    let ignored = ran.stdout.lines().find_map(|line| line.split_once(" | SigIgn:\t")).map(|it| it.1);
    let ignored = u64::from_str_radix(ignored.ok_or("no SigIgn")?, 16)?;
    assert_eq!(ignored & !OF_THE_LIBRARY, 0, "ignored: {ignored:#x}");
    house.nothing_is_left()
}

/// The host's network brings along its sysfs in some runtimes, and with it all cgroups.
fn cgroups() -> Result<(), Failed> {
    let house = with_shell()?;
    let look = "cd /sys/fs/cgroup || exit 3; echo limit $(cat memory/memory.limit_in_bytes memory.max 2>/dev/null); \
                busybox find . -name kubepods -o -name \"memlet-test-*\" -o -name process_api | busybox sed \"s/^/seen /\"; \
                for it in memory/memory.limit_in_bytes memory.max; do \
                [ -e $it ] && echo -1 2>/dev/null > $it && echo written to $it; done; true";
    for pod in ["", "  hostNetwork: true\n"] {
        let ran = house.run(&script(look, pod), &[])?;
        ran.exits(0).says("limit 50331648\n").says_not("seen ").says_not("written");
    }
    house.nothing_is_left()
}

fn block_device() -> Result<(), Failed> {
    let house = with_shell()?;
    let script = script(
        "busybox mknod /disk b 254 0 && echo made; cat /disk 2>&1 | head -c 100; busybox mknod /zero c 1 5; head -c 3 /zero | wc -c",
        "",
    );
    let ran = house.run(&script, &[])?;
    // The second one is allowed to all, so that it is the kind of device that decides.
    ran.exits(0).says("made\n").says("Operation not permitted").says("\n3\n");
    house.nothing_is_left()
}
