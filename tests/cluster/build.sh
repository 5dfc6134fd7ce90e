# shellcheck shell=bash
# What the cluster is made of: the Go programs, the root file system of a node, the test images, and a
# containerd directory in which those images are imported already.
# shellcheck source=tests/cluster/cache.sh
source "$(dirname "${BASH_SOURCE[0]}")/cache.sh"

repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
programs=$repository/tests/cluster/programs

readonly kubernetes_version=v1.36.3 etcd_version=v3.7.3 containerd_version=v2.4.2
readonly helm_version=v4.2.4 local_path_version=v0.0.30

declare -A linker_flags packages_of
component_version=k8s.io/component-base/version
linker_flags[kubernetes]="-X $component_version.gitVersion=$kubernetes_version
  -X $component_version.gitMajor=1 -X $component_version.gitMinor=36"
packages_of[kubernetes]=.
linker_flags[etcd]="-X go.etcd.io/etcd/api/v3/version.GitSHA=$etcd_version"
packages_of[etcd]=go.etcd.io/etcd/server/v3
containerd=github.com/containerd/containerd/v2
linker_flags[containerd]="-X $containerd/version.Version=$containerd_version"
packages_of[containerd]="$containerd/cmd/containerd $containerd/cmd/containerd-shim-runc-v2 $containerd/cmd/ctr"
linker_flags[tools]="-X main.VERSION=$local_path_version
  -X helm.sh/helm/v4/internal/version.version=$helm_version"
packages_of[tools]="helm.sh/helm/v4/cmd/helm github.com/rancher/local-path-provisioner"

build_go_program() { # MODULE DIRECTORY
  local go
  go=$("$repository/scripts/setup" --go)
  cd "$programs/$1" || return
  # niced, because it takes all processors for minutes; readonly, so that go.sum decides what is built.
  # shellcheck disable=SC2086
  CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-mod=readonly -buildvcs=false' nice -n 10 \
    "$go" build -trimpath -ldflags "-s -w ${linker_flags[$1]}" -o "$2/" ${packages_of[$1]}
  case $1 in
    # A main package of a module's major version is named after that version.
    etcd) [[ -x $2/etcd ]] || mv "$2"/{server,etcd} ;;
    kubernetes)
      local component
      for component in kube-apiserver kube-controller-manager kube-scheduler kubelet kubectl; do
        ln -s kubernetes "$2/$component"
      done
      ;;
  esac
}

go_program() { # MODULE
  local sources=("$programs/$1"/go.{mod,sum})
  [[ ! -f $programs/$1/main.go ]] || sources+=("$programs/$1/main.go")
  cached "$1" "$(key "${sources[@]}" "${linker_flags[$1]}" "${packages_of[$1]}")" build_go_program "$1"
}

# The programs by name, as one directory for PATH.
link_programs() {
  local module program
  mkdir -p "$cache/bin"
  for module in "${!packages_of[@]}"; do
    for program in "$cache/$module"/*; do
      ln -sfnT "../$module/${program##*/}" "$cache/bin/${program##*/}"
    done
  done
}

# The mirror this machine itself installs from, so that the configuration of apt stays the only place
# that knows one. (mmdebstrap takes apt's proxy settings over by itself.)
debian_mirror() {
  local release
  release=$(sed -n 's/^VERSION_CODENAME=//p' /etc/os-release)
  # shellcheck disable=SC2016  # apt expands these
  apt-get indextargets --no-release-info --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' |
    awk -v release="$release" '$1 == release { print $2; exit }'
}

# Debian unstable, for CRIU: the one of Debian 13 cannot dump a socket on Linux 6.16 and newer. A mirror's
# copy of unstable may be older than its Release file allows.
node_suite=sid
node_packages=(
  acl attr busybox-static containernetworking-plugins criu e2fsprogs iproute2 iptables jq procps runc
  rsync strace util-linux
)

# shellcheck disable=SC2016  # mmdebstrap's shell expands the hooks' $1
build_node_root() { # DIRECTORY
  mmdebstrap --mode=root --variant=minbase --format=directory \
    --aptopt='Acquire::Languages "none"' --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/{doc,man,info,locale}/*' \
    --include="$(IFS=,; echo "${node_packages[*]}")" \
    --customize-hook='rm -rf "$1"/var/lib/apt/lists/* "$1"/var/cache/apt/* "$1"/var/log/*' \
    --customize-hook='rm -f "$1"/etc/machine-id "$1"/etc/hostname "$1"/etc/resolv.conf' \
    "$node_suite" "$1" "$(debian_mirror)"
  chmod 755 "$1"
}

node_root() { cached node-root "$(key "$(declare -f build_node_root)" "$node_suite" "${node_packages[@]}")" build_node_root; }

# See node/rlimits.c.
build_criu_rlimits() { # DIRECTORY
  gcc -shared -fPIC -O1 -Wall -Wextra -Werror -o "$1/rlimits.so" "$repository/tests/cluster/node/rlimits.c"
}

criu_rlimits() { cached criu-rlimits "$(key "$repository/tests/cluster/node/rlimits.c")" build_criu_rlimits; }

test_images() {
  local sources
  mapfile -t sources < <(find "$repository/tests/images" "$repository/scripts/lib/oci.py" -type f -not -path '*/programs/*' | sort)
  cached images "$(key "${sources[@]}")" "$repository/tests/images/build" "$(debian_mirror)"
}

# Not on the nodes from the start: few tests need it, and it is larger than all the others.
programs_image() {
  local sources go
  go=$("$repository/scripts/setup" --go)
  mapfile -t sources < <(find "$repository"/tests/images/{programs,skeleton.sh} "$repository/scripts/lib/oci.py" -type f | sort)
  cached programs-image "$(key "${sources[@]}" "$("$go" env GOVERSION)")" \
    "$repository/tests/images/programs/build" "$(debian_mirror)" "$go"
}

# Importing and unpacking an image takes seconds, on each node, at each start. So a containerd does it
# once; a node starts with a copy of the directory that this one leaves.
build_containerd_root() { # DIRECTORY
  local run
  run=$(mktemp -d)
  cat >"$run/config.toml" <<EOF
version = 3
root = '$1'
state = '$run/state'
disabled_plugins = ['io.containerd.grpc.v1.cri', 'io.containerd.cri.v1.images', 'io.containerd.cri.v1.runtime']
[grpc]
  address = '$run/containerd.sock'
[ttrpc]
  address = '$run/containerd.sock.ttrpc'
EOF
  # Unpacking mounts; in a mount namespace of its own nothing of that can be left behind.
  unshare --mount --propagation private bash -euo pipefail -s "$cache" "$run" <<'EOF'
    made=$1 run=$2
    "$made/bin/containerd" --config "$run/config.toml" &
    trap 'kill %1 && wait' EXIT
    ctr=("$made/bin/ctr" --address "$run/containerd.sock" --namespace k8s.io)
    for _ in {1..100}; do "${ctr[@]}" version >/dev/null 2>&1 && break; sleep 0.1; done
    for image in "$made"/images/*.tar; do "${ctr[@]}" images import --snapshotter overlayfs "$image"; done
EOF
  rm -rf "$run"
}

containerd_root() {
  cached containerd-root \
    "$(key "$(readlink "$cache/containerd")" "$(readlink "$cache/images")" "$(declare -f build_containerd_root)")" \
    build_containerd_root
}

build_everything() {
  lock_cache
  local module
  for module in kubernetes etcd containerd tools; do go_program "$module"; done
  link_programs
  node_root
  criu_rlimits
  test_images
  programs_image
  containerd_root
  unlock_cache
}
