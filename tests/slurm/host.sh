#!/usr/bin/env bash
# The first process of an emulated host, in network, name, mount and process namespaces of its own.
#   host.sh NAME DIR
# A host has its own name, /proc, shared memory, table of hosts and boot id; its files are those of this machine. It
# prints its process id, as seen from outside, and then reaps what the host's processes leave until it is killed: with
# it, the kernel kills all of them.
set -euo pipefail
read -r pid _ < /proc/self/stat # of the outer /proc, before there is another
hostname "$1"
ip link set lo up
mount -t proc proc /proc
mount -t tmpfs tmpfs /dev/shm
mount --bind "$2/hosts" /etc/hosts
cat /proc/sys/kernel/random/uuid > "$2/boot_id.$1"
mount --bind "$2/boot_id.$1" /proc/sys/kernel/random/boot_id
echo "$pid"
exec > /dev/null
sleep infinity &
wait
