// What may become of a tree while it is read that must not go unnoticed then; for sh(1) in it.
#pragma once

namespace transship::transfer {

inline constexpr const char* kChangesWhileRead[] = {
    "for f in */*; do echo x >>$f; done",
    "for f in */*; do truncate -s 10 $f; done",
    "rm -rf a b",
    "mv a c",
    "touch a/new b/new",
    "chmod 600 a/1 b/1",
    "echo x >new",
    "for f in */*; do printf x | dd of=$f conv=notrunc; touch -d @0 $f; done",
    "setfattr -n user.x -v 1 a/1 b/1",
    "ln a/1 linked",
    "rm a/1 b/1; mkfifo a/1 b/1",
    "mv a c; ln -s c a",
    "rm a/*; ln -s /etc/passwd a/1"};

}  // namespace transship::transfer
