#include "runtime/old_connections.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "runtime/netlink.h"

namespace transship::runtime {
namespace {

// enum of the kernel's net/tcp_states.h; UDP sockets have two of them.
constexpr unsigned kTimeWait = 6, kClosed = 7, kListen = 10;

struct Found {
  unsigned char family = 0;
  inet_diag_sockid id{};
};

inet_diag_req_v2 request(int family, int protocol) {
  inet_diag_req_v2 fixed{};
  fixed.sdiag_family = static_cast<unsigned char>(family);
  fixed.sdiag_protocol = static_cast<unsigned char>(protocol);
  // Not those that listen, or that are connected to nobody.
  fixed.idiag_states = ~(1U << kListen | 1U << kClosed | 1U << kTimeWait);
  return fixed;
}

Result<std::vector<Found>> find(const Netlink& netlink, const OldAddress& old, int family,
                                int protocol) {
  std::vector<Found> found;
  const Status listed =
      netlink.dump(NetlinkMessage(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, request(family, protocol)),
                   [&](const nlmsghdr& header) {
                     if (header.nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) return;
                     const auto* each = static_cast<const inet_diag_msg*>(NLMSG_DATA(&header));
                     std::array<unsigned char, 16> source{};
                     std::memcpy(source.data(), each->id.idiag_src, source.size());
                     if (old.is(each->idiag_family, source))
                       found.push_back({each->idiag_family, each->id});
                   });
  if (!listed.ok()) return listed.error();
  return found;
}

}  // namespace

OldAddress::OldAddress(const std::string& text) {
  if (::inet_pton(AF_INET, text.c_str(), bytes_.data()) != 1) {
    family_ = AF_INET6;
    if (::inet_pton(AF_INET6, text.c_str(), bytes_.data()) != 1) bytes_.fill(0xff);
  }
}

bool OldAddress::is(const sockaddr& address) const {
  std::array<unsigned char, 16> other{};
  if (address.sa_family == AF_INET) {
    std::memcpy(other.data(), &reinterpret_cast<const sockaddr_in*>(&address)->sin_addr, 4);
  } else if (address.sa_family == AF_INET6) {
    std::memcpy(other.data(), &reinterpret_cast<const sockaddr_in6*>(&address)->sin6_addr, 16);
  }
  return is(address.sa_family, other);
}

bool OldAddress::is(int family, std::span<const unsigned char, 16> address) const {
  const auto own = bytes();
  if (family == family_) return std::equal(own.begin(), own.end(), address.begin());
  constexpr std::array<unsigned char, 12> kMapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};
  return family == AF_INET6 && family_ == AF_INET &&
         std::equal(kMapped.begin(), kMapped.end(), address.begin()) &&
         std::equal(own.begin(), own.end(), address.begin() + kMapped.size());
}

Status end_connections_from(const OldAddress& old) {
  const auto netlink = Netlink::open(NETLINK_SOCK_DIAG);
  if (!netlink) return netlink.error();
  for (const int protocol : {IPPROTO_TCP, IPPROTO_UDP}) {
    for (const int family : {AF_INET, AF_INET6}) {
      const auto all = find(*netlink, old, family, protocol);
      if (!all) return all.error();
      for (const auto& each : *all) {
        inet_diag_req_v2 fixed = request(each.family, protocol);
        fixed.id = each.id;
        const auto answer = netlink->ask(NetlinkMessage(SOCK_DESTROY, NLM_F_ACK, fixed));
        if (!answer) return answer.error();
        if (*answer == 0 || *answer == ENOENT) continue;
        const Error problem = errno_error("end a connection from the pod's old address", *answer);
        return Error{ErrorCode::kPreconditionFailed, problem.message};
      }
    }
  }
  return {};
}

}  // namespace transship::runtime
