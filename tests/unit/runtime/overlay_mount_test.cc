#include "runtime/overlay_mount.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

namespace transship::runtime {
namespace {

using testing::HasSubstr;

std::string line(const std::string& options, const std::string& type = "overlay",
                 const std::string& flags = "rw,relatime") {
  return "27 1 254:0 / / rw - ext4 /dev/vda rw\n80 27 0:50 / /b/rootfs " + flags +
         " shared:7 master:2 - " + type + " overlay " + options + "\n";
}

TEST(OverlayMount, IsFoundWithItsDirectories) {
  const auto mount = OverlayMount::parse(
      "/b/rootfs", line("rw,lowerdir=/s/2/fs:/s/1/fs,upperdir=/s/3/fs,workdir=/s/3/work,index=off,"
                        "uuid=on"));
  ASSERT_TRUE(mount.ok()) << mount.error().message;
  EXPECT_EQ(mount->upper, "/s/3/fs");
  EXPECT_EQ(mount->flags, static_cast<unsigned long>(MS_RELATIME));
  EXPECT_EQ(mount->options("/s").value(),
            "lowerdir=2/fs:1/fs,upperdir=/s/3/fs,workdir=/s/3/work,index=off,uuid=on");
}

TEST(OverlayMount, LowerDirectoriesMayComeOneByOneOrBeRelative) {
  const auto one = OverlayMount::parse(
      "/b/rootfs", line("rw,lowerdir+=/s/2/fs,lowerdir+=/s/1/fs,upperdir=/s/3/fs,workdir=/s/3/w"));
  EXPECT_EQ(one->options("/s").value(), "lowerdir=2/fs:1/fs,upperdir=/s/3/fs,workdir=/s/3/w");
  const auto relative =
      OverlayMount::parse("/b/rootfs", line("rw,lowerdir=2/fs,upperdir=/s/3/fs,workdir=/s/3/w"));
  EXPECT_EQ(relative->options("/s").value(), "lowerdir=2/fs,upperdir=/s/3/fs,workdir=/s/3/w");
}

TEST(OverlayMount, TheTopmostCounts) {
  const auto mount =
      OverlayMount::parse("/b/rootfs", line("rw,lowerdir=/s/1,upperdir=/s/2,workdir=/s/3") +
                                           line("rw,lowerdir=/s/4,upperdir=/s/5,workdir=/s/6"));
  EXPECT_EQ(mount->upper, "/s/5");
}

TEST(OverlayMount, KeepsTheFlagsOfTheMount) {
  const auto mount =
      OverlayMount::parse("/b/rootfs", line("rw,lowerdir=/s/1,upperdir=/s/2,workdir=/s/3",
                                            "overlay", "ro,nosuid,nodev,noexec,noatime"));
  EXPECT_EQ(mount->flags,
            static_cast<unsigned long>(MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_NOATIME));
}

TEST(OverlayMount, WhatIsNoneIsNamed) {
  struct Row {
    std::string mountinfo;
    const char* why;
  };
  const Row rows[] = {
      {"", "is no mount"},
      {line("rw", "ext4"), "of type ext4"},
      {line("ro,lowerdir=/s/2:/s/1"), "no upper directory"},
      {line("rw,lowerdir=/s\\0401,upperdir=/s/2,workdir=/s/3"), "odd names"},
  };
  for (const Row& row : rows) {
    const auto mount = OverlayMount::parse("/b/rootfs", row.mountinfo);
    ASSERT_FALSE(mount.ok()) << row.why;
    EXPECT_EQ(mount.error().code, ErrorCode::kPreconditionFailed);
    EXPECT_THAT(mount.error().message, HasSubstr(row.why));
    EXPECT_THAT(mount.error().message, HasSubstr("overlayfs snapshotter"));
  }
}

TEST(OverlayMount, MoreLayersThanAMountCanNameAreAnError) {
  std::string lower = "/elsewhere/0";
  for (int i = 1; i < 500; ++i) lower += ":/elsewhere/" + std::to_string(i);
  const auto mount = OverlayMount::parse(
      "/b/rootfs", line("rw,lowerdir=" + lower + ",upperdir=/s/2/fs,workdir=/s/3/work"));
  EXPECT_THAT(mount->options("/s").error().message, HasSubstr("more layers"));
}

}  // namespace
}  // namespace transship::runtime
