#include "mover/copier_program.h"

#include <openssl/ssl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <thread>

#include "base/log.h"
#include "base/mutex.h"
#include "mover/copier_messages.h"
#include "mover/copier_work.h"
#include "mover/sandbox.h"

namespace transship::mover {
namespace {

using nlohmann::json;
using std::chrono::milliseconds;

constexpr const char* kCommand = "copier";
constexpr const char* kReads = "read";
constexpr const char* kConfined = "confined";
constexpr int kArguments = 7;

// One thread hears the mover, and one does what it says.
class Program {
 public:
  explicit Program(CopierChannel channel) : channel_(std::move(channel)), work_(limiter_) {}

  // Returns when the mover is gone.
  void run() {
    std::thread([this] { work(); }).detach();  // it ends with the process, whatever it is at
    for (;;) {
      auto message = channel_.receive(milliseconds(-1));
      if (!message) return;
      if (*message) hear(std::move(**message));
    }
  }

 private:
  // The mover's words are taken for well-formed: it is what started us.
  void hear(CopierMessage message) {
    const json& body = message.body;
    if (body.contains("stop")) {
      stop_.request_stop();
    } else if (body.contains("rate")) {
      limiter_.set_rate(body.at("rate"));
    } else if (body.contains("counters")) {
      next_.volumes.clear();
      counted_ = std::move(message.descriptors.at(0));
      count_ = body.at("counters");
    } else if (body.contains("volume")) {
      auto announced = totals_of(body.at("announced"));
      next_.volumes.push_back({body.at("volume"), std::move(message.descriptors.at(0)),
                               announced ? *announced : transfer::TreeTotals(), body.at("projects"),
                               body.at("overlay")});
    } else {
      order(std::move(message));
    }
  }

  void order(CopierMessage message) {
    // What has no end of its own goes on within that of before.
    if (const auto end = message.body.find("end"); end != message.body.end()) {
      stop_ = std::stop_source();
      until_ = {stop_.get_token(), end_of(*end)};
    }
    if (counted_.valid()) {
      auto counters = SharedCounters::map(std::move(counted_), count_);
      if (counters) next_.counters = std::move(counters).value();
    }
    next_.body = std::move(message.body);
    next_.descriptors = std::move(message.descriptors);
    next_.until = until_;
    const MutexLock lock(mutex_);
    jobs_.push_back(std::exchange(next_, {}));
    more_.notify_one();
  }

  void work() {
    for (;;) {
      CopierJob job;
      {
        MutexLock lock(mutex_);
        while (jobs_.empty()) more_.wait(lock);
        job = std::move(jobs_.front());
        jobs_.pop_front();
      }
      auto answer = work_.run(std::move(job));
      const Status told =
          channel_.send(answer ? *answer : json{{"error", to_value(answer.error())}});
      if (!told.ok()) log::debug("answer not sent", {{"error", told.error().message}});
    }
  }

  CopierChannel channel_;
  transfer::RateLimiter limiter_{0};
  CopierWork work_;
  // Of the thread that hears.
  CopierJob next_;
  UniqueFd counted_;
  size_t count_ = 0;
  std::stop_source stop_;
  transfer::Until until_;
  Mutex mutex_;
  std::condition_variable_any more_;
  std::deque<CopierJob> jobs_ GUARDED_BY(mutex_);
};

void set_spill(const char* bound, const char* name) {
  transfer::SpillOptions spill;
  spill.bound = std::strtoull(bound, nullptr, 10);
  spill.name = name;
  spill.file = kCopierSpill;
  transfer::Spill::of_process().configure(std::move(spill));
}

Status confine(const CopierConfig& config) {
  if (!config.confined) return {};
  return enter_sandbox(config.access);
}

}  // namespace

std::vector<std::string> copier_arguments(const CopierConfig& config,
                                          const transfer::SpillFile& spill) {
  return {"transship-mover",
          kCommand,
          config.access == VolumeAccess::kRead ? kReads : "write",
          config.confined ? kConfined : "unconfined",
          std::string(log::level_name()),
          std::to_string(spill.bound),
          spill.name};
}

bool is_copier(int argc, char** argv) {
  return argc == kArguments && std::strcmp(argv[1], kCommand) == 0;
}

int run_copier(int argc, char** argv) {
  CopierConfig config;
  if (!is_copier(argc, argv)) return EXIT_FAILURE;
  config.access = std::strcmp(argv[2], kReads) == 0 ? VolumeAccess::kRead : VolumeAccess::kWrite;
  config.confined = std::strcmp(argv[3], kConfined) == 0;
  log::Level level = log::Level::kInfo;
  log::parse_level(argv[4], level);
  log::initialize("transship-mover", level);
  ::signal(SIGPIPE, SIG_IGN);
  // Whatever its mover had open is none of its business.
  ::syscall(SYS_close_range, kCopierSpill + 1, ~0U, 0);
  set_spill(argv[5], argv[6]);
  // Its configuration is out of sight later.
  OPENSSL_init_ssl(OPENSSL_INIT_NO_ATEXIT, nullptr);
  CopierChannel channel{UniqueFd(kCopierChannel)};
  const Status confined = confine(config);
  const Status told =
      channel.send(confined.ok() ? json::object() : json{{"error", to_value(confined.error())}});
  if (!confined.ok() || !told.ok()) return EXIT_FAILURE;
  static Program program(std::move(channel));
  program.run();
  // Threads that work are not waited for, and nothing is left to tidy.
  ::_exit(EXIT_SUCCESS);
}

}  // namespace transship::mover
