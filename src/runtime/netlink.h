// Netlink: requests to the kernel's networking, each answered before it returns (netlink(7),
// rtnetlink(7), sock_diag(7)). For the network namespace of the thread that opens it.
#pragma once

#include <linux/netlink.h>

#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace transship::runtime {

// A message as it is put together: the header, a fixed part, attributes.
class NetlinkMessage {
 public:
  template <typename Fixed>
  NetlinkMessage(uint16_t type, uint16_t flags, const Fixed& fixed) : bytes_(sizeof(nlmsghdr)) {
    auto* header = reinterpret_cast<nlmsghdr*>(bytes_.data());
    header->nlmsg_type = type;
    header->nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags);
    append(&fixed, sizeof fixed);
  }
  void attribute(uint16_t type, std::span<const unsigned char> value);
  void attribute(uint16_t type, std::string_view text);  // with its end, as names have it
  [[nodiscard]] std::span<const unsigned char> bytes();

 private:
  void append(const void* data, size_t size);
  std::vector<unsigned char> bytes_;
};

class Netlink {
 public:
  static Result<Netlink> open(int protocol);  // NETLINK_ROUTE, NETLINK_SOCK_DIAG

  // Returns the kernel's errno, 0 where it was done; an Error where it could not be asked.
  [[nodiscard]] Result<int> ask(NetlinkMessage message) const;

  // Calls `each` with every answer's header of a dump.
  [[nodiscard]] Status dump(NetlinkMessage message,
                            const std::function<void(const nlmsghdr&)>& each) const;

 private:
  explicit Netlink(UniqueFd socket) : socket_(std::move(socket)) {}
  [[nodiscard]] Status send(NetlinkMessage& message) const;
  // Calls `each` until it returns false.
  [[nodiscard]] Status receive(const std::function<bool(const nlmsghdr&)>& each) const;
  UniqueFd socket_;
};

}  // namespace transship::runtime
