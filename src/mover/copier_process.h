// CopierProcess: a copier as its mover has it: a process of its own, in the sandbox
// (docs/adr/0013-copiers.md), that does one thing at a time. Used by one thread at a time.
#pragma once

#include <sys/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "mover/copier_channel.h"
#include "mover/mount_view.h"
#include "transfer/rate_limiter.h"
#include "transfer/tls_credentials.h"
#include "transfer/until.h"

namespace transship::mover {

struct CopierConfig {
  VolumeAccess access = VolumeAccess::kRead;
  transfer::TlsCredentials tls = {};  // of one that speaks to a peer
  bool confined = true;               // false: it may do all that its mover may
};

class CopierProcess {
 public:
  // Starts this program anew as a copier, and waits until that one is in its sandbox.
  // kPreconditionFailed says what the machine does not allow.
  static Result<std::unique_ptr<CopierProcess>> start(const CopierConfig& config);
  // Ends it, and waits until it is gone: then it holds no volume any more. One that hangs in its
  // storage is not waited for longer than ten seconds; it ends as soon as that lets it.
  ~CopierProcess();
  CopierProcess(const CopierProcess&) = delete;
  CopierProcess& operator=(const CopierProcess&) = delete;

  // Says something that has no answer.
  Status tell(const nlohmann::json& body, const std::vector<int>& descriptors = {}) const;

  // Has it do something and waits for the answer, which may be its error. It is told when `until`
  // asks to stop, and each new rate of `limiter` (may be null). kTimeout, kCancelled where it does
  // not even answer then: its storage hangs.
  Result<nlohmann::json> call(const nlohmann::json& body, const transfer::Until& until,
                              const transfer::RateLimiter* limiter = nullptr,
                              const std::vector<int>& descriptors = {});

  [[nodiscard]] pid_t pid() const { return pid_; }

 private:
  CopierProcess(pid_t pid, UniqueFd socket, UniqueFd log);
  Result<nlohmann::json> answer(const transfer::Until& until, const transfer::RateLimiter* limiter);
  Status tell_rate(const transfer::RateLimiter* limiter);
  [[nodiscard]] Error ended() const;

  pid_t pid_;
  CopierChannel channel_;
  int64_t rate_ = 0;  // as told
  // Brings its log to ours: one that hangs has nothing of our callers' open.
  std::jthread relay_;
};

}  // namespace transship::mover
