#!/bin/busybox sh
# The guest's first process, before and after it changes to the disk. What it reports goes to the results' port, what
# goes wrong to the console.

/bin/busybox mount -t proc none /proc 2>/dev/null
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/modules

fail() {
    echo "guest: $*" >/dev/console
    busybox reboot -f
}

report() {
    echo "$*" >"$port"
}

load() {
    for module in $1; do
        busybox insmod "/modules/$module.ko" || fail "module $module cannot be loaded"
    done
}

change_to_the_disk() {
    busybox mkdir -p /sys /dev /disk /scratch /new
    busybox mount -t sysfs none /sys
    busybox mount -t devtmpfs none /dev
    . /scenario
    load "$MODULES"
    busybox mount -t ext4 -o ro,noatime "/dev/$DISK" /disk || fail "no disk"
    busybox mount -t ext4 -o noatime "/dev/$SCRATCH" /scratch || fail "no scratch disk"
    busybox mkdir -p /scratch/upper /scratch/work /scratch/tmp
    busybox chmod 1777 /scratch/tmp
    busybox mount -t overlay -o lowerdir=/disk,upperdir=/scratch/upper,workdir=/scratch/work none /new ||
        fail "no overlay"
    # Overlays cannot lie on an overlay, and tests make some: their folder is the disk itself, and not /tmp, below which
    # the checkout may be.
    busybox mkdir /new/guest-tmp
    busybox mount --bind /scratch/tmp /new/guest-tmp
    # Nor can umoci read one: a file and a folder of its two layers may share an inode number, which it takes for links.
    busybox mkdir /scratch/target
    busybox mount --bind /scratch/target "/new$TARGET_TMP"
    busybox mount -t tmpfs -o mode=755,size=16m none /new/run
    busybox cp /scenario /init /runs /new/run/
    for filesystem in proc sys dev; do
        busybox mount --move "/$filesystem" "/new/$filesystem"
    done
    # It finds /run there, and the service below starts this script again.
    [ "$SYSTEM" = systemd ] && exec busybox switch_root /new /lib/systemd/systemd
    exec busybox switch_root /new /run/init
}

# All that a machine needs is there when systemd starts this.
in_a_service() {
    export MEMLET_TEST_CGROUP_DRIVER=systemd
    report "{\"type\": \"guest\", \"event\": \"ready\", \"uptime\": $(cut -d' ' -f1 /proc/uptime)}"
    run_tests
    sync
    busybox poweroff -f
}

mount_v2() {
    mount -t cgroup2 none /sys/fs/cgroup
}

mount_v1() {
    mount -t tmpfs -o mode=755 none /sys/fs/cgroup
    for controller in "$@"; do
        mkdir "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" none "/sys/fs/cgroup/$controller" ||
            fail "this kernel has no cgroup v1 controller $controller"
    done
}

# A part of the tree, which is all that the tests see: its group was handed these controllers.
delegate() {
    mount_v2
    for controller in "$@"; do
        echo "+$controller" >/sys/fs/cgroup/cgroup.subtree_control || fail "no controller $controller"
    done
    mkdir /sys/fs/cgroup/delegated
    echo $$ >/sys/fs/cgroup/delegated/cgroup.procs
    # The full path, since busybox would take its own applet, which knows no cgroups.
    enter="/usr/bin/unshare --cgroup --mount /run/init in_the_delegated_part"
}

mount_cgroups() {
    case "$CGROUPS" in
    V2) mount_v2 ;;
    Delegated) delegate memory pids cpu ;;
    DelegatedWithoutMemory) delegate pids cpu ;;
    V1) mount_v1 memory pids cpu cpuacct cpuset devices freezer blkio ;;
    Hybrid)
        mount_v1 memory pids cpu cpuacct cpuset devices freezer blkio
        mkdir /sys/fs/cgroup/unified
        mount -t cgroup2 none /sys/fs/cgroup/unified
        ;;
    *) fail "unknown cgroups: $CGROUPS" ;;
    esac
}

start_swap() {
    case "$SWAP" in
    disk) device=$SWAP_DISK ;;
    zram)
        device=zram0
        echo "${SWAP_MIB}M" >/sys/block/zram0/disksize
        ;;
    *) return ;;
    esac
    busybox mkswap "/dev/$device" >/dev/null && busybox swapon "/dev/$device" || fail "no swap"
}

# One line a run: the program's name, its file, and what of it is to run, which may hold blanks.
run_tests() {
    while IFS='|' read -r name file filter; do
        report "{\"type\": \"guest\", \"event\": \"program\", \"name\": \"$name\"}"
        "$file" --format=json ${filter:+"$filter"} >"$port" 2>/dev/console </dev/null
        report "{\"type\": \"guest\", \"event\": \"exit\", \"code\": $?}"
    done </run/runs
    report '{"type": "guest", "event": "done"}'
}

# Not init's own group, which could then hand nothing down: cgroup v2 has processes in leaves only.
in_the_delegated_part() {
    umount /sys/fs/cgroup
    mount -t cgroup2 none /sys/fs/cgroup
    mkdir /sys/fs/cgroup/tests
    for pid in $(cat /sys/fs/cgroup/cgroup.procs); do
        echo "$pid" >/sys/fs/cgroup/tests/cgroup.procs
    done
    run_tests
}

be_the_machine() {
    mkdir -p /dev/pts /dev/shm
    mount -t devpts none /dev/pts
    mount -t tmpfs none /dev/shm
    ln -sf /proc/self/fd /dev/fd
    busybox ifconfig lo up
    hostname guest
    mount_cgroups
    start_swap
    report "{\"type\": \"guest\", \"event\": \"ready\", \"uptime\": $(cut -d' ' -f1 /proc/uptime)}"
    ${enter:-run_tests}
    sync
    busybox poweroff -f
}

if [ ! -e /run/scenario ]; then
    change_to_the_disk
fi
. /run/scenario
export REQUIRE_KERNEL=1 MEMLET_TEST_MACHINE=guest MEMLET_TEST_PATIENCE="$PATIENCE" TMPDIR=/guest-tmp HOME=/root
export PATH="$TOOLS:$PATH"
port=/dev/$(busybox basename "$(busybox dirname "$(busybox grep -l memlet.results /sys/class/virtio-ports/*/name)")")
[ -e "$port" ] || fail "no port for results"
"${1:-be_the_machine}"
