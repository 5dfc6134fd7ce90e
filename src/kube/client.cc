#include "kube/client.h"

#include <algorithm>
#include <random>
#include <thread>
#include <utility>

#include "kube/status_error.h"

namespace transship::kube {
namespace {

constexpr std::size_t kMaxLogBytes = std::size_t{256} << 10U;

// Beyond the time after which the server ends a watch.
constexpr std::chrono::seconds kWatchGrace{30};
// A bookmark comes about every minute: silence for longer means that the connection is dead.
constexpr std::chrono::seconds kWatchSilence{150};

// A request's target, put together.
class Target {
 public:
  explicit Target(std::string path) : text_(std::move(path)) {}

  Target& segment(std::string_view name) {
    if (!name.empty()) text_ += '/' + percent_encode(name);
    return *this;
  }
  // Left out where the value is empty.
  Target& query(std::string_view name, std::string_view value) {
    if (value.empty()) return *this;
    text_ += begun_ ? '&' : '?';
    begun_ = true;
    text_ += name;
    text_ += '=' + percent_encode(value);
    return *this;
  }
  Target& flag(std::string_view name, bool set) { return set ? query(name, "true") : *this; }
  Target& write(const WriteOptions& options) {
    if (options.dry_run) query("dryRun", "All");
    return query("fieldManager", options.field_manager);
  }
  std::string take() { return std::move(text_); }

 private:
  std::string text_;
  bool begun_ = false;
};

std::string text_at(const Json& object, const char* field) {
  if (!object.is_object()) return {};
  const auto found = object.find(field);
  return found != object.end() && found->is_string() ? found->get<std::string>() : std::string();
}

std::string metadata_text(const Json& object, const char* field) {
  if (!object.is_object()) return {};
  const auto metadata = object.find("metadata");
  return metadata != object.end() ? text_at(*metadata, field) : std::string();
}

// What errors say was tried. The query is left out: it says little and may be long.
std::string tried_by(const Request& request) {
  return request.method + ' ' + request.target.substr(0, request.target.find('?'));
}

Result<Json> parse(const std::string& text, std::string_view tried) {
  Json json = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return Error{ErrorCode::kUnavailable, std::string(tried) + ": the answer is no JSON object"};
  }
  return json;
}

void complete(const Resource& resource, Json& object) {
  if (!object.is_object()) return;
  if (!object.contains("apiVersion")) object["apiVersion"] = resource.api_version();
  if (!object.contains("kind")) object["kind"] = resource.kind;
}

std::string_view content_type(PatchType type) {
  switch (type) {
    case PatchType::kJson:
      return "application/json-patch+json";
    case PatchType::kMerge:
      return "application/merge-patch+json";
    case PatchType::kStrategic:
      return "application/strategic-merge-patch+json";
    case PatchType::kApply:
      return "application/apply-patch+yaml";
  }
  return "application/json";
}

// Between half of it and all of it.
std::chrono::milliseconds jittered(std::chrono::milliseconds delay) {
  thread_local std::minstd_rand random{std::random_device{}()};
  std::uniform_int_distribution<std::int64_t> within(delay.count() / 2, delay.count());
  return std::chrono::milliseconds(within(random));
}

// Whether a read may be tried again: the server is busy, or was not reached.
bool worth_another_try(const Result<Response>& response) {
  if (!response) return response.error().code == ErrorCode::kUnavailable;
  return response->status == 429 || response->status == 502 || response->status == 503;
}

Error invalid(std::string message) { return {ErrorCode::kInvalid, std::move(message)}; }

}  // namespace

Client::Client(std::shared_ptr<Transport> transport, ClientOptions options)
    : transport_(std::move(transport)), options_(std::move(options)) {
  if (!options_.wait) {
    options_.wait = [](std::chrono::milliseconds delay) { std::this_thread::sleep_for(delay); };
  }
}

Request Client::make_request(std::string_view method, std::string target) const {
  Request request;
  request.method = method;
  request.target = std::move(target);
  request.headers = {{"Accept", "application/json"}};
  request.timeout = options_.timeout;
  return request;
}

// Once, and told to the observer. An error: no answer came.
Result<Response> Client::send(const Request& request, std::string_view tried) {
  auto response = transport_->request(request);
  if (options_.observer != nullptr) {
    options_.observer->on_request(request.method, options_.host, response ? response->status : 0);
  }
  if (!response) return response.error().during(tried);
  return response;
}

