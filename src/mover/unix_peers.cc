#include "mover/unix_peers.h"

#include <fcntl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <sched.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <future>

#include "base/unique_fd.h"

namespace transship::mover {
namespace {

using Peers = std::map<uint64_t, uint64_t>;

Status ask(int netlink) {
  struct {
    nlmsghdr header;
    unix_diag_req request;
  } message{};
  message.header.nlmsg_len = sizeof message;
  message.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  message.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  message.request.sdiag_family = AF_UNIX;
  message.request.udiag_states = UINT32_MAX;
  message.request.udiag_show = UDIAG_SHOW_PEER;
  if (::send(netlink, &message, sizeof message, 0) == sizeof message) return {};
  return errno_error("ask for the unix sockets of the pod", errno);
}

void take(const nlmsghdr* header, Peers& peers) {
  const auto* socket = static_cast<const unix_diag_msg*>(NLMSG_DATA(header));
  if (socket->udiag_type != SOCK_STREAM && socket->udiag_type != SOCK_SEQPACKET) return;
  auto length = static_cast<int>(header->nlmsg_len - NLMSG_LENGTH(sizeof *socket));
  const auto* attribute = reinterpret_cast<const rtattr*>(socket + 1);
  for (; RTA_OK(attribute, length); attribute = RTA_NEXT(attribute, length)) {
    if (attribute->rta_type != UNIX_DIAG_PEER || RTA_PAYLOAD(attribute) < sizeof(uint32_t))
      continue;
    uint32_t peer = 0;
    std::memcpy(&peer, RTA_DATA(attribute), sizeof peer);
    if (peer != 0) peers[socket->udiag_ino] = peer;
  }
}

Result<Peers> read_here() {
  const UniqueFd netlink(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!netlink.valid()) return errno_error("look at the unix sockets of the pod", errno);
  TRANSSHIP_TRY(ask(netlink.get()));
  Peers peers;
  alignas(nlmsghdr) std::array<char, 32768> buffer{};
  while (true) {
    const ssize_t n = ::recv(netlink.get(), buffer.data(), buffer.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return errno_error("read the unix sockets of the pod", errno);
    auto left = static_cast<unsigned>(n);
    for (const auto* header = reinterpret_cast<const nlmsghdr*>(buffer.data());
         NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
      if (header->nlmsg_type == NLMSG_DONE) return peers;
      if (header->nlmsg_type == NLMSG_ERROR)
        return Error{ErrorCode::kInternal, "the kernel does not tell the pod's unix sockets"};
      take(header, peers);
    }
  }
}

}  // namespace

Result<Peers> unix_peers(const std::string& process) {
  const std::string space = process + "/ns/net";
  const UniqueFd network(::open(space.c_str(), O_RDONLY | O_CLOEXEC));
  if (!network.valid()) return errno_error("open " + space, errno);
  // The thread ends with it, so nobody else comes into that namespace.
  auto looked = std::async(std::launch::async, [&]() -> Result<Peers> {
    if (::setns(network.get(), CLONE_NEWNET) != 0) return errno_error("enter " + space, errno);
    return read_here();
  });
  return looked.get();
}

}  // namespace transship::mover
