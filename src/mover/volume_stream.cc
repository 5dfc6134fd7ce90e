#include "mover/volume_stream.h"

#include <fcntl.h>

#include <cerrno>
#include <memory>
#include <optional>

#include "mover/node.h"
#include "mover/volume_reports.h"
#include "transfer/archive.h"
#include "transfer/session.h"
#include "transfer/tls.h"
#include "transfer/tree.h"

namespace transship::mover {
namespace {

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
    options.projects = volumes[i].projects;
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
  std::vector<transfer::SessionVolume> session;
  for (size_t i = 0; i < volumes.size(); ++i) {
    session.push_back({volumes[i].name,
                       volumes[i].directory.get(),
                       {},
                       counters[i].get(),
                       volumes[i].projects,
                       volumes[i].overlay});
  }
  transfer::SessionOptions options;
  options.until = until_of(deadline);
  options.resume = true;
  auto outcomes =
      transfer::receive_session(*listener, {config.migration_uid, config.epoch}, session, options);
  if (!outcomes) return outcomes.error();
  for (const auto& outcome : *outcomes) {
    report_done(progress, outcome.name, outcome.sent, &outcome.verified);
  }
  return {};
}

}  // namespace

Result<VolumeReport> scan_volume(const std::string& name, int directory, bool overlay,
                                 const Deadline& deadline) {
  auto totals = transfer::scan_tree(
      directory, until_of(deadline),
      overlay ? transfer::XattrScope::kUpperDirectory : transfer::XattrScope::kVolume);
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
  std::vector<Counters> counters;
  for (OpenVolume& volume : volumes) {
    auto following = begin_sending(progress, volume, deadline);
    if (!following) return following.error();
    counters.push_back(std::move(following).value());
  }
  auto directory = archive_directory(config, request.archive_directory, /*make=*/true);
  if (!directory) return directory.error();
  for (size_t i = 0; i < volumes.size(); ++i) {
    const transfer::SendOptions options{until_of(deadline), counters[i].get(), &progress.bandwidth,
                                        volumes[i].projects};
    auto sent = transfer::write_archive(directory->get(), volumes[i].name,
                                        volumes[i].directory.get(), options);
    if (!sent) return sent.error().during("archive volume " + volumes[i].name);
    report_done(progress, volumes[i].name, *sent, nullptr);
  }
  return {};
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
