// The C library's struct tcp_info lacks what is asked for here; the kernel's cannot be included
// beside it.
#include <linux/tcp.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include "transfer/tls_connection.h"

namespace transship::transfer {

double TlsStream::delivery_rate() const {
  tcp_info info{};
  socklen_t size = sizeof info;
  if (::getsockopt(connection_->socket.get(), IPPROTO_TCP, TCP_INFO, &info, &size) != 0) return 0;
  const size_t needed = offsetof(tcp_info, tcpi_delivery_rate) + sizeof info.tcpi_delivery_rate;
  return size < needed ? 0 : static_cast<double>(info.tcpi_delivery_rate);
}

}  // namespace transship::transfer
