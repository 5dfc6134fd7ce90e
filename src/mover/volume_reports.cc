#include "mover/volume_reports.h"

#include <algorithm>

namespace transship::mover {

using api::VolumeReport;

Result<Counters> begin_sending(TaskProgress& progress, OpenVolume& volume,
                               const Deadline& deadline) {
  if (!volume.totals) {
    auto counted = transfer::scan_tree(volume.directory.get(), until_of(deadline));
    if (!counted) return counted.error().during("scan volume " + volume.name);
    volume.totals = *counted;
  }
  auto counters = std::make_shared<transfer::Progress>();
  follow_sending(progress, volume, counters);
  return counters;
}

void follow_sending(TaskProgress& progress, const OpenVolume& volume, const Counters& counters) {
  VolumeReport report;
  report.name = volume.name;
  report.bytes = volume.totals->bytes;
  report.entries = volume.totals->entries;
  progress.set(report, [counters](VolumeReport& live) {
    live.bytes_done = std::min<int64_t>(live.bytes, counters->bytes);
    live.entries_done = std::min<int64_t>(live.entries, counters->entries);
  });
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

}  // namespace transship::mover
