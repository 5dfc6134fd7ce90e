# shellcheck shell=bash
# One node: its disk, its boot, its death. Used by scripts/cluster, whose $state, $group, $bridge,
# $gateway, $server, $nodes, $number and $control_plane name the cluster.
# shellcheck disable=SC2154

# node-a is 1, node-b is 2: it makes the addresses.
node_index() { echo $(($(printf %d "'${1#node-}") - 96)); }
node_address() { echo "10.89.$number.$((10 + $(node_index "$1")))"; }
pod_subnet() { echo "10.$((100 + number)).$(node_index "$1").0/24"; }
node_link() { echo "ts$number-$1"; }

fill_in() { # TEMPLATE NODE
  sed -e "s|@CGROUP@|$group/$2|" -e "s|@POD_SUBNET@|$(pod_subnet "$2")|" "$here/node/$1"
}

# A copy that costs nothing: contents of images and unpacked layers are never written to, so links do.
# The databases are, so they are copied.
copy_containerd_root() { # TO
  local from=$cache/containerd-root/ database
  cp -a --link "$from" "$1" 2>/dev/null || cp -a --reflink=auto "$from" "$1"
  find "$from" -name '*.db' -printf '%P\n' | while read -r database; do
    cp -a --remove-destination "$from/$database" "$1/$database"
  done
}

# Whether root here may read the resource limits of another user's process, as CRIU does.
reads_limits() { (($(sed -n 's/^CapEff:\s*/16#/p' /proc/self/status) >> 24 & 1)); } # CAP_SYS_RESOURCE

# Where it may not, the criu that comes first on PATH asks /proc: see node/rlimits.c.
make_criu() { # DISK
  reads_limits && return
  mkdir -p "$1/upper/usr/local"/{lib,sbin}
  cp "$cache/criu-rlimits/rlimits.so" "$1/upper/usr/local/lib/criu-rlimits.so"
  install -m 755 /dev/stdin "$1/upper/usr/local/sbin/criu" <<'EOF'
#!/bin/sh
LD_PRELOAD=/usr/local/lib/criu-rlimits.so exec /usr/sbin/criu "$@"
EOF
}

# make_node NODE: its disk, as new.
make_node() {
  local node=$1 disk=$state/$1 etc=$state/$1/upper/etc
  mkdir -p "$disk"/{upper,work,root,kubelet,local-path-provisioner,log} "$etc"/{containerd/conf.d,kubernetes,cni/net.d}
  copy_containerd_root "$disk/containerd"
  fill_in containerd.toml "$node" >"$etc/containerd/config.toml"
  cp "$here/node/transship.toml" "$etc/containerd/conf.d/transship.toml"
  fill_in pods.conflist "$node" >"$etc/cni/net.d/10-pods.conflist"
  fill_in kubelet.yaml "$node" >"$etc/kubernetes/kubelet.yaml"
  cp "$control_plane/pki/ca.crt" "$etc/kubernetes/ca.crt"
  client_kubeconfig "$control_plane/pki" "$server" "$node" "/O=system:nodes/CN=system:node:$node" \
    >"$etc/kubernetes/kubelet.kubeconfig"
  tr -d - </proc/sys/kernel/random/uuid >"$etc/machine-id"
  echo "$node" >"$etc/hostname"
  : >"$etc/resolv.conf" # there is no DNS
  make_criu "$disk"
  local program
  mkdir -p "$disk/upper/usr/local/bin"
  for program in kubernetes/{kubelet,kubectl} containerd/{containerd,containerd-shim-runc-v2,ctr}; do
    ln -s "/opt/programs/$program" "$disk/upper/usr/local/bin/${program##*/}"
  done
}

# boot_node NODE: returns as soon as the node is on its way.
boot_node() {
  local node=$1 disk=$state/$1 other routes=()
  for other in "${nodes[@]}"; do
    [[ $other == "$node" ]] || routes+=("$(pod_subnet "$other")=$(node_address "$other")")
  done
  cgroup_create "$group/$node/system"
  (
    cgroup_enter "$group/$node/system"
    start "$disk/pid" "$disk/log/boot.log" unshare --net "$here/node/connect" \
      $$ "$bridge" "$(node_link "$node")" "$(node_address "$node")" "$gateway" "$service_address" "${routes[*]}" \
      "$here/node/boot" "$node" "$(node_address "$node")" "$disk" \
      "$(readlink -f "$cache/node-root")" "$(readlink -f "$cache/kubernetes")" "$(readlink -f "$cache/containerd")"
  )
}

# The machine's number of the node's PID 1: the one child of the process that made the namespaces.
init_of() { # NODE
  local maker
  maker=$(running "$state/$1/pid") && pgrep --parent "$maker"
}

on_node() { # NODE [COMMAND...]
  local init
  if ! init=$(init_of "$1"); then
    echo "$1 is not running" >&2
    return 1
  fi
  shift
  nsenter --target "$init" --mount --uts --ipc --net --pid -- \
    env PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root "${@:-bash}"
}

# Ready in this boot: right after a restart the API still has the node as it was before.
node_is_ready() { # NODE
  local boot
  boot=$(on_node "$1" cat /run/boot_id 2>/dev/null) &&
    api "/api/v1/nodes/$1" | jq --exit-status --arg boot "$boot" '.status | .nodeInfo.bootID == $boot and
      any(.conditions[]; .type == "Ready" and .status == "True")' >/dev/null 2>&1
}

await_node() { # NODE
  if ! patiently 60 node_is_ready "$1"; then
    echo "$1 did not become ready; from $state/$1/log:" >&2
    tail -n 5 "$state/$1"/log/*.log >&2
    return 1
  fi
  ip route replace "$(pod_subnet "$1")" via "$(node_address "$1")"
}

unplug_node() { ip link delete "$(node_link "$1")" 2>/dev/null || true; } # NODE

# Power off. The network first: the kernel would close the dead node's connections, which a machine
# that loses power does not do.
kill_node() {
  unplug_node "$1"
  stop "$state/$1/pid"
  cgroup_remove "$group/$1"
}

start_node() {
  if init_of "$1" >/dev/null; then
    echo "$1 is running" >&2
    return 1
  fi
  boot_node "$1"
  await_node "$1"
}
