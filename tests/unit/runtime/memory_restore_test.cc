#include "runtime/memory_restore.h"

#include <gtest/gtest.h>

namespace transship::runtime {
namespace {

TEST(TellingLines, AreThoseThatSayWhy) {
  EXPECT_EQ(telling_lines("(00.006) cpu: fpu: 512 bytes\n"
                          "(00.007) Error (criu/util.c:1534): rlimit: Can't setup RLIMIT_NOFILE\n"
                          "(00.046)   53: Error (criu/files-reg.c:1): Can't open file /a: No such\n"
                          "(00.047) Error (criu/cr-restore.c:2): Can't restore 53\n"
                          "(00.048) Error (criu/cr-restore.c:3): Restoring FAILED.\n"),
            "Error (criu/files-reg.c:1): Can't open file /a: No such; "
            "Error (criu/cr-restore.c:2): Can't restore 53");
}

TEST(TellingLines, AreThreeAtMost) {
  EXPECT_EQ(telling_lines("Error (a): 1\nError (b): 2\nError (c): 3\nError (d): 4\n"),
            "Error (a): 1; Error (b): 2; Error (c): 3");
}

TEST(TellingLines, AreWhatCameBeforeTheEndWhereNothingIsCalledAnError) {
  EXPECT_EQ(telling_lines("(00.001) all is well\n(00.082) 1: No pagemap-1.img image\n"
                          "(00.083) Error (criu/cr-restore.c:2331): Restoring FAILED.\n"
                          "(00.085) Error (criu/cgroup.c:2055): cg: cgroupd: recv req error: No\n"),
            "(00.082) 1: No pagemap-1.img image");
}

TEST(TellingLines, MayBeNone) { EXPECT_EQ(telling_lines("(00.001) all is well\n"), ""); }

}  // namespace
}  // namespace transship::runtime
