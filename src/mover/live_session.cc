#include "mover/live_session.h"

#include <algorithm>

#include "base/log.h"

namespace transship::mover {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

// A receiver can have about what was sent to it, and no more.
transfer::ReceiveLimits held_limits(const std::vector<OpenVolume>& volumes) {
  int64_t entries = 1'000'000;
  for (const OpenVolume& volume : volumes) entries += 4 * volume.totals->entries;
  transfer::ReceiveLimits limits;
  limits.entries = std::min(limits.entries, entries);
  limits.held_bytes = (int64_t{1} << 30) + (entries << 12);
  return limits;
}

milliseconds since(steady_clock::time_point began) {
  return duration_cast<milliseconds>(steady_clock::now() - began);
}

}  // namespace

Result<std::unique_ptr<LiveSession>> LiveSession::open(
    const TransferConfig& config, const std::string& host, transfer::Compression compression,
    std::vector<OpenVolume> volumes, const Deadline& deadline, TaskProgress& progress) {
  auto tls = transfer::read_tls_credentials(config.tls_directory);
  if (!tls) return tls.error();
  auto copier = Copier::start({VolumeAccess::kRead, std::move(tls).value()});
  if (!copier) return copier.error();
  auto counters = SharedCounters::make(volumes.size());
  if (!counters) return counters.error();
  std::unique_ptr<LiveSession> session(
      new LiveSession(std::move(copier).value(), std::move(volumes), std::move(counters).value()));
  transfer::SessionOptions options;
  options.compression = compression;
  const CopierPeer peer{
      {config.migration_uid, config.epoch},
      api::mover_name(config.migration_uid, api::MoverRole::kReceiver, config.epoch),
      host,
      config.data_port};
  TRANSSHIP_TRY(session->begin(peer, std::move(options), deadline, progress));
  return session;
}

LiveSession::LiveSession(std::unique_ptr<Copier> copier, std::vector<OpenVolume> volumes,
                         SharedCounters counters)
    : copier_(std::move(copier)), volumes_(std::move(volumes)), counters_(std::move(counters)) {}

Status LiveSession::begin(const CopierPeer& peer, transfer::SessionOptions options,
                          const Deadline& deadline, TaskProgress& progress) {
  std::vector<CopierVolume> handed;
  for (size_t i = 0; i < volumes_.size(); ++i) {
    OpenVolume& volume = volumes_[i];
    TRANSSHIP_TRY(count(*copier_, volume, deadline));
    follow_sending(progress, volume, counters_.at(i));
    handed.push_back(
        {volume.name, volume.directory.get(), *volume.totals, volume.projects, volume.overlay});
  }
  options.until = until_of(deadline);
  options.limiter = &progress.bandwidth;
  options.limits = held_limits(volumes_);
  const Status begun = copier_->begin(peer, handed, counters_, options);
  for (OpenVolume& volume : volumes_) volume.directory.reset();
  return begun;
}

// A further task goes on with what an earlier one began.
Status LiveSession::wake(const Deadline& deadline, TaskProgress& progress) {
  if (!resting_) return {};
  resting_ = false;
  for (size_t i = 0; i < volumes_.size(); ++i)
    follow_sending(progress, volumes_[i], counters_.at(i));
  report_rounds(progress);
  return copier_->go_on(until_of(deadline), &progress.bandwidth);
}

void LiveSession::report_rounds(TaskProgress& progress) const {
  progress.set_rounds(rounds_, estimated_final_);
}

Status LiveSession::send_rounds(const transfer::RoundLimits& limits, const Deadline& deadline,
                                TaskProgress& progress) {
  TRANSSHIP_TRY(wake(deadline, progress));
  transfer::RoundForecast forecast;
  do {
    const auto began = steady_clock::now();
    auto sent = copier_->round();
    if (!sent) return sent.error();
    const milliseconds took = since(began);
    times_.push_back({began, took, duration_cast<milliseconds>(sent->looked), sent->bytes});
    rounds_.push_back({sent->bytes, sent->entries, took.count()});
    forecast = transfer::forecast(times_, limits);
    estimated_final_ = forecast.final_round.count();
    report_rounds(progress);
    log::info("round", {{"number", std::to_string(rounds_.size())},
                        {"bytes", std::to_string(sent->bytes)},
                        {"entries", std::to_string(sent->entries)},
                        {"milliseconds", std::to_string(took.count())},
                        {"estimatedFinalMilliseconds", std::to_string(estimated_final_)}});
  } while (forecast.another);
  TRANSSHIP_TRY(copier_->pause());
  resting_ = true;
  return {};
}

Status LiveSession::finish(const Deadline& deadline, TaskProgress& progress) {
  TRANSSHIP_TRY(wake(deadline, progress));
  const auto began = steady_clock::now();
  auto finished = copier_->finish();
  if (!finished) return finished.error();
  rounds_.push_back({finished->last.bytes, finished->last.entries, since(began).count()});
  report_rounds(progress);
  for (const auto& outcome : finished->outcomes)
    report_done(progress, outcome.name, outcome.sent, nullptr);
  return {};
}

bool LiveSession::is_of(const std::vector<api::MoverVolume>& volumes) const {
  return std::equal(volumes.begin(), volumes.end(), volumes_.begin(), volumes_.end(),
                    [](const api::MoverVolume& wanted, const OpenVolume& open) {
                      return wanted.name == open.name;
                    });
}

}  // namespace transship::mover
