// ScriptedTransport: an API server in a test's hand. It keeps objects by path with resource
// versions and optimistic locking; watches and failures are what the test says.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <utility>
#include <vector>

#include "kube/transport.h"

namespace transship::kube {

class ScriptedTransport : public Transport {
 public:
  using Json = nlohmann::json;
  using Stream =
      std::function<Result<Response>(const Request&, const OnLine&, const std::stop_token&)>;

  // Called before each request; an answer or error of its own instead of the store's where it gives
  // one. It may change the store.
  std::function<std::optional<Result<Response>>(const Request&)> before;

  // Streams in the order in which they are asked for; beyond the script they stay silent until the
  // stop.
  void script(std::vector<Stream> streams) {
    const std::lock_guard lock(mutex_);
    streams_.assign(streams.begin(), streams.end());
  }

  Result<Response> request(const Request& request) override {
    if (before) {
      if (auto instead = before(request)) return note(request, *instead);
    }
    return note(request, answer(request));
  }

  Result<Response> stream(const Request& request, const OnLine& on_line,
                          const std::stop_token& stop) override {
    Stream next;
    {
      const std::lock_guard lock(mutex_);
      log_.push_back("WATCH " + request.target);
      changed_.notify_all();
      if (!streams_.empty()) {
        next = std::move(streams_.front());
        streams_.pop_front();
      }
    }
    return next ? next(request, on_line, stop) : silent(stop);
  }

  // A stream that brings nothing until the stop.
  static Result<Response> silent(const std::stop_token& stop) {
    std::mutex mutex;
    std::unique_lock lock(mutex);
    std::condition_variable_any().wait(lock, stop, [] { return false; });
    return Error{ErrorCode::kCancelled, "stopped"};
  }

  // A stream of these events, which the server then ends; or keeps open.
  static Stream events(std::vector<Json> events, bool stay_open = false) {
    return [=](const Request&, const OnLine& on_line,
               const std::stop_token& stop) -> Result<Response> {
      for (const Json& event : events) {
        if (!on_line(event.dump())) return Response{.status = 200};
      }
      if (stay_open) return silent(stop);
      return Response{.status = 200};
    };
  }
  // A stream that is refused.
  static Stream refused(int status, const std::string& reason) {
    return [=](const Request&, const OnLine&, const std::stop_token&) -> Result<Response> {
      return failure(status, reason);
    };
  }

  static Response failure(int status, const std::string& reason) {
    return {.status = status,
            .body = Json({{"kind", "Status"},
                          {"status", "Failure"},
                          {"reason", reason},
                          {"message", reason},
                          {"code", status}})
                        .dump()};
  }

  // The object at the path as it is; null: none. set() gives it a new resource version.
  Json at(const std::string& path) const {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(path);
    return found == objects_.end() ? Json() : found->second;
  }
  void set(const std::string& path, Json object) {
    const std::lock_guard lock(mutex_);
    store(path, std::move(object));
  }
  void drop(const std::string& path) {
    const std::lock_guard lock(mutex_);
    objects_.erase(path);
  }
  std::map<std::string, Json> objects() const {
    const std::lock_guard lock(mutex_);
    return objects_;
  }
  // "METHOD target" of each request.
  std::vector<std::string> log() const {
    const std::lock_guard lock(mutex_);
    return log_;
  }
  // Waits until `done` holds of the log; false: it never did.
  bool wait(const std::function<bool(const std::vector<std::string>&)>& done) const {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return done(log_); });
  }

 private:
  // The request is logged when its effect can be seen.
  Result<Response> note(const Request& request, Result<Response> result) {
    const std::lock_guard lock(mutex_);
    log_.push_back(request.method + " " + request.target);
    changed_.notify_all();
    return result;
  }

  Response answer(const Request& request) {
    const std::lock_guard lock(mutex_);
    const std::string path = request.target.substr(0, request.target.find('?'));
    if (request.method == "POST") {
      Json object = Json::parse(request.body);
      const std::string item = path + "/" + object["metadata"]["name"].get<std::string>();
      if (objects_.contains(item)) return failure(409, "AlreadyExists");
      return {.status = 201, .body = store(item, std::move(object)).dump()};
    }
    const auto found = objects_.find(path);
    if (found == objects_.end()) return failure(404, "NotFound");
    if (request.method == "PUT") {
      Json object = Json::parse(request.body);
      const Json& have = found->second["metadata"]["resourceVersion"];
      if (object["metadata"].value("resourceVersion", Json()) != have) {
        return failure(409, "Conflict");
      }
      store(path, std::move(object));
    } else if (request.method == "PATCH") {
      Json object = found->second;
      object.merge_patch(Json::parse(request.body));
      store(path, std::move(object));
    }
    return {.status = 200, .body = objects_.at(path).dump()};
  }

  const Json& store(const std::string& path, Json object) {
    object["metadata"]["resourceVersion"] = std::to_string(++version_);
    return objects_[path] = std::move(object);
  }

  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  std::map<std::string, Json> objects_;
  std::deque<Stream> streams_;
  std::vector<std::string> log_;
  int version_ = 100;
};

}  // namespace transship::kube
