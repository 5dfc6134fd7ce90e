#include "mover/copier.h"

#include "mover/copier_messages.h"

namespace transship::mover {
namespace {

using nlohmann::json;
using transfer::Summary;
using transfer::Until;
using transfer::VolumeOutcome;

json identity_value(const transfer::SessionIdentity& identity) {
  return {{"migrationUid", identity.migration_uid}, {"epoch", identity.epoch}};
}

json limits_value(const transfer::ReceiveLimits& limits) {
  return {{"bytes", limits.bytes}, {"entries", limits.entries}, {"heldBytes", limits.held_bytes}};
}

json tls_value(const transfer::TlsCredentials& tls) {
  return {{"ca", tls.ca}, {"certificate", tls.certificate}, {"key", tls.key}, {"from", tls.from}};
}

// The answer's member, as `read` has it.
template <typename Read>
auto member(const Result<json>& answer, const char* name, Read read)
    -> decltype(read(std::declval<const json&>())) {
  if (!answer) return answer.error();
  const auto found = answer->find(name);
  if (found != answer->end()) return read(*found);
  return Error{ErrorCode::kCorrupt, std::string("the copier's answer has no ") + name};
}

Status status_of(const Result<json>& answer) { return answer ? Status() : answer.error(); }

}  // namespace

Result<std::unique_ptr<Copier>> Copier::start(const CopierConfig& config) {
  auto process = CopierProcess::start(config);
  if (!process) return process.error();
  return std::unique_ptr<Copier>(new Copier(std::move(process).value(), config.tls));
}

Result<json> Copier::call(json body, const std::vector<int>& descriptors) {
  return process_->call(body, until_, limiter_, descriptors);
}

Result<json> Copier::call_until(json body, const Until& until, const transfer::RateLimiter* limiter,
                                const std::vector<int>& descriptors) {
  until_ = until;
  limiter_ = limiter;
  body["end"] = to_value(until.end);
  return call(std::move(body), descriptors);
}

// One by one: a message can have few descriptors.
Status Copier::hand_over(const std::vector<CopierVolume>& volumes, const SharedCounters& counters) {
  TRANSSHIP_TRY(process_->tell({{"counters", volumes.size()}}, {counters.descriptor()}));
  for (const CopierVolume& volume : volumes) {
    TRANSSHIP_TRY(process_->tell({{"volume", volume.name},
                                  {"announced", to_value(volume.announced)},
                                  {"projects", volume.projects},
                                  {"overlay", volume.overlay}},
                                 {volume.view}));
  }
  return {};
}

Result<transfer::TreeTotals> Copier::scan(int view, bool overlay, const Until& until) {
  return member(call_until({{"do", "scan"}, {"overlay", overlay}}, until, nullptr, {view}),
                "totals", totals_of);
}

Status Copier::begin(const CopierPeer& peer, const std::vector<CopierVolume>& volumes,
                     const SharedCounters& counters, const transfer::SessionOptions& options) {
  TRANSSHIP_TRY(hand_over(volumes, counters));
  json body = {{"do", "begin"},
               {"identity", identity_value(peer.identity)},
               {"peerName", peer.name},
               {"tls", tls_value(tls_)},
               {"host", peer.host},
               {"port", peer.port},
               {"compression", static_cast<int>(options.compression)},
               {"limits", limits_value(options.limits)}};
  return status_of(call_until(std::move(body), options.until, options.limiter));
}

Result<transfer::RoundTotals> Copier::round() {
  return member(call({{"do", "round"}}), "totals", round_of);
}

Status Copier::pause() { return status_of(call({{"do", "pause"}})); }

Status Copier::go_on(const Until& until, const transfer::RateLimiter* limiter) {
  return status_of(call_until({{"do", "goOn"}}, until, limiter));
}

Result<Copier::Finished> Copier::finish() {
  const auto answer = call({{"do", "finish"}});
  auto outcomes = member(answer, "outcomes", outcomes_of);
  if (!outcomes) return outcomes.error();
  auto last = member(answer, "totals", round_of);
  if (!last) return last.error();
  return Finished{std::move(outcomes).value(), *last, answer->value("sentSeconds", 0.0)};
}

Result<uint16_t> Copier::listen(const std::string& address, uint16_t port,
                                const std::string& peer_name, const Until& until) {
  json body = {{"do", "listen"},
               {"address", address},
               {"port", port},
               {"peerName", peer_name},
               {"tls", tls_value(tls_)}};
  return member(call_until(std::move(body), until), "port", [](const json& value) {
    return value.is_number_unsigned() ? Result<uint16_t>(value.get<uint16_t>())
                                      : Error{ErrorCode::kCorrupt, "the copier named no port"};
  });
}

Result<std::vector<VolumeOutcome>> Copier::receive(const transfer::SessionIdentity& identity,
                                                   const std::vector<CopierVolume>& volumes,
                                                   const SharedCounters& counters,
                                                   const transfer::SessionOptions& options) {
  TRANSSHIP_TRY(hand_over(volumes, counters));
  json body = {
      {"do", "receive"}, {"identity", identity_value(identity)}, {"resume", options.resume}};
  if (options.unannounced) body["unannounced"] = *options.unannounced;
  return member(call_until(std::move(body), options.until), "outcomes", outcomes_of);
}

Result<Summary> Copier::write_archive(int archive, size_t volume, const Until& until,
                                      const transfer::RateLimiter* limiter) {
  return member(call_until({{"do", "writeArchive"}, {"number", volume}}, until, limiter, {archive}),
                "summary", summary_of);
}

Result<VolumeOutcome> Copier::read_archive(int archive, size_t volume, const Until& until) {
  auto outcomes =
      member(call_until({{"do", "readArchive"}, {"number", volume}}, until, nullptr, {archive}),
             "outcomes", outcomes_of);
  if (!outcomes) return outcomes.error();
  if (outcomes->size() == 1) return std::move(outcomes->front());
  return Error{ErrorCode::kCorrupt, "the copier read other volumes"};
}

Result<Summary> Copier::write_tar(int view, int to, const std::string& name) {
  return member(call({{"do", "writeTar"}, {"name", name}}, {view, to}), "summary", summary_of);
}

Result<Summary> Copier::read_tar(int from, const std::string& name, int view) {
  return member(call({{"do", "readTar"}, {"name", name}}, {view, from}), "summary", summary_of);
}

}  // namespace transship::mover
