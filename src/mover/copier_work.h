// CopierWork: what a copier does for its mover, by the engine (src/transfer). Used by one thread.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "mover/shared_counters.h"
#include "transfer/rate_limiter.h"
#include "transfer/send_session.h"

namespace transship::mover {

// A volume that it was handed.
struct HandedVolume {
  std::string name;
  UniqueFd view;
  transfer::TreeTotals announced;
  bool projects = true;
  bool overlay = false;
};

struct CopierJob {
  nlohmann::json body;
  std::vector<UniqueFd> descriptors{};
  // Those that came before it; the counters where any did.
  std::vector<HandedVolume> volumes{};
  std::optional<SharedCounters> counters{};
  transfer::Until until{};
};

class CopierWork {
 public:
  // `limiter` must outlive it.
  explicit CopierWork(transfer::RateLimiter& limiter) : limiter_(limiter) {}

  // The answer. Never throws: a body without its form is an error.
  Result<nlohmann::json> run(CopierJob job);

 private:
  Result<nlohmann::json> run_known(const std::string& what, CopierJob& job);
  Result<nlohmann::json> begin(const CopierJob& job);
  Result<nlohmann::json> round();
  Result<nlohmann::json> finish();
  Result<nlohmann::json> listen(const nlohmann::json& body);
  Result<nlohmann::json> receive(const CopierJob& job);
  Result<nlohmann::json> write_archive(const CopierJob& job);
  Result<nlohmann::json> read_archive(const CopierJob& job);
  Result<nlohmann::json> write_tar(const CopierJob& job);
  Result<nlohmann::json> read_tar(const CopierJob& job);
  [[nodiscard]] std::vector<transfer::SessionVolume> session_volumes() const;

  transfer::RateLimiter& limiter_;
  std::vector<HandedVolume> volumes_;
  std::vector<Counters> counters_;
  std::optional<transfer::TlsListener> listener_;
  std::optional<transfer::Until::Clock::time_point> sent_;
  std::optional<transfer::SendSession> session_;  // last: it uses the others
};

}  // namespace transship::mover
