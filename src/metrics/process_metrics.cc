#include "metrics/process_metrics.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <sstream>
#include <string>

#include "metrics/families.h"

namespace transship::metrics {
namespace {

double cpu_seconds() {
  rusage usage{};
  if (getrusage(RUSAGE_SELF, &usage) != 0) return 0;
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) / 1e6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

// proc(5): /proc/PID/stat field 22 is the start in clock ticks after boot, /proc/stat btime the
// boot.
std::optional<double> start_time() {
  std::ifstream stat("/proc/self/stat");
  const std::string line{std::istreambuf_iterator<char>(stat), {}};
  const size_t name_end = line.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(line.substr(name_end + 1));
  std::string field;
  for (int number = 3; number < 22; ++number) fields >> field;
  double ticks = 0;
  if (!(fields >> ticks)) return std::nullopt;
  std::ifstream system("/proc/stat");
  for (std::string key; system >> key;) {
    double boot = 0;
    if (key == "btime" && system >> boot) {
      return boot + ticks / static_cast<double>(sysconf(_SC_CLK_TCK));
    }
    std::getline(system, key);
  }
  return std::nullopt;
}

std::optional<double> open_descriptors() {
  std::error_code error;
  const std::filesystem::directory_iterator entries("/proc/self/fd", error);
  if (error) return std::nullopt;
  // One of them is the listing's own.
  return static_cast<double>(std::distance(begin(entries), end(entries)) - 1);
}

}  // namespace

struct ProcessMetrics::State {
  explicit State(prometheus::Registry& families)
      : cpu(counter(families, "process_cpu_seconds_total",
                    "Total user and system CPU time spent in seconds.")
                .Add({})),
        resident(gauge(families, "process_resident_memory_bytes", "Resident memory size in bytes.")
                     .Add({})),
        virtual_memory(
            gauge(families, "process_virtual_memory_bytes", "Virtual memory size in bytes.")
                .Add({})),
        open_fds(gauge(families, "process_open_fds", "Number of open file descriptors.").Add({})),
        max_fds(
            gauge(families, "process_max_fds", "Maximum number of open file descriptors.").Add({})),
        start(gauge(families, "process_start_time_seconds",
                    "Start time of the process since unix epoch in seconds.")
                  .Add({})) {}

  prometheus::Counter& cpu;
  prometheus::Gauge& resident;
  prometheus::Gauge& virtual_memory;
  prometheus::Gauge& open_fds;
  prometheus::Gauge& max_fds;
  prometheus::Gauge& start;
};

ProcessMetrics::ProcessMetrics(prometheus::Registry& families)
    : state_(std::make_unique<State>(families)) {
  if (const auto start = start_time()) state_->start.Set(*start);
  read();
}
ProcessMetrics::~ProcessMetrics() = default;

void ProcessMetrics::read() {
  const double more = cpu_seconds() - state_->cpu.Value();
  if (more > 0) state_->cpu.Increment(more);
  std::ifstream memory("/proc/self/statm");
  double virtual_pages = 0;
  double resident_pages = 0;
  if (memory >> virtual_pages >> resident_pages) {
    const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
    state_->virtual_memory.Set(virtual_pages * page);
    state_->resident.Set(resident_pages * page);
  }
  memory.close();
  if (const auto count = open_descriptors()) state_->open_fds.Set(*count);
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0)
    state_->max_fds.Set(static_cast<double>(limit.rlim_cur));
}

}  // namespace transship::metrics
