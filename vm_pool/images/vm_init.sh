#!/bin/busybox sh
# First program of a virtual machine: loads drivers, mounts the disk, lays the guest server over it and hands over.
# It runs in the initramfs. The server comes in /guest, which the host appends, so that it is the host's own version.
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sys /sys
$bb mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
for module in $($bb cat /modules.order); do
    $bb insmod "/modules/$module" || $bb echo "agent-s3: $module cannot be loaded"
done
case " $($bb cat /proc/cmdline) " in
*" agent-s3.probe "*)
    $bb echo "agent-s3: this guest runs"
    $bb poweroff -f
    ;;
esac
tries=0
until [ -b /dev/vda ] || [ $tries -ge 500 ]; do
    tries=$((tries + 1))
    $bb usleep 20000
done
$bb mount -t ext4 -o rw,noatime /dev/vda /root || { $bb echo "agent-s3: the disk cannot be mounted"; $bb poweroff -f; }
for place in dev proc sys; do $bb mount -o move /$place /root/$place; done
$bb mkdir -p /root/dev/pts /root/dev/shm
$bb mount -t devpts -o gid=5,mode=620,ptmxmode=666 devpts /root/dev/pts
$bb mount -t tmpfs -o mode=1777,nosuid,nodev tmpfs /root/dev/shm
$bb mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /root/run
$bb mount -t tmpfs -o mode=755,nosuid,nodev tmpfs /root/opt/agent-s3
$bb cp -r /guest /root/opt/agent-s3/guest
case " $($bb cat /root/proc/cmdline) " in
*" memmap="*)
    # Memory that the host sees too, with room for the picture on the screen.
    tries=0
    until [ -b /root/dev/pmem0 ] || [ $tries -ge 100 ]; do
        tries=$((tries + 1))
        $bb usleep 20000
    done
    $bb mkdir -p /root/run/agent-s3/frames
    $bb mount -t ext4 -o dax,noatime,nosuid,nodev,noexec /root/dev/pmem0 /root/run/agent-s3/frames ||
        $bb echo "agent-s3: the screen is not shared with the host"
    ;;
esac
$bb mkdir -p /root/run/user/1000
$bb chown 1000:1000 /root/run/user/1000
$bb chmod 700 /root/run/user/1000
if [ ! -d /root/home/user ]; then
    $bb cp -a /root/etc/skel /root/home/user
    $bb chown -R 1000:1000 /root/home/user
fi
$bb ifconfig lo 127.0.0.1 up
export PATH=/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin LANG=C.UTF-8 HOME=/home/user USER=user
exec $bb switch_root /root /usr/bin/python3 -I /opt/agent-s3/guest/vm_init.py
