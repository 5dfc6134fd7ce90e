#include "mover/trial_dump.h"

#include <filesystem>

namespace transship::mover {
namespace {

namespace fs = std::filesystem;
using std::chrono::duration_cast;
using std::chrono::milliseconds;

milliseconds since(Deadline::Clock::time_point began) {
  return duration_cast<milliseconds>(Deadline::Clock::now() - began);
}

Result<int64_t> bytes_in(int directory) {
  int64_t bytes = 0;
  std::error_code error;
  const std::string path = "/proc/self/fd/" + std::to_string(directory);
  for (fs::directory_iterator image(path, error); !error && image != fs::directory_iterator();
       image.increment(error))
    bytes += static_cast<int64_t>(image->file_size(error));
  if (error) return errno_error("measure the images of the trial dump", error.value());
  return bytes;
}

}  // namespace

Result<TrialTimes> TrialDump::run(const api::TaskRequest& request, const Deadline& deadline) const {
  TrialTimes times;
  const auto began = Deadline::Clock::now();
  const Status dumped =
      freeze_.briefly(request.pod_uid, milliseconds(request.freeze_budget_milliseconds), deadline,
                      [&](const Deadline& limit) {
                        const auto frozen = Deadline::Clock::now();
                        const Status done = dump_.run(request.pod_uid, request.containers, limit);
                        times.dump = since(frozen);
                        return done;
                      });
  times.frozen = since(began);
  // What was asked to stop throws away as well; the deadline is the dump's.
  const Deadline without_end{std::stop_token(), milliseconds(0)};
  const Status gone = discard(request, times, without_end);
  if (!dumped.ok()) return dumped.error();
  if (!gone.ok()) return gone.error();
  return times;
}

Status TrialDump::discard(const api::TaskRequest& request, TrialTimes& times,
                          const Deadline& deadline) const {
  for (const api::MoverContainer& container : request.containers) {
    if (!container.memory) continue;
    const std::string name = "memory." + container.name;
    auto images = trees_.open(name);
    if (!images) return images.error();
    auto bytes = bytes_in(images->get());
    if (!bytes) return bytes.error();
    times.images[name] = *bytes;
    TRANSSHIP_TRY(trees_.remove(name, deadline));
  }
  return {};
}

}  // namespace transship::mover
