#include "mover/capabilities.h"

#include <linux/capability.h>
#include <linux/securebits.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <initializer_list>

namespace transship::mover {
namespace {

constexpr CapabilitySet set_of(std::initializer_list<int> capabilities) {
  CapabilitySet set = 0;
  for (const int capability : capabilities) set |= CapabilitySet{1} << unsigned(capability);
  return set;
}

constexpr bool has(CapabilitySet set, int capability) {
  return (set >> static_cast<unsigned>(capability) & 1U) != 0;
}

constexpr CapabilitySet kReading = set_of({CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_SYS_ADMIN});
constexpr CapabilitySet kWriting = kReading | set_of({CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_FSETID,
                                                      CAP_MKNOD, CAP_SETFCAP, CAP_LINUX_IMMUTABLE});
// What runc and CRIU, which it runs for a dump, take besides. Of System V IPC even root sees only
// its own without IPC_OWNER.
constexpr CapabilitySet kDumping =
    set_of({CAP_CHECKPOINT_RESTORE, CAP_IPC_OWNER, CAP_NET_ADMIN, CAP_SYS_RESOURCE});
constexpr CapabilitySet kNode =
    kWriting | kDumping | set_of({CAP_KILL, CAP_SYS_CHROOT, CAP_SYS_PTRACE, CAP_SETPCAP});

Status drop_bounding(CapabilitySet kept) {
  for (int capability = 0; ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; ++capability) {
    if (has(kept, capability) || ::prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 0) continue;
    if (::prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) != 0)
      return errno_error("drop capability " + std::to_string(capability), errno);
  }
  return {};
}

}  // namespace

CapabilitySet reading_capabilities() { return kReading; }
CapabilitySet writing_capabilities() { return kWriting; }
CapabilitySet node_capabilities() { return kNode; }

Status keep_capabilities(CapabilitySet kept, bool locked) {
  TRANSSHIP_TRY(drop_bounding(kept));
  if (locked && ::prctl(PR_SET_SECUREBITS, SECBIT_NOROOT | SECBIT_NOROOT_LOCKED, 0, 0, 0) != 0)
    return errno_error("lock the capabilities", errno);
  if (::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0)
    return errno_error("clear the ambient capabilities", errno);
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, 2> sets{};
  if (::syscall(SYS_capget, &header, sets.data()) != 0)
    return errno_error("read the capabilities", errno);
  for (size_t i = 0; i < sets.size(); ++i) {
    const auto part = static_cast<uint32_t>(kept >> (32U * i));
    sets[i].permitted &= part;
    sets[i].effective = sets[i].permitted;
    sets[i].inheritable = 0;
  }
  if (::syscall(SYS_capset, &header, sets.data()) != 0)
    return errno_error("drop capabilities", errno);
  return {};
}

}  // namespace transship::mover
