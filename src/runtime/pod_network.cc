#include "runtime/pod_network.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <linux/if_addr.h>
#include <linux/if_ether.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sched.h>

#include <array>
#include <cerrno>
#include <memory>
#include <vector>

#include "base/unique_fd.h"
#include "runtime/netlink.h"
#include "runtime/old_connections.h"

namespace transship::runtime {
namespace {

// The calling thread is in that network namespace as long as it lives.
class InNetworkNamespace {
 public:
  static Result<InNetworkNamespace> enter(const std::string& path) {
    UniqueFd own(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
    const UniqueFd other(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!own.valid() || !other.valid() || ::setns(other.get(), CLONE_NEWNET) != 0) {
      return errno_error("enter the pod's network namespace " + path, errno);
    }
    return InNetworkNamespace(std::move(own));
  }
  InNetworkNamespace(InNetworkNamespace&&) = default;
  InNetworkNamespace& operator=(InNetworkNamespace&&) = delete;
  ~InNetworkNamespace() {
    if (own_.valid() && ::setns(own_.get(), CLONE_NEWNET) != 0) std::abort();
  }

 private:
  explicit InNetworkNamespace(UniqueFd own) : own_(std::move(own)) {}
  UniqueFd own_;
};

struct Interface {
  int index = 0;
  bool loopback = false;
  std::string name;
};

Result<std::vector<Interface>> interfaces() {
  struct Free {
    void operator()(struct if_nameindex* all) const { ::if_freenameindex(all); }
  };
  const std::unique_ptr<struct if_nameindex, Free> all(::if_nameindex());
  if (!all) return errno_error("list the pod's network interfaces", errno);
  std::vector<Interface> found;
  for (const auto* each = all.get(); each->if_index != 0; ++each) {
    const std::string name = each->if_name;
    found.push_back({static_cast<int>(each->if_index), name == "lo", name});
  }
  return found;
}

Result<bool> has_address(const std::string& text) {
  struct ifaddrs* first = nullptr;
  if (::getifaddrs(&first) != 0) return errno_error("list the pod's addresses", errno);
  const std::unique_ptr<struct ifaddrs, void (*)(struct ifaddrs*)> all(first, ::freeifaddrs);
  const OldAddress old(text);
  for (const auto* each = first; each != nullptr; each = each->ifa_next) {
    if (each->ifa_addr == nullptr || std::string_view(each->ifa_name) == "lo") continue;
    if (old.is(*each->ifa_addr)) return true;
  }
  return false;
}

// sch_blackhole is part of every kernel with queueing disciplines: what is sent is dropped.
constexpr std::string_view kBlackhole = "blackhole";
constexpr uint32_t kHandle = 0x71570000;  // "7157:", ours

Result<int> discipline(const Netlink& netlink, const Interface& interface, bool add) {
  tcmsg fixed{};
  fixed.tcm_family = AF_UNSPEC;
  fixed.tcm_ifindex = interface.index;
  fixed.tcm_parent = TC_H_ROOT;
  fixed.tcm_handle = kHandle;
  NetlinkMessage message(
      add ? RTM_NEWQDISC : RTM_DELQDISC,
      static_cast<uint16_t>(add ? NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL : NLM_F_ACK), fixed);
  message.attribute(TCA_KIND, kBlackhole);
  return netlink.ask(std::move(message));
}

Result<int> address(const Netlink& netlink, const std::string& text, bool add) {
  const OldAddress old(text);
  ifaddrmsg fixed{};
  fixed.ifa_family = static_cast<unsigned char>(old.family());
  fixed.ifa_prefixlen = static_cast<unsigned char>(old.bytes().size() * 8);
  fixed.ifa_flags = IFA_F_NODAD;
  fixed.ifa_index = ::if_nametoindex("lo");
  NetlinkMessage message(
      add ? RTM_NEWADDR : RTM_DELADDR,
      static_cast<uint16_t>(add ? NLM_F_ACK | NLM_F_CREATE | NLM_F_REPLACE : NLM_F_ACK), fixed);
  message.attribute(IFA_LOCAL, old.bytes());
  message.attribute(IFA_ADDRESS, old.bytes());
  return netlink.ask(std::move(message));
}

Status hold_interfaces(const Netlink& netlink) {
  const auto all = interfaces();
  if (!all) return all.error();
  for (const auto& each : *all) {
    const auto answer = discipline(netlink, each, /*add=*/true);
    if (!answer) return answer.error();
    // EEXIST: ours, of a restore before, or somebody's.
    if (*answer != 0 && *answer != EEXIST && each.loopback) {
      return errno_error("hold what the pod sends over " + each.name, *answer);
    }
  }
  return {};
}

}  // namespace

Status hold_network(const std::string& network_namespace, const std::string& old_address) {
  auto inside = InNetworkNamespace::enter(network_namespace);
  if (!inside) return inside.error();
  const auto netlink = Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  TRANSSHIP_TRY(hold_interfaces(*netlink));
  if (old_address.empty()) return {};
  const auto same = has_address(old_address);
  if (!same) return same.error();
  if (*same) return {};
  const auto answer = address(*netlink, old_address, /*add=*/true);
  if (!answer) return answer.error();
  if (*answer != 0) {
    return errno_error("give the pod its old address " + old_address + " for a while", *answer);
  }
  return {};
}

Status release_network(const std::string& network_namespace, const std::string& old_address) {
  auto inside = InNetworkNamespace::enter(network_namespace);
  if (!inside) return inside.error();
  const auto netlink = Netlink::open(NETLINK_ROUTE);
  if (!netlink) return netlink.error();
  Status ended;
  if (!old_address.empty()) {
    const auto same = has_address(old_address);
    if (!same) return same.error();
    if (!*same) {
      ended = end_connections_from(OldAddress(old_address));
      const auto answer = address(*netlink, old_address, /*add=*/false);
      if (!answer) return answer.error();
    }
  }
  const auto all = interfaces();
  if (!all) return all.error();
  for (const auto& each : *all) {
    const auto answer = discipline(*netlink, each, /*add=*/false);
    if (!answer) return answer.error();
    // Those that were never held, or no longer, have none of ours.
    if (*answer != 0 && *answer != ENOENT && *answer != EINVAL) {
      return errno_error("let the pod send over " + each.name + " again", *answer);
    }
  }
  return ended;
}

}  // namespace transship::runtime
