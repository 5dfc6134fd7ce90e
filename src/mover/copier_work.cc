#include "mover/copier_work.h"

#include <array>
#include <stdexcept>

#include "mover/copier_messages.h"
#include "transfer/archive.h"

namespace transship::mover {
namespace {

using nlohmann::json;
using transfer::Until;

transfer::SessionIdentity identity_of(const json& value) {
  return {value.at("migrationUid"), value.at("epoch")};
}

transfer::ReceiveLimits limits_of(const json& value) {
  transfer::ReceiveLimits limits;
  limits.bytes = value.at("bytes");
  limits.entries = value.at("entries");
  limits.held_bytes = value.at("heldBytes");
  return limits;
}

transfer::TlsOptions tls_options(const json& body) {
  transfer::TlsOptions options;
  const json& tls = body.at("tls");
  options.credentials = {tls.at("ca"), tls.at("certificate"), tls.at("key"), tls.at("from")};
  options.expected_name = body.at("peerName");
  return options;
}

Result<json> unknown(const std::string& what) {
  return Error{ErrorCode::kInvalid, "a copier does not know how to " + what.substr(0, 40)};
}

Result<json> done(const Status& status) {
  return status.ok() ? Result<json>(json::object()) : Result<json>(status.error());
}

}  // namespace

Result<json> CopierWork::run(CopierJob job) {
  try {
    if (!job.volumes.empty()) volumes_ = std::move(job.volumes);
    if (job.counters) {
      counters_.clear();
      for (size_t i = 0; i < volumes_.size(); ++i) counters_.push_back(job.counters->at(i));
    }
    return run_known(job.body.at("do"), job);
  } catch (const json::exception& problem) {
    return Error{ErrorCode::kInvalid, std::string("the copier's order: ") + problem.what()};
  } catch (const std::out_of_range& problem) {
    return Error{ErrorCode::kInvalid, std::string("the copier's order: ") + problem.what()};
  }
}

Result<json> CopierWork::run_known(const std::string& what, CopierJob& job) {
  if (what == "begin") return begin(job);
  if (what == "listen") return listen(job.body);
  if (what == "receive") return receive(job);
  if (what == "scan") {
    const bool overlay = job.body.at("overlay");
    auto totals = transfer::scan_tree(
        job.descriptors.at(0).get(), job.until,
        overlay ? transfer::XattrScope::kUpperDirectory : transfer::XattrScope::kVolume);
    if (!totals) return totals.error();
    return json{{"totals", to_value(*totals)}};
  }
  if (what == "writeArchive") return write_archive(job);
  if (what == "readArchive") return read_archive(job);
  if (what == "writeTar") return write_tar(job);
  if (what == "readTar") return read_tar(job);
  if (!session_) return unknown(what + " without a session");
  if (what == "round") return round();
  if (what == "finish") return finish();
  if (what == "pause") {
    session_->pause();
    return json::object();
  }
  if (what == "goOn") return done(session_->go_on(job.until, &limiter_));
  return unknown(what);
}

std::vector<transfer::SessionVolume> CopierWork::session_volumes() const {
  std::vector<transfer::SessionVolume> session;
  for (size_t i = 0; i < volumes_.size(); ++i) {
    session.push_back({volumes_[i].name, volumes_[i].view.get(), volumes_[i].announced,
                       counters_.at(i).get(), volumes_[i].projects, volumes_[i].overlay});
  }
  return session;
}

Result<json> CopierWork::begin(const CopierJob& job) {
  const transfer::Connect connect = [host = job.body.at("host").get<std::string>(),
                                     port = job.body.at("port").get<uint16_t>(),
                                     tls = tls_options(job.body)](const Until& until) {
    return transfer::tls_connect(host, port, tls, until);
  };
  transfer::SessionOptions options;
  options.until = job.until;
  options.limiter = &limiter_;
  options.compression = static_cast<transfer::Compression>(job.body.at("compression").get<int>());
  options.limits = limits_of(job.body.at("limits"));
  options.on_sent = [this] { sent_ = Until::Clock::now(); };
  session_.emplace(connect, identity_of(job.body.at("identity")), session_volumes(), options);
  return done(session_->begin());
}

Result<json> CopierWork::round() {
  auto totals = session_->round();
  if (!totals) return totals.error();
  return json{{"totals", to_value(*totals)}};
}

Result<json> CopierWork::finish() {
  const auto began = Until::Clock::now();
  transfer::RoundTotals last;
  auto outcomes = session_->finish(&last);
  if (!outcomes) return outcomes.error();
  const std::chrono::duration<double> sent = sent_.value_or(began) - began;
  return json{
      {"outcomes", to_value(*outcomes)}, {"totals", to_value(last)}, {"sentSeconds", sent.count()}};
}

Result<json> CopierWork::listen(const json& body) {
  auto listener =
      transfer::TlsListener::listen(body.at("address"), body.at("port"), tls_options(body));
  if (!listener) return listener.error();
  listener_.emplace(std::move(listener).value());
  return json{{"port", listener_->port()}};
}

Result<json> CopierWork::receive(const CopierJob& job) {
  if (!listener_) return unknown("receive before it listens");
  transfer::SessionOptions options;
  options.until = job.until;
  options.resume = job.body.at("resume");
  if (const auto most = job.body.find("unannounced"); most != job.body.end())
    options.unannounced = most->get<int64_t>();
  auto outcomes = transfer::receive_session(*listener_, identity_of(job.body.at("identity")),
                                            session_volumes(), options);
  listener_.reset();
  if (!outcomes) return outcomes.error();
  return json{{"outcomes", to_value(*outcomes)}};
}

Result<json> CopierWork::write_archive(const CopierJob& job) {
  const size_t number = job.body.at("number");
  const HandedVolume& volume = volumes_.at(number);
  const transfer::SendOptions options{job.until, counters_.at(number).get(), &limiter_,
                                      volume.projects};
  auto sent =
      transfer::write_archive(job.descriptors.at(0).get(), volume.name, volume.view.get(), options);
  if (!sent) return sent.error();
  return json{{"summary", to_value(*sent)}};
}

Result<json> CopierWork::read_archive(const CopierJob& job) {
  const size_t number = job.body.at("number");
  const HandedVolume& volume = volumes_.at(number);
  transfer::ReceiveOptions options;
  options.until = job.until;
  options.progress = counters_.at(number).get();
  options.projects = volume.projects;
  auto received =
      transfer::read_archive(job.descriptors.at(0).get(), volume.name, volume.view.get(), options);
  if (!received) return received.error().during("extract volume " + volume.name);
  auto verified =
      transfer::verify_tree(volume.view.get(), received->manifest, job.until, options.progress);
  if (!verified) return verified.error().during("verify volume " + volume.name);
  return json{{"outcomes", to_value(std::vector<transfer::VolumeOutcome>{
                               {volume.name, received->summary, *verified}})}};
}

Result<json> CopierWork::write_tar(const CopierJob& job) {
  transfer::FdSink sink(job.descriptors.at(1).get(), job.body.at("name"));
  auto sent = transfer::send_tree(job.descriptors.at(0).get(), sink);
  if (!sent) return sent.error();
  return json{{"summary", to_value(*sent)}};
}

Result<json> CopierWork::read_tar(const CopierJob& job) {
  const std::string name = job.body.at("name");
  const int directory = job.descriptors.at(0).get();
  transfer::FdSource source(job.descriptors.at(1).get(), name);
  auto received = transfer::receive_tree(directory, source);
  if (!received) return received.error();
  std::array<std::byte, 1> more{};
  auto rest = source.read(more);
  if (!rest) return rest.error();
  if (*rest > 0) return Error{ErrorCode::kCorrupt, name + " goes on after the stream's end"};
  auto verified = transfer::verify_tree(directory, received->manifest);
  if (!verified) return verified.error();
  return json{{"summary", to_value(*verified)}};
}

}  // namespace transship::mover
