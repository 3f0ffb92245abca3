#!/usr/bin/env bash
# The outermost process of an emulated cluster, in network and process namespaces of its own.
#   switch.sh DIR
# Its network holds the bridge that joins the hosts. It prints its process id, as seen from outside, and then waits for
# the end of its input, which only the tests hold open: however they end, everything of the cluster ends, and DIR goes.
set -euo pipefail
read -r pid _ < /proc/self/stat # the outer /proc is still mounted here
ip link add br0 type bridge
ip link set br0 up
echo "$pid"
exec > /dev/null
read -r _ || true
kill -KILL -1 || true # all but this process, those of the hosts too
rm -rf --one-file-system "$1"
