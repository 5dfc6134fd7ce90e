# shellcheck shell=bash
# Background processes that are remembered by number and birth, never found again by name.

# birth PID: when it started, in clock ticks since boot (field 22 of proc(5)'s stat). Number and birth
# together name one process for ever: a number alone may belong to somebody else by now.
birth() {
  local stat fields
  stat=$(cat "/proc/$1/stat" 2>/dev/null) || return 1
  read -ra fields <<<"${stat##*) }" # what follows the name, which may have blanks: from field 3 on
  echo "${fields[19]}"
}

# start PID_FILE LOG COMMAND...: in a session of its own, so that a Ctrl-C here does not reach it, and
# without this script's locks.
start() {
  local file=$1 log=$2
  shift 2
  setsid "$@" </dev/null >>"$log" 2>&1 7>&- 8>&- &
  remember "$file" $!
}

remember() { echo "$2 $(birth "$2")" >"$1"; } # PID_FILE PID

# running PID_FILE: its number, if it is still that process.
running() {
  local pid born
  [[ -f $1 ]] && read -r pid born <"$1" && [[ -n $born && $(birth "$pid") == "$born" ]] && echo "$pid"
}

# stop PID_FILE...: gone for certain when this returns.
stop() {
  local file pid
  for file in "$@"; do
    if pid=$(running "$file"); then
      kill -KILL "$pid" 2>/dev/null || true
      while running "$file" >/dev/null && [[ $(ps -o stat= -p "$pid") != Z* ]]; do sleep 0.05; done
    fi
    rm -f "$file"
  done
}

# patiently SECONDS COMMAND...: repeats the command until it succeeds.
patiently() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    ((SECONDS < deadline)) || return 1
    sleep 0.1
  done
}
