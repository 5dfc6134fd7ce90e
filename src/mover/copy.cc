#include "mover/copy.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "api/mover_protocol.h"
#include "base/unique_fd.h"
#include "mover/copier.h"
#include "pki/certificates.h"
#include "transfer/spill.h"

namespace transship::mover {
namespace {

namespace fs = std::filesystem;
using Clock = std::chrono::steady_clock;

constexpr int kEpoch = 1;
constexpr const char* kVolume = "tree";
constexpr std::chrono::hours kValid{24 * 30};

Result<UniqueFd> open_directory(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd.valid()) return errno_error("open " + path, errno);
  return fd;
}

Result<UniqueFd> open_or_make_directory(const std::string& path) {
  // First, since to make what is there already waits for a file system that is frozen.
  auto there = open_directory(path);
  if (there || there.error().code != ErrorCode::kNotFound) return there;
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) {
    return errno_error("make " + path, errno);
  }
  return open_directory(path);
}

// A copy into the tree itself would never be done.
Status check_apart(const std::string& from, const std::string& to) {
  std::error_code ignored;
  const fs::path source = fs::weakly_canonical(from, ignored);
  fs::path at = fs::weakly_canonical(to, ignored);
  while (at != source && at != at.parent_path()) at = at.parent_path();
  if (at != source) return {};
  return Error{ErrorCode::kInvalid, to + " lies in " + from + ": choose a place outside of it"};
}

// Both ends' keys, in memory alone.
struct Credentials {
  transfer::TlsCredentials sender;
  transfer::TlsCredentials receiver;

  static Result<Credentials> make(const std::string& uid) {
    const std::string from = "the copy's certificates";
    auto made = pki::make_certificates(uid, kEpoch, kValid);
    if (!made) return made.error();
    return Credentials{{made->ca, made->sender.certificate, made->sender.key, from},
                       {made->ca, made->receiver.certificate, made->receiver.key, from}};
  }
};

// For both copiers: each has a file of its own.
Status set_spill(const CopyOptions& options) {
  transfer::SpillOptions spill;
  spill.bound = options.inventory_memory;
  if (!options.spill_directory.empty()) {
    // One that is not there is said before it is needed.
    TRANSSHIP_TRY(open_directory(options.spill_directory));
    spill.name = options.spill_directory;
    spill.directory = [path = options.spill_directory] { return open_directory(path); };
  }
  transfer::Spill::of_process().configure(std::move(spill));
  return {};
}

Status run_between(const std::string& command, int next) {
  if (command.empty()) return {};
  ::setenv("ROUND", std::to_string(next).c_str(), /*overwrite=*/1);
  if (std::system(command.c_str()) == 0) return {};
  return Error{ErrorCode::kPreconditionFailed, "the command between the rounds failed: " + command};
}

// How a copier is to see it, where it is confined.
Result<UniqueFd> view_of(const UniqueFd& directory, const std::string& path, VolumeAccess access,
                         bool confined) {
  if (confined) return clone_mount(directory.get(), path, volume_view(access));
  UniqueFd same(::fcntl(directory.get(), F_DUPFD_CLOEXEC, 0));
  if (!same.valid()) return errno_error("open " + path, errno);
  return same;
}

// Both ends of a copy.
struct Ends {
  std::string uid;
  UniqueFd from;
  UniqueFd to;
  std::unique_ptr<Copier> sender;
  std::unique_ptr<Copier> receiver;
  SharedCounters counters;  // nobody looks at them
  transfer::Until until;

  [[nodiscard]] static Result<Ends> start(const CopyOptions& options);
  [[nodiscard]] std::string name_of(api::MoverRole role) const {
    return api::mover_name(uid, role, kEpoch);
  }
};

Result<Ends> Ends::start(const CopyOptions& options) {
  auto from = open_directory(options.from);
  if (!from) return from.error();
  TRANSSHIP_TRY(check_apart(options.from, options.to));
  TRANSSHIP_TRY(set_spill(options));
  auto to = open_or_make_directory(options.to);
  if (!to) return to.error();
  Ends ends;
  auto source = view_of(*from, options.from, VolumeAccess::kRead, options.confined);
  if (!source) return source.error();
  ends.from = std::move(source).value();
  auto target = view_of(*to, options.to, VolumeAccess::kWrite, options.confined);
  if (!target) return target.error();
  ends.to = std::move(target).value();
  ends.uid = "copy-" + std::to_string(::getpid());
  auto credentials = Credentials::make(ends.uid);
  if (!credentials) return credentials.error();
  for (const api::MoverRole role : {api::MoverRole::kSender, api::MoverRole::kReceiver}) {
    const bool sends = role == api::MoverRole::kSender;
    auto copier =
        Copier::start({sends ? VolumeAccess::kRead : VolumeAccess::kWrite,
                       sends ? credentials->sender : credentials->receiver, options.confined});
    if (!copier) return copier.error();
    (sends ? ends.sender : ends.receiver) = std::move(copier).value();
  }
  auto counters = SharedCounters::make(1);
  if (!counters) return counters.error();
  ends.counters = std::move(counters).value();
  return ends;
}