// Several times where that may help. An error also where the answer is one.
Result<Response> Client::read(const Request& request, std::string_view tried) {
  auto delay = options_.retry_delay;
  for (int attempt = 1;; ++attempt) {
    auto response = send(request, tried);
    if (!worth_another_try(response) || attempt >= options_.read_attempts) {
      if (response && response->status >= 300) return status_error(*response, tried);
      return response;
    }
    const int retry_after = response ? status_error(*response, tried).retry_after_seconds : 0;
    const std::chrono::seconds asked{retry_after};
    if (asked > options_.longest_retry_after) return status_error(*response, tried);
    options_.wait(std::max<std::chrono::milliseconds>(asked, jittered(delay)));
    delay *= 2;
  }
}

Result<Json> Client::write(Request request, std::string_view tried) {
  if (!request.body.empty() && request.content_type.empty()) {
    request.content_type = "application/json";
  }
  auto response = send(request, tried);
  if (!response) return response.error();
  if (response->status >= 300) return status_error(*response, tried);
  return parse(response->body, tried);
}

Result<Json> Client::get(const Resource& resource, std::string_view ns, std::string_view name) {
  if (name.empty()) return invalid("GET " + resource.path(ns) + ": an object has a name");
  const Request request = make_request("GET", resource.path(ns, name));
  const std::string tried = tried_by(request);
  auto response = read(request, tried);
  if (!response) return response.error();
  return parse(response->body, tried);
}

Result<ObjectList> Client::list(const Resource& resource, std::string_view ns,
                                const ListOptions& options) {
  ObjectList all;
  auto version = list_pages(resource, ns, options, [&all](std::vector<Json> items, bool restart) {
    if (restart) all.items.clear();
    std::move(items.begin(), items.end(), std::back_inserter(all.items));
  });
  if (!version) return version.error();
  all.resource_version = *version;
  return all;
}

Result<std::string> Client::list_pages(const Resource& resource, std::string_view ns,
                                       const ListOptions& options, const OnPage& on_page) {
  std::string next;
  bool begun_again = false;
  for (;;) {
    Target target(resource.path(ns));
    target.query("labelSelector", options.label_selector)
        .query("fieldSelector", options.field_selector)
        .query("limit", options.any_version ? std::string() : std::to_string(options.page_size))
        .query("resourceVersion", options.any_version ? "0" : "")
        .query("continue", next);
    const Request request = make_request("GET", target.take());
    const std::string tried = tried_by(request);
    auto response = read(request, tried);
    if (!response) {
      const bool forgotten = response.error().code == ErrorCode::kGone && !next.empty();
      if (!forgotten || begun_again) return response.error();
      begun_again = true;
      next.clear();
      continue;
    }
    auto page = parse(response->body, tried);
    if (!page) return page.error();
    std::vector<Json> items;
    // An empty list may be null.
    if (auto found = page->find("items"); found != page->end() && found->is_array()) {
      for (Json& item : *found) {
        complete(resource, item);
        items.push_back(std::move(item));
      }
    }
    on_page(std::move(items), next.empty());
    next = metadata_text(*page, "continue");
    if (next.empty()) return metadata_text(*page, "resourceVersion");
  }
}

Result<Json> Client::create(const Resource& resource, std::string_view ns, Json object,
                            const WriteOptions& options) {
  complete(resource, object);
  // A subresource is created below the object that it is of.
  const std::string parent =
      options.subresource.empty() ? std::string() : metadata_text(object, "name");
  Target target(resource.path(ns, parent));
  target.segment(options.subresource).write(options);
  Request request = make_request("POST", target.take());
  // Under a fixed name the second is answered with 409, and does nothing.
  request.once = metadata_text(object, "name").empty() && !options.dry_run;
  request.body = object.dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::string tried = tried_by(request);
  return write(std::move(request), tried);
}

Result<Json> Client::update(const Resource& resource, std::string_view ns, Json object,
                            const WriteOptions& options) {
  complete(resource, object);
  const std::string name = metadata_text(object, "name");
  if (name.empty()) return invalid("PUT " + resource.path(ns) + ": the object has no name");
  Target target(resource.path(ns, name));
  target.segment(options.subresource).write(options);
  Request request = make_request("PUT", target.take());
  request.body = object.dump(-1, ' ', false, Json::error_handler_t::replace);
  const std::string tried = tried_by(request);
  return write(std::move(request), tried);
}

