#include "mover/volume_stream.h"

#include <fcntl.h>

#include <cerrno>
#include <memory>
#include <optional>

#include "base/log.h"
#include "mover/node.h"
#include "transfer/archive.h"
#include "transfer/session.h"
#include "transfer/tls.h"
#include "transfer/tree.h"

namespace transship::mover {
namespace {

using api::MoverRole;
using api::TaskRequest;
using api::VolumeReport;

constexpr std::chrono::seconds kConnectPatience{30};
constexpr std::chrono::milliseconds kConnectPause{200};

transfer::Until until_of(const Deadline& deadline) { return {deadline.stop(), deadline.end()}; }

// The engine's counters of one volume, and how a report shows them while the task runs.
using Counters = std::shared_ptr<transfer::Progress>;

Counters follow_sending(TaskProgress& progress, const std::string& name,
                        const transfer::TreeTotals& totals) {
  auto counters = std::make_shared<transfer::Progress>();
  VolumeReport report;
  report.name = name;
  report.bytes = totals.bytes;
  report.entries = totals.entries;
  progress.set(report, [counters](VolumeReport& live) {
    live.bytes_done = counters->bytes;
    live.entries_done = counters->entries;
  });
  return counters;
}

Counters follow_receiving(TaskProgress& progress, const std::string& name) {
  auto counters = std::make_shared<transfer::Progress>();
  VolumeReport report;
  report.name = name;
  progress.set(report, [counters](VolumeReport& live) {
    live.bytes = counters->announced_bytes;
    live.entries = counters->announced_entries;
    live.bytes_done = counters->bytes;
    live.entries_done = counters->entries;
  });
  return counters;
}

// A volume that is over: `verified` is null for a sender.
void report_done(TaskProgress& progress, const std::string& name, const transfer::Summary& sent,
                 const transfer::Summary* verified) {
  VolumeReport report;
  report.name = name;
  report.bytes = report.bytes_done = sent.totals.bytes;
  report.entries = report.entries_done = sent.totals.entries;
  report.digest = sent.digest;
  if (verified) report.verified_digest = verified->digest;
  progress.set(std::move(report));
}

transfer::TlsOptions tls_options(const TransferConfig& config, MoverRole peer) {
  transfer::TlsOptions options;
  options.directory = config.tls_directory;
  options.expected_name = api::mover_name(config.migration_uid, peer, config.epoch);
  return options;
}

// The receiver's task may be accepted a moment after ours: nobody listening is no failure yet.
Result<std::unique_ptr<transfer::TlsStream>> connect(const TransferConfig& config,
                                                     const std::string& host,
                                                     const Deadline& deadline) {
  const Deadline patience = deadline.at_most(kConnectPatience);
  for (;;) {
    auto stream = transfer::tls_connect(
        host, config.data_port, tls_options(config, MoverRole::kReceiver), until_of(deadline));
    if (stream || stream.error().code != ErrorCode::kUnavailable) return stream;
    if (!patience.wait(kConnectPause, "connect to the receiver").ok()) {
      TRANSSHIP_TRY(deadline.check("connect to the receiver"));
      return stream;
    }
  }
}

// Where the volumes' archive files are, "a/b" beneath the mounted claim.
Result<UniqueFd> archive_directory(const TransferConfig& config, const std::string& path,
                                   bool make) {
  if (config.archive_root.empty()) {
    return Error{ErrorCode::kPreconditionFailed, "no archive claim is mounted (--archive-root)"};
  }
  const UniqueFd root(::open(config.archive_root.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!root.valid()) return errno_error("open " + config.archive_root, errno);
  return make ? make_beneath(root.get(), path)
              : open_beneath(root.get(), path, /*cross_mounts=*/false);
}

struct Outgoing {
  transfer::TreeTotals totals;
  Counters counters;
};

Status write_archives(const TransferConfig& config, const TaskRequest& request,
                      const std::vector<OpenVolume>& volumes, const std::vector<Outgoing>& outgoing,
                      transfer::RateLimiter* limiter, const Deadline& deadline,
                      TaskProgress& progress) {
  auto directory = archive_directory(config, request.archive_directory, /*make=*/true);
  if (!directory) return directory.error();
  for (size_t i = 0; i < volumes.size(); ++i) {
    const transfer::SendOptions options{until_of(deadline), outgoing[i].counters.get(), limiter};
    auto sent = transfer::write_archive(directory->get(), volumes[i].name,
                                        volumes[i].directory.get(), options);
    if (!sent) return sent.error().during("archive volume " + volumes[i].name);
    report_done(progress, volumes[i].name, *sent, nullptr);
  }
  return {};
}

Status send_direct(const TransferConfig& config, const TaskRequest& request,
                   const std::vector<OpenVolume>& volumes, const std::vector<Outgoing>& outgoing,
                   transfer::RateLimiter* limiter, const Deadline& deadline,
                   TaskProgress& progress) {
  auto stream = connect(config, request.peer_host, deadline);
  if (!stream) return stream.error();
  std::vector<transfer::SessionVolume> session;
  for (size_t i = 0; i < volumes.size(); ++i) {
    session.push_back({volumes[i].name, volumes[i].directory.get(), outgoing[i].totals,
                       outgoing[i].counters.get()});
  }
  transfer::SessionOptions options;
  options.until = until_of(deadline);
  options.limiter = limiter;
  auto outcomes =
      transfer::send_session(**stream, {config.migration_uid, config.epoch}, session, options);
  if (!outcomes) return outcomes.error();
  for (const auto& outcome : *outcomes) report_done(progress, outcome.name, outcome.sent, nullptr);
  return {};
}

Status read_archives(const TransferConfig& config, const TaskRequest& request,
                     const std::vector<OpenVolume>& volumes, const std::vector<Counters>& counters,
                     const Deadline& deadline, TaskProgress& progress) {
  auto directory = archive_directory(config, request.archive_directory, /*make=*/false);
  if (!directory) return directory.error();
  for (size_t i = 0; i < volumes.size(); ++i) {
    const std::string& name = volumes[i].name;
    const UniqueFd& volume = volumes[i].directory;
    transfer::ReceiveOptions options;
    options.until = until_of(deadline);
    options.progress = counters[i].get();
    auto received = transfer::read_archive(directory->get(), name, volume.get(), options);
    if (!received) return received.error().during("extract volume " + name);
    auto verified =
        transfer::verify_tree(volume.get(), received->manifest, options.until, counters[i].get());
    if (!verified) return verified.error().during("verify volume " + name);
    report_done(progress, name, received->summary, &*verified);
  }
  return {};
}

Status receive_direct(const TransferConfig& config, const std::vector<OpenVolume>& volumes,
                      const std::vector<Counters>& counters, const Deadline& deadline,
                      TaskProgress& progress) {
  auto listener = transfer::TlsListener::listen(config.listen_address, config.data_port,
                                                tls_options(config, MoverRole::kSender));
  if (!listener) return listener.error();
  auto stream = listener->accept(until_of(deadline));
  if (!stream) return stream.error();
  log::info("sender connected", {{"peer", (*stream)->peer()}});
  std::vector<transfer::SessionVolume> session;
  for (size_t i = 0; i < volumes.size(); ++i) {
    session.push_back({volumes[i].name, volumes[i].directory.get(), {}, counters[i].get()});
  }
  transfer::SessionOptions options;
  options.until = until_of(deadline);
  auto outcomes =
      transfer::receive_session(**stream, {config.migration_uid, config.epoch}, session, options);
  if (!outcomes) return outcomes.error();
  for (const auto& outcome : *outcomes) {
    report_done(progress, outcome.name, outcome.sent, &outcome.verified);
  }
  return {};
}

}  // namespace

Result<VolumeReport> scan_volume(const std::string& name, int directory, const Deadline& deadline) {
  auto totals = transfer::scan_tree(directory, until_of(deadline));
  if (!totals) return totals.error();
  VolumeReport report;
  report.name = name;
  report.bytes = totals->bytes;
  report.entries = totals->entries;
  return report;
}

Status send_volumes(const TransferConfig& config, const TaskRequest& request,
                    const std::vector<OpenVolume>& volumes, const Deadline& deadline,
                    TaskProgress& progress) {
  std::vector<Outgoing> outgoing;
  for (const OpenVolume& volume : volumes) {
    transfer::TreeTotals totals = volume.totals.value_or(transfer::TreeTotals{});
    if (!volume.totals) {
      auto counted = transfer::scan_tree(volume.directory.get(), until_of(deadline));
      if (!counted) return counted.error().during("scan volume " + volume.name);
      totals = *counted;
    }
    outgoing.push_back({totals, follow_sending(progress, volume.name, totals)});
  }
  transfer::RateLimiter* limit = &progress.bandwidth;
  return request.archive_directory.empty()
             ? send_direct(config, request, volumes, outgoing, limit, deadline, progress)
             : write_archives(config, request, volumes, outgoing, limit, deadline, progress);
}

Status receive_volumes(const TransferConfig& config, const TaskRequest& request,
                       const std::vector<OpenVolume>& volumes, const Deadline& deadline,
                       TaskProgress& progress) {
  std::vector<Counters> counters;
  counters.reserve(volumes.size());
  for (const OpenVolume& volume : volumes) {
    counters.push_back(follow_receiving(progress, volume.name));
  }
  return request.archive_directory.empty()
             ? receive_direct(config, volumes, counters, deadline, progress)
             : read_archives(config, request, volumes, counters, deadline, progress);
}

}  // namespace transship::mover
