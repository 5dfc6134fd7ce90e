#include "runtime/netlink.h"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace transship::runtime {

void NetlinkMessage::append(const void* data, size_t size) {
  const auto* begin = static_cast<const unsigned char*>(data);
  bytes_.insert(bytes_.end(), begin, begin + size);
  bytes_.resize(NLMSG_ALIGN(bytes_.size()));
}

void NetlinkMessage::attribute(uint16_t type, std::span<const unsigned char> value) {
  const nlattr header = {static_cast<uint16_t>(NLA_HDRLEN + value.size()), type};
  append(&header, sizeof header);
  append(value.data(), value.size());
}

void NetlinkMessage::attribute(uint16_t type, std::string_view text) {
  std::vector<unsigned char> value(text.begin(), text.end());
  value.push_back(0);
  attribute(type, value);
}

std::span<const unsigned char> NetlinkMessage::bytes() {
  reinterpret_cast<nlmsghdr*>(bytes_.data())->nlmsg_len = static_cast<uint32_t>(bytes_.size());
  return bytes_;
}

Result<Netlink> Netlink::open(int protocol) {
  UniqueFd socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
  if (!socket.valid()) return errno_error("open a netlink socket", errno);
  return Netlink(std::move(socket));
}

Status Netlink::send(NetlinkMessage& message) const {
  const auto bytes = message.bytes();
  if (::send(socket_.get(), bytes.data(), bytes.size(), 0) < 0) {
    return errno_error("ask the kernel by netlink", errno);
  }
  return {};
}

Status Netlink::receive(const std::function<bool(const nlmsghdr&)>& each) const {
  alignas(nlmsghdr) unsigned char buffer[32768];
  for (;;) {
    const ssize_t n = ::recv(socket_.get(), buffer, sizeof buffer, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("hear from the kernel by netlink", errno);
    auto left = static_cast<uint32_t>(n);
    for (auto* header = reinterpret_cast<nlmsghdr*>(buffer); NLMSG_OK(header, left);
         header = NLMSG_NEXT(header, left)) {
      if (!each(*header)) return {};
    }
  }
}

Result<int> Netlink::ask(NetlinkMessage message) const {
  TRANSSHIP_TRY(send(message));
  int answer = 0;
  TRANSSHIP_TRY(receive([&](const nlmsghdr& header) {
    if (header.nlmsg_type != NLMSG_ERROR) return true;
    answer = -static_cast<const nlmsgerr*>(NLMSG_DATA(&header))->error;
    return false;
  }));
  return answer;
}

Status Netlink::dump(NetlinkMessage message,
                     const std::function<void(const nlmsghdr&)>& each) const {
  TRANSSHIP_TRY(send(message));
  int problem = 0;
  TRANSSHIP_TRY(receive([&](const nlmsghdr& header) {
    if (header.nlmsg_type == NLMSG_DONE) return false;
    if (header.nlmsg_type == NLMSG_ERROR) {
      problem = -static_cast<const nlmsgerr*>(NLMSG_DATA(&header))->error;
      return false;
    }
    each(header);
    return true;
  }));
  if (problem != 0) return errno_error("list by netlink", problem);
  return {};
}

}  // namespace transship::runtime
