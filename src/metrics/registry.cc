#include "metrics/registry.h"

#include <prometheus/registry.h>
#include <prometheus/text_serializer.h>

#include <utility>
#include <vector>

#include "base/mutex.h"
#include "metrics/process_metrics.h"

namespace transship::metrics {

struct Registry::State {
  prometheus::Registry families;
  Mutex scraping;
  ProcessMetrics process GUARDED_BY(scraping){families};
  Mutex adding;
  std::vector<std::function<void()>> hooks GUARDED_BY(adding);
};

Registry::Registry() : state_(std::make_unique<State>()) {}
Registry::~Registry() = default;

std::string Registry::text() {
  const MutexLock lock(state_->scraping);
  std::vector<std::function<void()>> hooks;
  {
    const MutexLock hooks_lock(state_->adding);
    hooks = state_->hooks;
  }
  for (const auto& hook : hooks) hook();
  state_->process.read();
  return prometheus::TextSerializer().Serialize(state_->families.Collect());
}

void Registry::before_scrape(std::function<void()> hook) {
  const MutexLock lock(state_->adding);
  state_->hooks.push_back(std::move(hook));
}

prometheus::Registry& Registry::families() { return state_->families; }

}  // namespace transship::metrics
