#include "mover/volume_stream.h"

#include <fcntl.h>

#include <cerrno>

#include "mover/copier.h"
#include "mover/node.h"
#include "mover/volume_reports.h"

namespace transship::mover {
namespace {

static_assert(transfer::ReceiveLimits().entries == api::kMostEntries);

using api::MoverRole;
using api::TaskRequest;
using api::VolumeReport;

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

std::vector<CopierVolume> handed(const std::vector<OpenVolume>& volumes) {
  std::vector<CopierVolume> all;
  for (const OpenVolume& volume : volumes)
    all.push_back({volume.name, volume.directory.get(), {}, volume.projects, volume.overlay});
  return all;
}

Status read_archives(const TransferConfig& config, const TaskRequest& request, Copier& copier,
                     const std::vector<OpenVolume>& volumes, const SharedCounters& counters,
                     const Deadline& deadline, TaskProgress& progress) {
  auto directory = archive_directory(config, request.archive_directory, /*make=*/false);
  if (!directory) return directory.error();
  auto view = clone_mount(directory->get(), "the archive", volume_view(VolumeAccess::kRead));
  if (!view) return view.error();
  TRANSSHIP_TRY(copier.hand_over(handed(volumes), counters));
  for (size_t i = 0; i < volumes.size(); ++i) {
    auto outcome = copier.read_archive(view->get(), i, until_of(deadline));
    if (!outcome) return outcome.error();
    report_done(progress, volumes[i].name, outcome->sent, &outcome->verified);
  }
  return {};
}

Status receive_direct(const TransferConfig& config, Copier& copier,
                      const std::vector<OpenVolume>& volumes, const SharedCounters& counters,
                      const Deadline& deadline, TaskProgress& progress) {
  const transfer::Until until = until_of(deadline);
  const std::string sender =
      api::mover_name(config.migration_uid, MoverRole::kSender, config.epoch);
  auto port = copier.listen(config.listen_address, config.data_port, sender, until);
  if (!port) return port.error();
  transfer::SessionOptions options;
  options.until = until;
  options.resume = true;
  options.unannounced = 1'000'000;
  auto outcomes =
      copier.receive({config.migration_uid, config.epoch}, handed(volumes), counters, options);
  if (!outcomes) return outcomes.error();
  for (const auto& outcome : *outcomes) {
    report_done(progress, outcome.name, outcome.sent, &outcome.verified);
  }
  return {};
}

}  // namespace

Result<VolumeReport> scan_volume(const std::string& name, int view, bool overlay,
                                 const Deadline& deadline) {
  auto copier = Copier::start({});
  if (!copier) return copier.error();
  auto totals = (*copier)->scan(view, overlay, until_of(deadline));
  if (!totals) return totals.error();
  VolumeReport report;
  report.name = name;
  report.bytes = totals->bytes;
  report.entries = totals->entries;
  return report;
}

Status archive_volumes(const TransferConfig& config, const TaskRequest& request,
                       std::vector<OpenVolume> volumes, const Deadline& deadline,
                       TaskProgress& progress) {
  auto directory = archive_directory(config, request.archive_directory, /*make=*/true);
  if (!directory) return directory.error();
  auto view = clone_mount(directory->get(), "the archive", volume_view(VolumeAccess::kWrite));
  if (!view) return view.error();
  auto copier = Copier::start({});
  if (!copier) return copier.error();
  auto counters = SharedCounters::make(volumes.size());
  if (!counters) return counters.error();
  for (size_t i = 0; i < volumes.size(); ++i) {
    TRANSSHIP_TRY(count(**copier, volumes[i], deadline));
    follow_sending(progress, volumes[i], counters->at(i));
  }
  TRANSSHIP_TRY((*copier)->hand_over(handed(volumes), *counters));
  for (size_t i = 0; i < volumes.size(); ++i) {
    auto sent = (*copier)->write_archive(view->get(), i, until_of(deadline), &progress.bandwidth);
    if (!sent) return sent.error().during("archive volume " + volumes[i].name);
    report_done(progress, volumes[i].name, *sent, nullptr);
  }
  return {};
}

Status receive_volumes(const TransferConfig& config, const TaskRequest& request,
                       const std::vector<OpenVolume>& volumes, const Deadline& deadline,
                       TaskProgress& progress) {
  auto counters = SharedCounters::make(volumes.size());
  if (!counters) return counters.error();
  for (size_t i = 0; i < volumes.size(); ++i)
    follow_receiving(progress, volumes[i].name, counters->at(i));
  const bool direct = request.archive_directory.empty();
  Result<transfer::TlsCredentials> tls = transfer::TlsCredentials();
  if (direct) tls = transfer::read_tls_credentials(config.tls_directory);
  if (!tls) return tls.error();
  auto copier = Copier::start({VolumeAccess::kWrite, std::move(tls).value()});
  if (!copier) return copier.error();
  return direct ? receive_direct(config, **copier, volumes, *counters, deadline, progress)
                : read_archives(config, request, **copier, volumes, *counters, deadline, progress);
}

}  // namespace transship::mover
