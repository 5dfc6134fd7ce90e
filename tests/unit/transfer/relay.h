// Relay: between two ends of a session, with the certificates of both, so that it has in plain what
// they say; at one byte of it something happens.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "base/unique_fd.h"
#include "transfer/tls.h"

namespace transship::transfer {

class Relay {
 public:
  enum class From { kSender, kReceiver };
  enum class Act {
    kNothing,
    kFlip,   // the bit `bit` of the byte is turned
    kClose,  // both ends get close_notify in place of it
    kCut,    // both connections are gone
    kStall,  // nothing goes on any more
    kCall,   // `call` is run, then it goes on
  };
  struct Plan {
    Act act = Act::kNothing;
    From from = From::kSender;
    size_t at = 0;          // bytes of what that end says, that went on before
    std::string text = {};  // not empty: where this ends instead, the first time it is said
    unsigned bit = 0;
    std::function<void()> call = {};
  };

  // `directory` has "sender" and "receiver" with their certificates; `to` is the receiver's port.
  Relay(const std::string& directory, uint16_t to, Plan plan);
  ~Relay();  // both connections are gone
  Relay(const Relay&) = delete;
  Relay& operator=(const Relay&) = delete;

  uint16_t port = 0;                 // for the sender
  std::atomic<size_t> said[2] = {};  // bytes by the sender, by the receiver
  std::atomic<bool> acted = false;

 private:
  struct End;
  void run(uint16_t to);
  bool forward(End& end, End& other, From from);
  bool act(End& end, End& other, char* bytes, size_t size);
  void wait_for_the_end();

  const std::string directory_;
  const Plan plan_;
  UniqueFd listener_;
  UniqueFd ended_;  // an eventfd: the destructor runs
  std::jthread thread_;
};

}  // namespace transship::transfer
