#include "runtime/overlay_mount.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <fstream>
#include <optional>
#include <sstream>
#include <string_view>
#include <utility>
#include <vector>

#include "base/unique_fd.h"

namespace transship::runtime {
namespace {

constexpr size_t kMostOptions = 4095;  // a page, with its end
constexpr std::array<std::pair<std::string_view, unsigned long>, 7> kFlags = {{
    {"ro", MS_RDONLY},
    {"nosuid", MS_NOSUID},
    {"nodev", MS_NODEV},
    {"noexec", MS_NOEXEC},
    {"noatime", MS_NOATIME},
    {"nodiratime", MS_NODIRATIME},
    {"relatime", MS_RELATIME},
}};

std::vector<std::string> split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) parts.push_back(part);
  return parts;
}

struct MountLine {
  std::string target;
  std::string flags;
  std::string type;
  std::string options;
};

// "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 - ext3 /dev/root rw,errors=continue"
std::optional<MountLine> parse_line(const std::string& line) {
  const std::vector<std::string> fields = split(line, ' ');
  size_t dash = 6;
  while (dash < fields.size() && fields[dash] != "-") ++dash;
  if (dash + 3 >= fields.size()) return std::nullopt;
  return MountLine{fields[4], fields[5], fields[dash + 1], fields[dash + 3]};
}

void take_option(OverlayMount& mount, const std::string& option) {
  const size_t equals = option.find('=');
  const std::string name = option.substr(0, equals);
  const std::string value = equals == std::string::npos ? "" : option.substr(equals + 1);
  if (name == "rw" || name == "ro" || name == "seclabel") return;
  if (name == "lowerdir" || name == "lowerdir+") {
    mount.lower += (mount.lower.empty() ? "" : ":") + value;
  } else if (name == "upperdir") {
    mount.upper = value;
  } else if (name == "workdir") {
    mount.work = value;
  } else {
    mount.other_options += "," + option;
  }
}

Error unfit(const std::string& target, const std::string& why) {
  return {ErrorCode::kPreconditionFailed,
          "the container's root " + target + " " + why +
              ": a layer can only be put into snapshots of containerd's overlayfs snapshotter"};
}

// The directory that holds all snapshots: .../snapshots/12/fs is an upper directory of it.
std::string snapshots_of(const std::string& upper) {
  const size_t snapshot = upper.rfind('/');
  if (snapshot == std::string::npos || snapshot == 0) return "/";
  const size_t all = upper.rfind('/', snapshot - 1);
  return all == std::string::npos || all == 0 ? "/" : upper.substr(0, all);
}

std::string relative(const std::string& path, const std::string& base) {
  if (base != "/" && path.starts_with(base + "/")) return path.substr(base.size() + 1);
  return path;
}

}  // namespace

Result<OverlayMount> OverlayMount::parse(const std::string& target, const std::string& mountinfo) {
  std::optional<MountLine> topmost;
  std::istringstream in(mountinfo);
  for (std::string line; std::getline(in, line);) {
    auto each = parse_line(line);
    if (each && each->target == target) topmost = std::move(each);
  }
  if (!topmost) return unfit(target, "is no mount");
  if (topmost->type != "overlay") return unfit(target, "is a mount of type " + topmost->type);
  if (topmost->options.find('\\') != std::string::npos) {
    return unfit(target, "has directories with odd names (" + topmost->options + ")");
  }
  OverlayMount mount;
  mount.target = target;
  for (const auto& flag : split(topmost->flags, ',')) {
    for (const auto& [name, bit] : kFlags) {
      if (flag == name) mount.flags |= bit;
    }
  }
  for (const auto& option : split(topmost->options, ',')) take_option(mount, option);
  if (!mount.upper.starts_with('/') || !mount.work.starts_with('/') || mount.lower.empty()) {
    return unfit(target, "has no upper directory (" + topmost->options + ")");
  }
  return mount;
}

Result<OverlayMount> OverlayMount::find(const std::string& target) {
  std::ifstream file("/proc/self/mountinfo");
  std::stringstream text;
  text << file.rdbuf();
  if (!file) return Error{ErrorCode::kInternal, "read /proc/self/mountinfo"};
  return parse(target, text.str());
}

Result<std::string> OverlayMount::options(const std::string& base) const {
  std::string text = "lowerdir=";
  bool first = true;
  for (const auto& each : split(lower, ':')) {
    if (each.empty()) return unfit(target, "has data-only lower directories (" + lower + ")");
    text += (first ? "" : ":") + relative(each, base);
    first = false;
  }
  // These as they are: whoever looks for the layer finds it by the mount's options.
  text += ",upperdir=" + upper + ",workdir=" + work + other_options;
  if (text.size() > kMostOptions) return unfit(target, "has more layers than a mount can name");
  return text;
}

Status OverlayMount::unmount() const {
  if (::umount2(target.c_str(), UMOUNT_NOFOLLOW) != 0) {
    return errno_error("unmount the container's root " + target, errno);
  }
  return {};
}

Status OverlayMount::mount() const {
  const std::string base = snapshots_of(upper);
  auto text = options(base);
  if (!text) return text.error();
  // A mount with "volatile" refuses a work directory that has been one of such a mount; here
  // nothing was written through it in between.
  if (other_options.find(",volatile") != std::string::npos) {
    (void)::rmdir((work + "/work/incompat/volatile").c_str());
  }
  const UniqueFd before(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!before.valid() || ::chdir(base.c_str()) != 0) return errno_error("enter " + base, errno);
  const int result = ::mount("overlay", target.c_str(), "overlay", flags, text->c_str());
  const int problem = errno;
  if (::fchdir(before.get()) != 0) return errno_error("leave " + base, errno);
  if (result != 0) return errno_error("mount " + target + " again (" + *text + ")", problem);
  return {};
}

}  // namespace transship::runtime
