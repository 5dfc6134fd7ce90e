#include "mover/volume_reports.h"

#include <algorithm>

namespace transship::mover {

using api::VolumeReport;

Status count(Copier& copier, OpenVolume& volume, const Deadline& deadline) {
  if (volume.totals) return {};
  auto counted = copier.scan(volume.directory.get(), until_of(deadline));
  if (!counted) return counted.error().during("scan volume " + volume.name);
  volume.totals = *counted;
  return {};
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

void follow_receiving(TaskProgress& progress, const std::string& name, const Counters& counters) {
  VolumeReport report;
  report.name = name;
  progress.set(report, [counters](VolumeReport& live) {
    live.bytes = counters->announced_bytes;
    live.entries = counters->announced_entries;
    live.bytes_done = counters->bytes;
    live.entries_done = counters->entries;
  });
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
