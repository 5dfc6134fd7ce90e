#include "mover/live_session.h"

#include <algorithm>

#include "base/log.h"

namespace transship::mover {
namespace {

using std::chrono::duration_cast;
using std::chrono::milliseconds;
using std::chrono::steady_clock;

transfer::Connect connect_to(const TransferConfig& config, const std::string& host) {
  return [config, host](const transfer::Until& until) {
    return transfer::tls_connect(host, config.data_port,
                                 tls_options(config, api::MoverRole::kReceiver), until);
  };
}

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
  std::vector<Counters> counters;
  for (OpenVolume& volume : volumes) {
    auto following = begin_sending(progress, volume, deadline);
    if (!following) return following.error();
    counters.push_back(std::move(following).value());
  }
  transfer::SessionOptions options;
  options.until = until_of(deadline);
  options.limiter = &progress.bandwidth;
  options.compression = compression;
  options.limits = held_limits(volumes);
  std::unique_ptr<LiveSession> session(
      new LiveSession(std::move(volumes), std::move(counters), config, host, options));
  TRANSSHIP_TRY(session->session_.begin());
  return session;
}

LiveSession::LiveSession(std::vector<OpenVolume> volumes, std::vector<Counters> counters,
                         const TransferConfig& config, const std::string& host,
                         const transfer::SessionOptions& options)
    : volumes_(std::move(volumes)),
      counters_(std::move(counters)),
      session_(connect_to(config, host), {config.migration_uid, config.epoch}, session_volumes(),
               options) {}

std::vector<transfer::SessionVolume> LiveSession::session_volumes() const {
  std::vector<transfer::SessionVolume> session;
  for (size_t i = 0; i < volumes_.size(); ++i) {
    session.push_back({volumes_[i].name, volumes_[i].directory.get(), *volumes_[i].totals,
                       counters_[i].get(), volumes_[i].projects, volumes_[i].overlay});
  }
  return session;
}

// A further task goes on with what an earlier one began.
Status LiveSession::wake(const Deadline& deadline, TaskProgress& progress) {
  if (!resting_) return {};
  resting_ = false;
  for (size_t i = 0; i < volumes_.size(); ++i) follow_sending(progress, volumes_[i], counters_[i]);
  report_rounds(progress);
  return session_.go_on(until_of(deadline), &progress.bandwidth);
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
    auto sent = session_.round();
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
  session_.pause();
  resting_ = true;
  return {};
}

Status LiveSession::finish(const Deadline& deadline, TaskProgress& progress) {
  TRANSSHIP_TRY(wake(deadline, progress));
  const auto began = steady_clock::now();
  transfer::RoundTotals sent;
  auto outcomes = session_.finish(&sent);
  if (!outcomes) return outcomes.error();
  rounds_.push_back({sent.bytes, sent.entries, since(began).count()});
  report_rounds(progress);
  for (const auto& outcome : *outcomes) report_done(progress, outcome.name, outcome.sent, nullptr);
  return {};
}

bool LiveSession::is_of(const std::vector<api::MoverVolume>& volumes) const {
  return std::equal(volumes.begin(), volumes.end(), volumes_.begin(), volumes_.end(),
                    [](const api::MoverVolume& wanted, const OpenVolume& open) {
                      return wanted.name == open.name;
                    });
}

}  // namespace transship::mover
