// Copier: what a mover has its copier do with volumes. Directories are handed over as views
// (mount_view.h); the copier's are gone with it. Used by one thread at a time.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "mover/copier_process.h"
#include "mover/shared_counters.h"
#include "transfer/round_sender.h"
#include "transfer/session.h"

namespace transship::mover {

struct CopierVolume {
  std::string name;
  int view = -1;
  transfer::TreeTotals announced = {};  // sending a session only
  bool projects = true;
  bool overlay = false;  // the upper directory of an overlay mount
};

// Whom a session is with.
struct CopierPeer {
  transfer::SessionIdentity identity;
  std::string name;  // in its certificate
  std::string host;  // sending only
  uint16_t port = 0;
};

class Copier {
 public:
  static Result<std::unique_ptr<Copier>> start(const CopierConfig& config);

  Result<transfer::TreeTotals> scan(int view, bool overlay, const transfer::Until& until);

  // A sender's session (transfer/send_session.h), by the same names.
  Status begin(const CopierPeer& peer, const std::vector<CopierVolume>& volumes,
               const SharedCounters& counters, const transfer::SessionOptions& options);
  Result<transfer::RoundTotals> round();
  Status pause();
  Status go_on(const transfer::Until& until, const transfer::RateLimiter* limiter);
  struct Finished {
    std::vector<transfer::VolumeOutcome> outcomes;
    transfer::RoundTotals last;
    double sent_seconds = 0;  // until all was handed over
  };
  Result<Finished> finish();

  // A receiver's (transfer/session.h): listens first, at a port of its choice where `port` is 0.
  Result<uint16_t> listen(const std::string& address, uint16_t port, const std::string& peer_name,
                          const transfer::Until& until);
  // Of the options: until, resume and unannounced.
  Result<std::vector<transfer::VolumeOutcome>> receive(const transfer::SessionIdentity& identity,
                                                       const std::vector<CopierVolume>& volumes,
                                                       const SharedCounters& counters,
                                                       const transfer::SessionOptions& options);

  // Archive files in the directory `archive` (transfer/archive.h), one by one, of the volumes that
  // were handed over; reading verifies, too.
  Status hand_over(const std::vector<CopierVolume>& volumes, const SharedCounters& counters);
  Result<transfer::Summary> write_archive(int archive, size_t volume, const transfer::Until& until,
                                          const transfer::RateLimiter* limiter);
  Result<transfer::VolumeOutcome> read_archive(int archive, size_t volume,
                                               const transfer::Until& until);

  // A tar to or from a descriptor, which is called `name` in messages.
  Result<transfer::Summary> write_tar(int view, int to, const std::string& name);
  Result<transfer::Summary> read_tar(int from, const std::string& name, int view);

  [[nodiscard]] pid_t pid() const { return process_->pid(); }

 private:
  Copier(std::unique_ptr<CopierProcess> process, transfer::TlsCredentials tls)
      : process_(std::move(process)), tls_(std::move(tls)) {}
  Result<nlohmann::json> call(nlohmann::json body, const std::vector<int>& descriptors = {});
  // The call is, from now on, until then.
  Result<nlohmann::json> call_until(nlohmann::json body, const transfer::Until& until,
                                    const transfer::RateLimiter* limiter = nullptr,
                                    const std::vector<int>& descriptors = {});

  std::unique_ptr<CopierProcess> process_;
  const transfer::TlsCredentials tls_;
  transfer::Until until_;
  const transfer::RateLimiter* limiter_ = nullptr;
};

}  // namespace transship::mover
