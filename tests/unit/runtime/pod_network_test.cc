#include "runtime/pod_network.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <string>

#include "base/unique_fd.h"
#include "runtime/old_connections.h"

namespace transship::runtime {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr const char* kHere = "/proc/self/ns/net";

std::string output(const std::string& command) {
  std::string text;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  std::array<char, 4096> buffer{};
  while (::fgets(buffer.data(), buffer.size(), pipe) != nullptr) text += buffer.data();
  ::pclose(pipe);
  return text;
}

// Each test is in a network namespace of its own, with an eth0 whose other end is there as well.
class PodNetwork : public testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, for a network namespace";
    ASSERT_EQ(::unshare(CLONE_NEWNET), 0);
    ASSERT_EQ(output("ip link set lo up && ip link add eth0 type veth peer name peer && "
                     "ip address add 10.8.0.3/24 dev eth0 && ip link set eth0 up"),
              "");
  }
};

struct Connection {
  UniqueFd client, server;
};

// From `source` to a server at 127.0.0.1 of its own.
Connection connect_from(const char* source) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  ::inet_pton(AF_INET, "127.0.0.1", &address.sin_addr);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  const UniqueFd listener(::socket(AF_INET, SOCK_STREAM, 0));
  EXPECT_EQ(::bind(listener.get(), generic, sizeof address), 0);
  EXPECT_EQ(::listen(listener.get(), 1), 0);
  socklen_t size = sizeof address;
  EXPECT_EQ(::getsockname(listener.get(), generic, &size), 0);
  Connection made;
  made.client.reset(::socket(AF_INET, SOCK_STREAM, 0));
  sockaddr_in own{};
  own.sin_family = AF_INET;
  ::inet_pton(AF_INET, source, &own.sin_addr);
  EXPECT_EQ(::bind(made.client.get(), reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  EXPECT_EQ(::connect(made.client.get(), generic, sizeof address), 0);
  made.server.reset(::accept(listener.get(), nullptr, nullptr));
  return made;
}

// Connected to port 9 of 127.0.0.1, where nobody is.
UniqueFd udp_from(const char* source) {
  UniqueFd made(::socket(AF_INET, SOCK_DGRAM, 0));
  sockaddr_in own{}, peer{};
  own.sin_family = peer.sin_family = AF_INET;
  peer.sin_port = htons(9);
  ::inet_pton(AF_INET, source, &own.sin_addr);
  ::inet_pton(AF_INET, "127.0.0.1", &peer.sin_addr);
  EXPECT_EQ(::bind(made.get(), reinterpret_cast<sockaddr*>(&own), sizeof own), 0);
  EXPECT_EQ(::connect(made.get(), reinterpret_cast<sockaddr*>(&peer), sizeof peer), 0);
  return made;
}

TEST_F(PodNetwork, IsHeldAndLetGoOnEveryInterface) {
  for (int again = 0; again < 2; ++again) {
    const Status held = hold_network(kHere, "10.8.0.2");
    ASSERT_TRUE(held.ok()) << held.error().message;
    EXPECT_THAT(output("tc qdisc show dev lo"), HasSubstr("blackhole"));
    EXPECT_THAT(output("tc qdisc show dev eth0"), HasSubstr("blackhole"));
    EXPECT_THAT(output("ip address show dev lo"), HasSubstr("10.8.0.2/32"));
  }
  for (int again = 0; again < 2; ++again) {
    const Status released = release_network(kHere, "10.8.0.2");
    ASSERT_TRUE(released.ok()) << released.error().message;
    EXPECT_THAT(output("tc qdisc show"), Not(HasSubstr("blackhole")));
    EXPECT_THAT(output("ip address"), Not(HasSubstr("10.8.0.2/")));
  }
}

TEST_F(PodNetwork, TakesAnOldAddressOfIPv6) {
  ASSERT_TRUE(hold_network(kHere, "fd00::2").ok());
  EXPECT_THAT(output("ip address show dev lo"), HasSubstr("fd00::2/128"));
  ASSERT_TRUE(release_network(kHere, "fd00::2").ok());
  EXPECT_THAT(output("ip address"), Not(HasSubstr("fd00::2")));
}

TEST_F(PodNetwork, AnAddressThatThePodHasKeptStays) {
  const Connection kept = connect_from("10.8.0.3");
  ASSERT_TRUE(hold_network(kHere, "10.8.0.3").ok());
  EXPECT_THAT(output("ip address show dev lo"), Not(HasSubstr("10.8.0.3")));
  ASSERT_TRUE(release_network(kHere, "10.8.0.3").ok());
  EXPECT_THAT(output("ip address show dev eth0"), HasSubstr("10.8.0.3/24"));
  EXPECT_EQ(::write(kept.client.get(), "x", 1), 1);
}

TEST_F(PodNetwork, AnInterfaceWithADisciplineOfSomebodysIsLeftToIt) {
  ASSERT_EQ(output("tc qdisc add dev eth0 root handle 5: pfifo limit 10"), "");
  ASSERT_TRUE(hold_network(kHere, "").ok());
  ASSERT_TRUE(release_network(kHere, "").ok());
  EXPECT_THAT(output("tc qdisc show dev eth0"), HasSubstr("pfifo 5:"));
}

TEST_F(PodNetwork, EndsConnectionsFromTheOldAddressOnly) {
  ASSERT_EQ(output("ip address add 10.8.0.2/32 dev lo"), "");
  const Connection old = connect_from("10.8.0.2");
  const Connection other = connect_from("127.0.0.1");
  const Status released = release_network(kHere, "10.8.0.2");
  ASSERT_TRUE(released.ok()) << released.error().message;
  char byte = 0;
  EXPECT_EQ(::recv(old.client.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, ECONNABORTED);
  EXPECT_EQ(::write(other.client.get(), "x", 1), 1);
  EXPECT_EQ(::recv(other.server.get(), &byte, 1, 0), 1);
  EXPECT_EQ(byte, 'x');
}

TEST_F(PodNetwork, EndsConnectedUdpSocketsFromTheOldAddressOnly) {
  ASSERT_EQ(output("ip address add 10.8.0.2/32 dev lo"), "");
  const UniqueFd old = udp_from("10.8.0.2"), other = udp_from("127.0.0.1");
  ASSERT_TRUE(release_network(kHere, "10.8.0.2").ok());
  char byte = 0;
  EXPECT_EQ(::recv(old.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, ECONNABORTED);
  EXPECT_EQ(::recv(other.get(), &byte, 1, MSG_DONTWAIT), -1);
  EXPECT_EQ(errno, EAGAIN);
}

TEST_F(PodNetwork, ThatIsNotThereIsAnError) {
  EXPECT_EQ(hold_network("/nowhere", "").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(release_network("/nowhere", "").error().code, ErrorCode::kNotFound);
}

TEST(OldAddress, IsFoundInTheFormOfAnIPv6SocketToo) {
  const OldAddress old("10.1.2.3");
  std::array<unsigned char, 16> address{10, 1, 2, 3};
  EXPECT_TRUE(old.is(AF_INET, address));
  EXPECT_FALSE(old.is(AF_INET6, address));
  std::array<unsigned char, 16> mapped{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 10, 1, 2, 3};
  EXPECT_TRUE(old.is(AF_INET6, mapped));
  mapped[15] = 4;
  EXPECT_FALSE(old.is(AF_INET6, mapped));
  address[0] = 11;
  EXPECT_FALSE(old.is(AF_INET, address));
}

}  // namespace
}  // namespace transship::runtime
