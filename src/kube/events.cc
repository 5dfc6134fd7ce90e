#include "kube/events.h"

#include <pthread.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <utility>
#include <vector>

#include "base/log.h"

namespace transship::kube {

namespace {

constexpr std::size_t kNoteLimit = 1024;              // bytes, as the API server checks
constexpr std::size_t kNameLimit = 253;               // of any object
constexpr std::string_view kNoNamespace = "default";  // for events about cluster-wide objects

// At most `limit` bytes, not cut within a UTF-8 character.
std::string cut(std::string_view text, std::size_t limit) {
  if (text.size() <= limit) return std::string(text);
  const auto continues = [&](std::size_t i) {
    return (static_cast<unsigned char>(text[i]) & 0xC0U) == 0x80U;
  };
  while (limit > 0 && continues(limit)) --limit;
  return std::string(text.substr(0, limit));
}

std::string text(const Json& map, const char* field) {
  if (!map.is_object()) return {};
  const auto found = map.find(field);
  return found != map.end() && found->is_string() ? found->get<std::string>() : std::string();
}

// An ObjectReference from one, or from a whole object.
Json reference(const Json& regarding) {
  const Json source = regarding.is_object() ? regarding : Json::object();
  const auto metadata = source.find("metadata");
  const Json& identity = metadata != source.end() ? *metadata : source;
  Json result = Json::object();
  const auto copy = [&result](const Json& from, const char* field) {
    if (std::string value = text(from, field); !value.empty()) result[field] = std::move(value);
  };
  for (const char* field : {"apiVersion", "kind", "fieldPath"}) copy(source, field);
  for (const char* field : {"namespace", "name", "uid", "resourceVersion"}) copy(identity, field);
  return result;
}

// Equal for events that are the same but for their time.
std::string identity(const Json& event) {
  Json same = event;
  same.erase("eventTime");
  same["regarding"].erase("resourceVersion");
  return same.dump(-1, ' ', false, Json::error_handler_t::replace);
}

}  // namespace

EventRecorder::EventRecorder(Client& client, std::string reporting_controller,
                             std::string reporting_instance, EventRecorderOptions options)
    : client_(client),
      reporting_controller_(std::move(reporting_controller)),
      reporting_instance_(std::move(reporting_instance)),
      options_(std::move(options)),
      random_(std::random_device{}()) {
  thread_ = std::jthread([this] { run(); });
  pthread_setname_np(thread_.native_handle(), "events");
}

EventRecorder::~EventRecorder() { stop(); }

void EventRecorder::record(const Json& regarding, std::string_view type, std::string_view reason,
                           std::string_view action, std::string_view note) {
  const WallTime wall = options_.wall_now();
  const Json target = reference(regarding);
  const std::string ns = text(target, "namespace");
  Json event = {
      {"metadata", {{"namespace", ns.empty() ? std::string(kNoNamespace) : ns}}},
      {"eventTime", format_micros(wall)},
      {"reportingController", reporting_controller_},
      {"reportingInstance", cut(reporting_instance_, 128)},
      {"action", cut(action, 128)},
      {"reason", cut(reason, 128)},
      {"regarding", target},
      {"note", cut(note, kNoteLimit)},
      {"type", std::string(type)},
  };
  std::string same = identity(event);
  MutexLock lock(mutex_);
  if (flush_until_) return;
  if (queue_.size() >= options_.queue_limit) {
    queue_.pop_front();
    if (dropped_++ % 100 == 0) {
      log::warning("events come faster than they can be sent, the oldest are dropped",
                   {{"dropped", std::to_string(dropped_)}});
    }
  }
  queue_.push_back({std::move(event), std::move(same), wall, options_.now()});
  changed_.notify_all();
}

void EventRecorder::stop() {
  {
    MutexLock lock(mutex_);
    if (!flush_until_) flush_until_ = std::chrono::steady_clock::now() + options_.flush_limit;
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void EventRecorder::run() {
  while (true) {
    if (auto observed = next()) {
      create(std::move(*observed));
    } else if (stopping()) {
      break;
    }
    write_due_series(false);
    forget_old_series();
  }
  write_due_series(true);
  MutexLock lock(mutex_);
  if (queue_.empty()) return;
  log::warning("events not sent before the stop", {{"events", std::to_string(queue_.size())}});
}

std::optional<EventRecorder::Observed> EventRecorder::next() {
  const std::optional<Instant> due = series_due();
  if (flush_is_over()) return std::nullopt;
  MutexLock lock(mutex_);
  while (queue_.empty()) {
    if (flush_until_ || (due && *due <= options_.now())) return std::nullopt;
    if (due) {
      changed_.wait_until(lock, std::chrono::steady_clock::now() + (*due - options_.now()));
    } else {
      changed_.wait(lock);
    }
  }
  Observed observed = std::move(queue_.front());
  queue_.pop_front();
  return observed;
}

void EventRecorder::create(Observed observed) {
  const auto known = series_.find(observed.identity);
  if (known != series_.end() && observed.at - known->second.last <= options_.series_window) {
    Series& series = known->second;
    ++series.count;
    series.last = observed.at;
    series.last_wall = observed.wall;
    series.dirty = true;
    return;
  }
  Json event = std::move(observed.event);
  event["metadata"]["name"] = make_name(event["regarding"]);
  const Status sent = send("create", [&]() -> Status {
    const auto created = client_.create(kEvents, text(event["metadata"], "namespace"), event);
    // An attempt before this one arrived although its answer did not.
    if (created.ok() || created.error().code == ErrorCode::kAlreadyExists) return {};
    return created.error();
  });
  if (!sent.ok()) return;
  series_.insert_or_assign(observed.identity,
                           Series{.event = std::move(event),
                                  .last_wall = observed.wall,
                                  .last = observed.at,
                                  .written = observed.at - options_.series_interval});
}

void EventRecorder::write_due_series(bool all) {
  for (auto& [same, series] : series_) {
    if (!series.dirty || flush_is_over()) continue;
    if (all || series.written + options_.series_interval <= options_.now()) write(series);
  }
}

void EventRecorder::write(Series& series) {
  series.dirty = false;
  series.written = options_.now();
  const Json counted = {
      {"count", series.count},
      {"lastObservedTime", format_micros(series.last_wall)},
  };
  const std::string ns = text(series.event["metadata"], "namespace");
  const std::string name = text(series.event["metadata"], "name");
  (void)send("patch", [&]() -> Status {
    const auto patched = client_.patch(kEvents, ns, name, PatchType::kMerge, {{"series", counted}});
    if (patched.ok()) return {};
    if (patched.error().code != ErrorCode::kNotFound) return patched.error();
    // The server forgets events after an hour or so: the series goes on in a new one.
    Json again = series.event;
    again["series"] = counted;
    const auto created = client_.create(kEvents, ns, std::move(again));
    if (created.ok() || created.error().code == ErrorCode::kAlreadyExists) return {};
    return created.error();
  });
}

void EventRecorder::forget_old_series() {
  const Instant now = options_.now();
  std::erase_if(series_, [&](const auto& entry) {
    return !entry.second.dirty && now - entry.second.last > options_.series_window;
  });
  while (series_.size() > options_.series_limit) {
    series_.erase(std::min_element(
        series_.begin(), series_.end(),
        [](const auto& a, const auto& b) { return a.second.last < b.second.last; }));
  }
}

Status EventRecorder::send(std::string_view what, const std::function<Status()>& request) {
  Status sent = request();
  for (int attempt = 1; attempt < options_.attempts && !sent.ok(); ++attempt) {
    const ErrorCode code = sent.error().code;
    if (code != ErrorCode::kUnavailable && code != ErrorCode::kTimeout) break;
    pause();
    if (flush_is_over()) break;
    sent = request();
  }
  if (!sent.ok()) {
    log::warning("event lost", {{"request", std::string(what)}, {"error", sent.error().message}});
  }
  return sent;
}

std::optional<EventRecorder::Instant> EventRecorder::series_due() const {
  std::optional<Instant> due;
  for (const auto& [same, series] : series_) {
    const Instant next_write = series.written + options_.series_interval;
    if (series.dirty && (!due || next_write < *due)) due = next_write;
  }
  return due;
}

bool EventRecorder::stopping() const {
  MutexLock lock(mutex_);
  return flush_until_.has_value();
}

bool EventRecorder::flush_is_over() const {
  MutexLock lock(mutex_);
  return flush_until_ && std::chrono::steady_clock::now() >= *flush_until_;
}

void EventRecorder::pause() {
  const auto until = std::chrono::steady_clock::now() + options_.retry_delay;
  MutexLock lock(mutex_);
  while (std::chrono::steady_clock::now() < until) {
    const auto end = flush_until_ ? std::min(until, *flush_until_) : until;
    if (changed_.wait_until(lock, end) == std::cv_status::timeout) return;
  }
}

std::string EventRecorder::make_name(const Json& regarding) {
  std::array<char, 20> suffix{};
  (void)std::snprintf(suffix.data(), suffix.size(), ".%016llx",
                      static_cast<unsigned long long>(random_()));
  std::string name = text(regarding, "name");
  if (name.empty()) name = "event";
  return cut(name, kNameLimit - 17) + suffix.data();
}

}  // namespace transship::kube
