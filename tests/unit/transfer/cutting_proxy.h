// CuttingProxy: between a sender and a receiver on this machine; cuts their connections as it is
// told.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#include "base/unique_fd.h"

namespace transship::transfer {

// So many bytes go through before both ends lose the connection.
struct Cut {
  size_t from_client = SIZE_MAX;
  size_t from_server = SIZE_MAX;
};

class CuttingProxy {
 public:
  // The first connections are cut so, one after the other; further ones live.
  explicit CuttingProxy(uint16_t to, std::vector<Cut> cuts = {})
      : to_(to), cuts_(std::move(cuts)), socket_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address = local(0);
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(socket_.get(), generic, size), 0);
    EXPECT_EQ(::listen(socket_.get(), 16), 0);
    EXPECT_EQ(::getsockname(socket_.get(), generic, &size), 0);
    port = ntohs(address.sin_port);
    thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  }
  ~CuttingProxy() {
    thread_.request_stop();
    (void)::eventfd_write(wake_.get(), 1);
  }

  // Cuts the connection that there is.
  void cut() {
    cut_now_ = true;
    (void)::eventfd_write(wake_.get(), 1);
  }
  // Once the server has said something more, cuts it and takes no other.
  void silence_client() { silent_ = true; }

  // The next thing that the client says goes nowhere; then cuts the connection.
  void swallow() { swallows_ = true; }

  [[nodiscard]] int connections() const { return connections_; }
  // Waits until there have been so many.
  void wait_for_connections(int count) const {
    for (int have = connections_; have < count; have = connections_) connections_.wait(have);
  }
  [[nodiscard]] size_t from_client() const { return from_client_; }  // all bytes so far
  [[nodiscard]] size_t from_server() const { return from_server_; }

  uint16_t port = 0;

 private:
  static sockaddr_in local(uint16_t port) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(port);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
  }

  void run(const std::stop_token& stop) {
    while (!stop.stop_requested()) {
      pollfd ready[2] = {{socket_.get(), POLLIN, 0}, {wake_.get(), POLLIN, 0}};
      (void)::poll(ready, 2, -1);
      if (ready[0].revents == 0) continue;
      const UniqueFd client(::accept(socket_.get(), nullptr, nullptr));
      const UniqueFd server(::socket(AF_INET, SOCK_STREAM, 0));
      const sockaddr_in target = local(to_);
      if (::connect(server.get(), reinterpret_cast<const sockaddr*>(&target), sizeof target) != 0)
        continue;
      const auto number = static_cast<size_t>(connections_++);
      connections_.notify_all();
      if (forward(client.get(), server.get(), number < cuts_.size() ? cuts_[number] : Cut{}, stop))
        continue;
      socket_.reset();
      return;
    }
  }

  // False: nobody else is to come.
  bool forward(int client, int server, Cut left, const std::stop_token& stop) {
    std::vector<char> buffer(16384);
    while (!stop.stop_requested()) {
      pollfd ready[3] = {{client, POLLIN, 0}, {server, POLLIN, 0}, {wake_.get(), POLLIN, 0}};
      (void)::poll(ready, 3, -1);
      eventfd_t count = 0;
      if (ready[2].revents != 0) (void)::eventfd_read(wake_.get(), &count);
      if (cut_now_.exchange(false)) return true;
      for (int i = 0; i < 2; ++i) {
        if (ready[i].revents == 0) continue;
        size_t& rest = i == 0 ? left.from_client : left.from_server;
        if (rest == 0) return true;
        const ssize_t n = ::read(ready[i].fd, buffer.data(), std::min(buffer.size(), rest));
        if (n <= 0) return true;
        if (i == 0 && swallows_.exchange(false)) return true;
        if (::send(ready[1 - i].fd, buffer.data(), static_cast<size_t>(n), MSG_NOSIGNAL) < 0)
          return true;
        rest -= static_cast<size_t>(n);
        (i == 0 ? from_client_ : from_server_) += static_cast<size_t>(n);
        if (i == 1 && silent_) return false;
      }
    }
    return true;
  }

  const uint16_t to_;
  const std::vector<Cut> cuts_;
  UniqueFd socket_;
  const UniqueFd wake_{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
  std::atomic<bool> cut_now_ = false;
  std::atomic<bool> silent_ = false;
  std::atomic<bool> swallows_ = false;
  std::atomic<int> connections_ = 0;
  std::atomic<size_t> from_client_ = 0;
  std::atomic<size_t> from_server_ = 0;
  std::jthread thread_;
};

}  // namespace transship::transfer
