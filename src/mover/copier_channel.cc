#include "mover/copier_channel.h"

#include <poll.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <string>

namespace transship::mover {
namespace {

constexpr int kBuffer = 1 << 20;  // of the socket: the longest message, or what the kernel gives
constexpr size_t kMostDescriptors = 4;

using nlohmann::json;

Error gone() { return {ErrorCode::kUnavailable, "the other end of the copier's channel is gone"}; }

std::vector<UniqueFd> descriptors_of(msghdr& header) {
  std::vector<UniqueFd> found;
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof fd, sizeof fd);
      found.emplace_back(fd);
    }
  }
  return found;
}

}  // namespace

Result<std::pair<UniqueFd, UniqueFd>> CopierChannel::make() {
  std::array<int, 2> ends{};
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0)
    return errno_error("make a channel to a copier", errno);
  std::pair<UniqueFd, UniqueFd> made{UniqueFd(ends[0]), UniqueFd(ends[1])};
  for (const int end : ends) ::setsockopt(end, SOL_SOCKET, SO_SNDBUF, &kBuffer, sizeof kBuffer);
  return made;
}

Status CopierChannel::send(const json& body, const std::vector<int>& descriptors) const {
  assert(descriptors.size() <= kMostDescriptors);
  // Messages name paths, which are any bytes.
  std::string text = body.dump(-1, ' ', false, json::error_handler_t::replace);
  iovec data{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostDescriptors * sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    const size_t size = descriptors.size() * sizeof(int);
    header.msg_control = control.data();
    header.msg_controllen = CMSG_SPACE(size);
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(part), descriptors.data(), size);
  }
  while (::sendmsg(socket_.get(), &header, MSG_NOSIGNAL) < 0) {
    if (errno == EPIPE || errno == ECONNRESET || errno == EBADF) return gone();
    if (errno != EINTR) return errno_error("send over a copier's channel", errno);
  }
  return {};
}

Result<std::optional<CopierMessage>> CopierChannel::receive(std::chrono::milliseconds time) const {
  pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
  const int found = ::poll(&ready, 1, static_cast<int>(time.count()));
  if (found == 0 || (found < 0 && errno == EINTR)) return std::optional<CopierMessage>();
  if (found < 0) return errno_error("wait for a copier's channel", errno);
  std::string text(kBuffer, '\0');
  iovec data{text.data(), text.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(kMostDescriptors * sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  const ssize_t size = ::recvmsg(socket_.get(), &header, MSG_CMSG_CLOEXEC);
  if (size < 0 && errno == EINTR) return std::optional<CopierMessage>();
  if (size <= 0) return gone();
  CopierMessage message{json::parse(text.begin(), text.begin() + size, nullptr,
                                    /*allow_exceptions=*/false),
                        descriptors_of(header)};
  if ((header.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0 || !message.body.is_object())
    return Error{ErrorCode::kCorrupt, "what came over a copier's channel is no message"};
  return std::optional<CopierMessage>(std::move(message));
}

}  // namespace transship::mover
