# shellcheck shell=bash
# The cache: everything that is slow to make, made once.
#
# $cache/store/NAME-KEY is one made thing; KEY is a hash of what it was made from, so a change of the
# inputs makes a new one beside the old. It appears by one rename when it is complete: an interrupted
# build leaves only a scratch directory, which the next build removes.
# $cache/NAME points at the newest. $cache/bin has the programs by name. Removing $cache is always safe
# while no cluster is up.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/transship

# key WORD...: a short hash of the words; a word that names a file stands for its content.
key() {
  local word
  for word in "$@"; do
    if [[ -f $word ]]; then sha256sum <"$word"; else echo "$word"; fi
  done | sha256sum | cut -c1-12
}

# One build at a time: the second waits and then finds everything made.
lock_cache() {
  mkdir -p "$cache/store"
  exec 8>"$cache/build.lock"
  flock --nonblock 8 || { echo "waiting for another build in $cache" >&2 && flock 8; }
  rm -rf "$cache"/store/.new-*
}

unlock_cache() { exec 8>&-; }

# cached NAME KEY COMMAND...: runs COMMAND... DIRECTORY to fill the directory, unless that was done before.
cached() {
  local name=$1 made=store/$1-$2 scratch seconds failed
  shift 2
  if [[ ! -d $cache/$made ]]; then
    scratch=$cache/store/.new-$name
    mkdir "$scratch"
    echo "building $name (log: $cache/$name.log)" >&2
    seconds=$SECONDS
    # Not `( ... ) || ...`: bash does not stop at errors in what a condition calls.
    set +e
    (
      set -e
      "$@" "$scratch"
    ) >"$cache/$name.log" 2>&1 8>&-
    failed=$?
    set -e
    if ((failed)); then
      tail -n 20 "$cache/$name.log" >&2
      return 1
    fi
    sync -f "$scratch"
    mv -T "$scratch" "$cache/$made"
    echo "built $name in $((SECONDS - seconds)) s" >&2
  fi
  ln -sfnT "$made" "$cache/$name"
}
