# shellcheck shell=bash
# What every image has to have, whoever it runs as.
skeleton() { # ROOT
  mkdir -p "$1"/{dev,etc,proc,root,sys,tmp,run,data}
  chmod 1777 "$1/tmp" "$1/data"
  printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n' >"$1/etc/passwd"
  printf 'root:x:0:\nnogroup:x:65534:\n' >"$1/etc/group"
}
