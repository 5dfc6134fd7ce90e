# shellcheck shell=bash
# Control groups, the same for cgroup v1 (a tree per controller), v2 (one tree) and the mixture of both.
# Everything a cluster runs is below one group: that is how `down` finds every process again, whatever
# became of the files that remember them.

# The mount point of every tree.
cgroup_trees() {
  awk '$(NF-2) ~ /^cgroup2?$/ { print $5 }' <(sed 's/ - / /' /proc/self/mountinfo) | sort -u
}

# cgroup_create PATH: with its parents, ready to hold both processes and pods.
cgroup_create() {
  local tree path part file
  for tree in $(cgroup_trees); do
    path=$tree
    for part in ${1//\// }; do
      # v2: a child has only the controllers that its parent hands down.
      if [[ -f $path/cgroup.subtree_control ]]; then
        for file in $(<"$path/cgroup.controllers"); do
          echo "+$file" >"$path/cgroup.subtree_control" || true
        done 2>/dev/null
      fi
      mkdir -p "$path/$part" 2>/dev/null || continue 2
      # v1: a new cpuset is empty, and takes no process until it is not.
      for file in cpuset.cpus cpuset.mems; do
        [[ ! -f $path/cgroup.clone_children || ! -f $path/$file ]] || cat "$path/$file" >"$path/$part/$file"
      done
      path+=/$part
    done
  done
}

# cgroup_enter PATH: this shell and what it will start.
cgroup_enter() {
  local tree
  for tree in $(cgroup_trees); do
    [[ ! -d $tree/$1 ]] || echo "$BASHPID" >"$tree/$1/cgroup.procs"
  done
}

cgroup_directories() { # PATH
  local tree
  for tree in $(cgroup_trees); do
    [[ ! -d $tree/$1 ]] || find "$tree/$1" -depth -type d
  done 2>/dev/null
}

# A process that is killed while frozen dies only when it is thawed (cgroup v1).
cgroup_thaw_and_kill() { # PATH
  local directory pid alive=1
  for directory in $(cgroup_directories "$1"); do
    [[ ! -f $directory/freezer.state ]] || echo THAWED >"$directory/freezer.state" || true
    [[ ! -f $directory/cgroup.freeze ]] || echo 0 >"$directory/cgroup.freeze" || true
    while read -r pid; do
      # 0: a process of a PID namespace that is not below this one
      ((pid == 0)) || kill -KILL "$pid" || true
      alive=0
    done <"$directory/cgroup.procs"
  done 2>/dev/null
  return $alive
}

# cgroup_remove PATH: kills what is in it and takes it away.
cgroup_remove() {
  local deadline=$((SECONDS + 20))
  while [[ -n $(cgroup_directories "$1") ]]; do
    if cgroup_thaw_and_kill "$1"; then sleep 0.05; fi
    cgroup_directories "$1" | xargs -r rmdir 2>/dev/null || true
    if ((SECONDS > deadline)); then
      echo "cannot remove the control group $1:" >&2
      cgroup_directories "$1" >&2
      return 1
    fi
  done
}
