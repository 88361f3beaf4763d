#!/bin/busybox sh
# Process 1 of a guest: finds the disks, makes the root filesystem and the cgroups of the scenario.
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
for round in 1 2 3 4 5 6; do
    for module in /modules/*.ko; do insmod "$module" 2>/dev/null && rm "$module"; done
done
mount -t ext4 -o ro /dev/vda /programs || poweroff -f
mount -t ext4 /dev/vdb /scratch || poweroff -f
mkdir -p /scratch/upper /scratch/work /scratch/tmp /scratch/lib
mount -t overlay -o lowerdir=/programs,upperdir=/scratch/upper,workdir=/scratch/work overlay /root || poweroff -f
mkdir -p /root/dev /root/proc /root/sys /root/run /root/tmp /root/var/lib
mount --move /dev /root/dev
mkdir -p /root/dev/pts /root/dev/shm
mount -t devpts -o ptmxmode=666 devpts /root/dev/pts
mount -t tmpfs shm /root/dev/shm
ln -sf /proc/self/fd /root/dev/fd
mount --move /proc /root/proc
mount --move /sys /root/sys
mount -t tmpfs run /root/run
chmod 1777 /scratch/tmp
# Plain folders of the disk: an overlay cannot lie on an overlay.
mount --bind /scratch/tmp /root/tmp
mount --bind /scratch/lib /root/var/lib
ip link set lo up
cp /plan /root/run/plan
exec switch_root /root /sbin/guest