Result<CopyReport> send(Ends& ends, uint16_t port, const CopyOptions& how) {
  auto began = Clock::now();
  const auto elapsed = [&began] {
    return std::chrono::duration<double>(Clock::now() - began).count();
  };
  transfer::RateLimiter limiter(how.bandwidth_bytes_per_second);
  CopyReport report;
  transfer::SessionOptions options;
  options.until = ends.until;
  options.limiter = &limiter;
  options.compression = how.compression;
  const CopierPeer peer{
      {ends.uid, kEpoch}, ends.name_of(api::MoverRole::kReceiver), "127.0.0.1", port};
  TRANSSHIP_TRY(ends.sender->begin(
      peer, {{kVolume, ends.from.get(), {}, how.projects, how.overlay}}, ends.counters, options));
  for (int round = 0; round + 1 < how.rounds; ++round) {
    auto sent = ends.sender->round();
    if (!sent) return sent.error();
    report.rounds.push_back({*sent, elapsed(), elapsed()});
    TRANSSHIP_TRY(ends.sender->pause());
    TRANSSHIP_TRY(run_between(how.between, round + 1));
    TRANSSHIP_TRY(ends.sender->go_on(ends.until, &limiter));
    began = Clock::now();
  }
  const double before = elapsed();
  auto finished = ends.sender->finish();
  if (!finished) return finished.error();
  report.rounds.push_back({finished->last, before + finished->sent_seconds, elapsed()});
  report.summary = finished->outcomes.front().verified;
  return report;
}

}  // namespace

Result<CopyReport> copy(const CopyOptions& options) {
  auto started = Ends::start(options);
  if (!started) return started.error();
  Ends& ends = *started;
  std::stop_source stop;
  ends.until.stop = stop.get_token();
  if (options.deadline.count() > 0) ends.until.end = Clock::now() + options.deadline;
  auto port =
      ends.receiver->listen("127.0.0.1", 0, ends.name_of(api::MoverRole::kSender), ends.until);
  if (!port) return port.error();
  Result<std::vector<transfer::VolumeOutcome>> received = Error{};
  std::jthread receiving([&] {
    transfer::SessionOptions session;
    session.until = ends.until;
    session.resume = options.resume;
    received = ends.receiver->receive(
        {ends.uid, kEpoch}, {{kVolume, ends.to.get(), {}, options.projects, options.overlay}},
        ends.counters, session);
    // The sender heard why, unless the receiver could not tell any more.
    if (!received) stop.request_stop();
  });
  auto report = send(ends, *port, options);
  if (!report) stop.request_stop();
  receiving.join();
  if (report && received) return report;
  const bool only_stopped = !report && report.error().code == ErrorCode::kCancelled;
  if (!report && !(only_stopped && !received)) return report;
  return received.error();
}

Result<transfer::Summary> export_tree(const std::string& from, int to, const std::string& name,
                                      bool confined) {
  if (::isatty(to) != 0) {
    return Error{ErrorCode::kInvalid, name + " is a terminal: send the tar to a file or a pipe"};
  }
  auto directory = open_directory(from);
  if (!directory) return directory.error();
  auto view = view_of(*directory, from, VolumeAccess::kRead, confined);
  if (!view) return view.error();
  auto copier = Copier::start({VolumeAccess::kRead, {}, confined});
  if (!copier) return copier.error();
  return (*copier)->write_tar(view->get(), to, name);
}

Result<transfer::Summary> import_tree(int from, const std::string& name, const std::string& to,
                                      bool confined) {
  auto directory = open_or_make_directory(to);
  if (!directory) return directory.error();
  auto view = view_of(*directory, to, VolumeAccess::kWrite, confined);
  if (!view) return view.error();
  auto copier = Copier::start({VolumeAccess::kWrite, {}, confined});
  if (!copier) return copier.error();
  return (*copier)->read_tar(from, name, view->get());
}

}  // namespace transship::mover
