#!/bin/sh
# Runs the plan of a scenario and reports over the second serial line. Lines of its own begin with @@.
export PATH=/usr/bin:/sbin HOME=/root TMPDIR=/tmp
exec > /dev/ttyS1 2>&1 < /dev/null

say() { echo "@@ $*"; }
now() { cut -d' ' -f1 /proc/uptime; }

controllers() {
    echo "+memory +pids +cpu" > /sys/fs/cgroup/cgroup.subtree_control
}

cgroup_v2() {
    mount -t cgroup2 none /sys/fs/cgroup
    controllers || say note "not all controllers can be had"
}

cgroup_v1() {
    mount -t tmpfs none /sys/fs/cgroup
    for controller in memory pids cpu devices freezer; do
        mkdir "/sys/fs/cgroup/$controller"
        mount -t cgroup -o "$controller" none "/sys/fs/cgroup/$controller"
    done
}

cgroup_hybrid() {
    cgroup_v1
    mkdir /sys/fs/cgroup/unified
    mount -t cgroup2 none /sys/fs/cgroup/unified
}

# The third disk becomes swap.
swap_on_disk() { mkswap /dev/vdc > /dev/null && swapon /dev/vdc; }

swap_in_memory() { echo "$1" > /sys/block/zram0/disksize && mkswap /dev/zram0 > /dev/null && swapon /dev/zram0; }

# run NAME PROGRAM ARGUMENTS...
run() {
    name=$1
    shift
    say begin "$name"
    began=$(now)
    "$@"
    say end "$name" $? "$began" "$(now)"
}

say booted "$(uname -r)" "$(now)"
. /run/plan
say dmesg
dmesg
say done
sync
poweroff -f
