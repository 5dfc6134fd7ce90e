// The connections that a pod had from its address at the source: nobody will ever answer them.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>

#include <array>
#include <span>
#include <string>

#include "base/result.h"

namespace transship::runtime {

class OldAddress {
 public:
  explicit OldAddress(const std::string& text);  // IPv4 or IPv6; validated by the claim
  [[nodiscard]] int family() const { return family_; }
  [[nodiscard]] std::span<const unsigned char> bytes() const {
    return {bytes_.data(), family_ == AF_INET ? 4U : 16U};
  }
  [[nodiscard]] bool is(const sockaddr& address) const;
  // Also in the form that an IPv6 socket has of it (::ffff:10.1.2.3).
  [[nodiscard]] bool is(int family, std::span<const unsigned char, 16> address) const;

 private:
  int family_ = AF_INET;
  std::array<unsigned char, 16> bytes_{};
};

// Ends every TCP connection and connected UDP socket with that local address, in the network
// namespace of the calling thread: the application's next call fails with ECONNABORTED. Others are
// untouched. kPreconditionFailed where the kernel cannot (CONFIG_INET_DIAG_DESTROY).
Status end_connections_from(const OldAddress& old);

}  // namespace transship::runtime