Result<Json> Client::patch(const Resource& resource, std::string_view ns, std::string_view name,
                           PatchType type, const Json& body, const WriteOptions& options) {
  const bool apply = type == PatchType::kApply;
  Target target(resource.path(ns, name));
  target.segment(options.subresource).write(options).flag("force", apply && options.force);
  Request request = make_request("PATCH", target.take());
  const std::string tried = tried_by(request);
  if (name.empty()) return invalid(tried + ": an object has a name");
  if (apply && options.field_manager.empty()) return invalid(tried + ": no field manager");
  Json completed = body;
  if (apply) complete(resource, completed);
  request.body = completed.dump(-1, ' ', false, Json::error_handler_t::replace);
  request.content_type = content_type(type);
  auto patched = write(std::move(request), tried);
  if (patched || patched.error().code != ErrorCode::kInvalid) return patched;
  // In a patch the server takes another UID for an attempt to change it, not for a precondition.
  const bool other_uid = !metadata_text(body, "uid").empty() &&
                         patched.error().message.find("metadata.uid") != std::string::npos;
  Error error = patched.error();
  if (other_uid) error.code = ErrorCode::kConflict;
  return error;
}

Result<bool> Client::remove(const Resource& resource, std::string_view ns, std::string_view name,
                            const DeleteOptions& options) {
  Request request = make_request("DELETE", resource.path(ns, name));
  const std::string tried = tried_by(request);
  // Without a name it would be the whole collection.
  if (name.empty()) return invalid(tried + ": an object has a name");
  Json body = {{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
  if (!options.uid.empty()) body["preconditions"]["uid"] = options.uid;
  if (!options.resource_version.empty()) {
    body["preconditions"]["resourceVersion"] = options.resource_version;
  }
  if (options.grace_period_seconds) body["gracePeriodSeconds"] = *options.grace_period_seconds;
  if (!options.propagation_policy.empty()) body["propagationPolicy"] = options.propagation_policy;
  if (options.dry_run) body["dryRun"] = Json::array({"All"});
  request.body = body.dump();
  auto removed = write(std::move(request), tried);
  if (removed) return true;
  if (removed.error().code == ErrorCode::kNotFound) return false;
  return removed.error();
}

Status Client::watch(const Resource& resource, std::string_view ns, const WatchOptions& options,
                     const std::function<bool(Json event)>& on_event, const std::stop_token& stop) {
  Target target(resource.path(ns));
  target.query("watch", "true")
      .query("allowWatchBookmarks", "true")
      .query("labelSelector", options.label_selector)
      .query("fieldSelector", options.field_selector)
      .query("resourceVersion", options.resource_version)
      .query("timeoutSeconds", std::to_string(options.timeout.count()))
      .flag("sendInitialEvents", options.send_initial_events);
  if (options.send_initial_events) target.query("resourceVersionMatch", "NotOlderThan");
  Request request = make_request("GET", target.take());
  request.timeout = std::min<std::chrono::seconds>(options.timeout + kWatchGrace, kWatchSilence);
  const std::string tried = tried_by(request);
  std::optional<Error> broken;
  const auto on_line = [&](std::string_view line) {
    Json event = Json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!event.is_object() || !event.contains("type") || !event.contains("object")) {
      broken = Error{ErrorCode::kUnavailable, tried + ": a line is no watch event"};
      return false;
    }
    return on_event(std::move(event));
  };
  auto response = transport_->stream(request, on_line, stop);
  if (options_.observer != nullptr) {
    options_.observer->on_request(request.method, options_.host, response ? response->status : 0);
  }
  if (broken) return *broken;
  if (!response) return response.error().during(tried);
  if (response->status >= 300) return status_error(*response, tried);
  return {};
}

Result<std::string> Client::logs(std::string_view ns, std::string_view pod,
                                 std::string_view container, int tail_lines) {
  Target target(kPods.path(ns, pod));
  target.segment("log")
      .query("container", container)
      .query("tailLines", std::to_string(tail_lines))
      .query("limitBytes", std::to_string(kMaxLogBytes));
  Request request = make_request("GET", target.take());
  request.headers = {{"Accept", "*/*"}};  // plain text, which the server knows by no other name
  auto response = read(request, tried_by(request));
  if (!response) return response.error();
  return std::move(response->body);
}

Result<std::string> Client::server_version() {
  const Request request = make_request("GET", "/version");
  const std::string tried = tried_by(request);
  auto response = read(request, tried);
  if (!response) return response.error();
  auto version = parse(response->body, tried);
  if (!version) return version.error();
  return text_at(*version, "gitVersion");
}

Result<bool> Client::serves(const Resource& resource) {
  const Request request = make_request("GET", resource.group_path());
  const std::string tried = tried_by(request);
  auto response = read(request, tried);
  if (!response) {
    if (response.error().code == ErrorCode::kNotFound) return false;
    return response.error();
  }
  auto group = parse(response->body, tried);
  if (!group) return group.error();
  const auto resources = group->find("resources");
  if (resources == group->end() || !resources->is_array()) return false;
  return std::any_of(resources->begin(), resources->end(), [&](const Json& served) {
    return text_at(served, "name") == resource.plural;
  });
}

}  // namespace transship::kube
