#include "kube/informer.h"

#include <pthread.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "base/log.h"
#include "kube/status_error.h"

namespace transship::kube {

namespace {

constexpr std::string_view kInitialEventsEnd = "k8s.io/initial-events-end";

const Json& metadata(const Json& object) {
  static const Json none = Json::object();
  const auto found = object.find("metadata");
  return found != object.end() && found->is_object() ? *found : none;
}

std::string text(const Json& map, std::string_view field) {
  const auto found = map.find(field);
  return found != map.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string resource_version(const Json& object) {
  return text(metadata(object), "resourceVersion");
}

std::string uid(const Json& object) { return text(metadata(object), "uid"); }

std::pair<std::string, std::string> key_of(const Json& object) {
  return {text(metadata(object), "namespace"), text(metadata(object), "name")};
}

bool ends_initial_events(const Json& bookmark) {
  const auto annotations = metadata(bookmark).find("annotations");
  return annotations != metadata(bookmark).end() && annotations->is_object() &&
         text(*annotations, kInitialEventsEnd) == "true";
}

// What servers without WatchList answer to sendInitialEvents: 400 or 422.
bool refuses_streaming(const Error& error) { return error.code == ErrorCode::kInvalid; }

void pause(const std::stop_token& stop, std::chrono::milliseconds delay) {
  std::mutex mutex;
  std::unique_lock lock(mutex);
  std::condition_variable_any().wait_for(lock, stop, delay, [] { return false; });
}

}  // namespace

void drop_managed_fields(Json& object) {
  const auto found = object.find("metadata");
  if (found != object.end() && found->is_object()) found->erase("managedFields");
}

Informer::Informer(Client& client, Resource resource, InformerOptions options)
    : client_(client),
      resource_(resource),
      options_(std::move(options)),
      random_(std::random_device{}()) {}

Informer::~Informer() { stop(); }

void Informer::on_change(Handler handler) { handlers_.push_back(std::move(handler)); }

void Informer::start() {
  if (thread_.joinable()) return;
  thread_ = std::jthread([this](const std::stop_token& stop) { run(stop); });
  const std::string name = "watch-" + std::string(resource_.plural);
  pthread_setname_np(thread_.native_handle(), name.substr(0, 15).c_str());
}

void Informer::stop() {
  thread_.request_stop();
  if (thread_.joinable()) thread_.join();
}

Informer::Object Informer::get(std::string_view ns, std::string_view name) const {
  MutexLock lock(mutex_);
  const auto found = store_.find({std::string(ns), std::string(name)});
  return found == store_.end() ? nullptr : found->second;
}

std::vector<Informer::Object> Informer::list() const {
  MutexLock lock(mutex_);
  std::vector<Object> objects;
  objects.reserve(store_.size());
  for (const auto& [key, object] : store_) objects.push_back(object);
  return objects;
}

bool Informer::has_synced() const {
  MutexLock lock(mutex_);
  return synced_;
}

bool Informer::wait_synced(std::chrono::milliseconds timeout, const std::stop_token& stop) const {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  // Before the lock: both its callback and its end wait for one another.
  const std::stop_callback wake(stop, [this] {
    { MutexLock lock(mutex_); }
    changed_.notify_all();
  });
  MutexLock lock(mutex_);
  while (!synced_ && !stop.stop_requested()) {
    if (changed_.wait_until(lock, deadline) == std::cv_status::timeout) break;
  }
  return synced_;
}

void Informer::run(const std::stop_token& stop) {
  while (!stop.stop_requested()) {
    progressed_ = false;
    const Status done = step(stop);
    if (stop.stop_requested()) return;
    if (progressed_) failures_ = 0;
    if (done.ok()) continue;
    const bool gone = done.error().code == ErrorCode::kGone;
    if (gone) resource_version_.clear();
    // Where a watch worked until it was too old, the list follows at once.
    if (gone && progressed_) continue;
    std::chrono::milliseconds delay = next_delay();
    delay = std::max<std::chrono::milliseconds>(
        delay, std::chrono::seconds(done.error().retry_after_seconds));
    (gone ? log::info : log::warning)("watch interrupted, it will be tried again",
                                      {{"resource", std::string(resource_.plural)},
                                       {"error", done.error().message},
                                       {"delayMs", std::to_string(delay.count())}});
    pause(stop, delay);
  }
}

Status Informer::step(const std::stop_token& stop) {
  if (!resource_version_.empty()) return watch(stop, false);
  if (streaming_refused_) return paged_list();
  Status streamed = stream_list(stop);
  if (streamed.ok() || !refuses_streaming(streamed.error())) return streamed;
  streaming_refused_ = true;
  return paged_list();
}

Status Informer::stream_list(const std::stop_token& stop) {
  initial_.emplace();
  Status done = watch(stop, true);
  initial_.reset();  // if still there, what came was a part only
  return done;
}

Status Informer::paged_list() {
  Store fresh;
  const ListOptions options{options_.label_selector, options_.field_selector, options_.page_size};
  const Result<std::string> version = client_.list_pages(
      resource_, options_.ns, options, [&](std::vector<Json> items, bool restart) {
        if (restart) fresh.clear();
        for (Json& item : items) {
          Object object = prepare(std::move(item));
          auto key = key_of(*object);
          fresh.insert_or_assign(std::move(key), std::move(object));
        }
      });
  if (!version.ok()) return version.error();
  replace(std::move(fresh));
  resource_version_ = *version;
  return {};
}

Status Informer::watch(const std::stop_token& stop, bool send_initial_events) {
  std::uniform_int_distribution<int> timeout(300, 600);
  WatchOptions options;
  options.label_selector = options_.label_selector;
  options.field_selector = options_.field_selector;
  options.resource_version = send_initial_events ? std::string() : resource_version_;
  options.send_initial_events = send_initial_events;
  options.timeout = std::chrono::seconds(timeout(random_));
  event_error_.reset();
  const auto began = std::chrono::steady_clock::now();
  Status done = client_.watch(
      resource_, options_.ns, options, [this](Json event) { return receive(std::move(event)); },
      stop);
  if (event_error_) return *event_error_;
  if (!done.ok()) return done;
  if (initial_) {
    streaming_refused_ = true;  // a proxy or an old server took it for a plain watch
    return Error{ErrorCode::kUnavailable, "the server ended a streaming list before its end"};
  }
  const auto took = std::chrono::steady_clock::now() - began;
  if (took >= std::chrono::seconds(1)) progressed_ = true;
  if (progressed_) return {};
  // Without this a server that ends every watch at once would be asked in a loop.
  return Error{ErrorCode::kUnavailable, "the server ended a watch at once without an event"};
}

bool Informer::receive(Json event) {
  const std::string type = event.is_object() ? text(event, "type") : std::string();
  if (event.is_object() && event.contains("object") && event["object"].is_object()) {
    Json object = std::move(event["object"]);
    if (type == "ERROR") {
      event_error_ = status_error(object, "watch " + std::string(resource_.plural));
      return false;
    }
    if (type == "BOOKMARK") {
      bookmark(object);
      return true;
    }
    if (type == "ADDED" || type == "MODIFIED" || type == "DELETED") {
      receive_object(type, std::move(object));
      return true;
    }
  }
  event_error_ = Error{ErrorCode::kCorrupt,
                       "watch " + std::string(resource_.plural) + ": an event that is none"};
  return false;
}

void Informer::receive_object(std::string_view type, Json object) {
  const std::string version = resource_version(object);
  Object prepared = prepare(std::move(object));
  if (initial_) {
    auto key = key_of(*prepared);
    if (type == "DELETED") {
      initial_->erase(key);
    } else {
      initial_->insert_or_assign(std::move(key), std::move(prepared));
    }
  } else if (type == "DELETED") {
    erase(prepared);
  } else {
    put(prepared);
  }
  if (!initial_ && !version.empty()) {
    resource_version_ = version;
    progressed_ = true;
  }
}

void Informer::bookmark(const Json& object) {
  const std::string version = resource_version(object);
  if (initial_) {
    if (!ends_initial_events(object)) return;
    replace(*std::exchange(initial_, std::nullopt));
  }
  if (!version.empty()) resource_version_ = version;
  progressed_ = true;
}

std::chrono::milliseconds Informer::next_delay() {
  std::chrono::milliseconds delay = options_.minimum_delay;
  for (int i = 0; i < failures_ && delay < options_.maximum_delay; ++i) delay *= 2;
  ++failures_;
  delay = std::min(delay, options_.maximum_delay);
  std::uniform_int_distribution<std::chrono::milliseconds::rep> jittered(delay.count() / 2,
                                                                         delay.count());
  return std::chrono::milliseconds(jittered(random_));
}

Informer::Object Informer::prepare(Json object) const {
  if (options_.transform) options_.transform(object);
  return std::make_shared<const Json>(std::move(object));
}

void Informer::put(const Object& object) {
  Object old;
  {
    MutexLock lock(mutex_);
    Object& slot = store_[key_of(*object)];
    old = std::exchange(slot, object);
  }
  tell(old, object);
}

void Informer::erase(const Object& last) {
  {
    MutexLock lock(mutex_);
    if (store_.erase(key_of(*last)) == 0) return;
  }
  tell(last, nullptr);
}

void Informer::replace(Store fresh) {
  std::vector<std::pair<Object, Object>> changes;
  {
    MutexLock lock(mutex_);
    for (const auto& [key, old] : store_) {
      const auto still = fresh.find(key);
      const bool vanished = still == fresh.end() || uid(*still->second) != uid(*old);
      if (vanished) changes.emplace_back(old, nullptr);
    }
    for (const auto& [key, current] : fresh) {
      const auto known = store_.find(key);
      const bool is_new = known == store_.end() || uid(*known->second) != uid(*current);
      if (is_new) {
        changes.emplace_back(nullptr, current);
      } else if (resource_version(*known->second) != resource_version(*current)) {
        changes.emplace_back(known->second, current);
      }
    }
    store_ = std::move(fresh);
  }
  for (const auto& [old, current] : changes) tell(old, current);
  MutexLock lock(mutex_);
  synced_ = true;
  changed_.notify_all();
}

void Informer::tell(const Object& old, const Object& current) const {
  for (const Handler& handler : handlers_) handler(old, current);
}

}  // namespace transship::kube
