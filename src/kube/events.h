// EventRecorder: tells people what happened to an object, as `kubectl describe` shows it. Events
// are best effort: they are sent in the background, and lost where the server does not take them.
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>

#include "base/mutex.h"
#include "base/result.h"
#include "base/time.h"
#include "kube/client.h"

namespace transship::kube {

struct EventRecorderOptions {
  using Instant = std::chrono::steady_clock::time_point;

  std::size_t queue_limit = 1000;   // events that wait to be sent; the oldest is dropped beyond it
  std::size_t series_limit = 4096;  // series that are remembered
  // A repeat of an event this soon after its last one is counted in the same object.
  std::chrono::milliseconds series_window = std::chrono::minutes(6);
  // A series is written at most this often, so that a hot loop makes no flood of requests.
  std::chrono::milliseconds series_interval = std::chrono::seconds(10);
  // How long stop() goes on sending what waits.
  std::chrono::milliseconds flush_limit = std::chrono::seconds(3);
  int attempts = 3;                             // where the server is unavailable
  std::chrono::milliseconds retry_delay{1000};  // between them
  std::function<Instant()> now = std::chrono::steady_clock::now;
  std::function<WallTime()> wall_now = std::chrono::system_clock::now;
};

class EventRecorder {
 public:
  // `reporting_controller`: a qualified name, e.g. "transship.dev/controller".
  // `reporting_instance`: this process, e.g. the pod's name. The client outlives the recorder. The
  // thread starts here.
  EventRecorder(Client& client, std::string reporting_controller, std::string reporting_instance,
                EventRecorderOptions options = {});
  ~EventRecorder();  // as stop()
  EventRecorder(const EventRecorder&) = delete;
  EventRecorder& operator=(const EventRecorder&) = delete;

  // Queues an event and returns at once. `regarding`: an ObjectReference (apiVersion, kind,
  // namespace, name, uid, resourceVersion) or the object itself. `type`: "Normal" or "Warning".
  // `reason`: why, CamelCase and stable. `action`: what the controller did about it, CamelCase.
  // `note`: for people; cut to 1024 bytes. Safe from any thread; ignored after stop().
  void record(const Json& regarding, std::string_view type, std::string_view reason,
              std::string_view action, std::string_view note) EXCLUDES(mutex_);

  // Sends what waits, for at most flush_limit and the time of one request, and joins the thread.
  void stop() EXCLUDES(mutex_);

 private:
  using Instant = EventRecorderOptions::Instant;
  struct Observed {
    Json event;            // complete but for its name
    std::string identity;  // equal for repeats
    WallTime wall;
    Instant at;
  };
  struct Series {
    Json event;  // as it was created, with its name
    std::int64_t count = 1;
    WallTime last_wall;  // of the last repeat
    Instant last;
    Instant written;
    bool dirty = false;  // repeats are not written yet
  };

  void run();
  void create(Observed observed);
  void write_due_series(bool all);
  void write(Series& series);
  void forget_old_series();
  Status send(std::string_view what, const std::function<Status()>& request);
  // Waits for the next one to send; nullopt: a series is due, or the recorder stops.
  std::optional<Observed> next() EXCLUDES(mutex_);
  [[nodiscard]] std::optional<Instant> series_due() const;
  // The recorder was stopped; and the time to flush is over, too.
  [[nodiscard]] bool stopping() const EXCLUDES(mutex_);
  [[nodiscard]] bool flush_is_over() const EXCLUDES(mutex_);
  void pause() EXCLUDES(mutex_);
  std::string make_name(const Json& regarding);

  Client& client_;
  const std::string reporting_controller_;
  const std::string reporting_instance_;
  const EventRecorderOptions options_;

  // The thread's own.
  std::map<std::string, Series> series_;  // by identity
  std::mt19937_64 random_;

  mutable Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Observed> queue_ GUARDED_BY(mutex_);
  std::int64_t dropped_ GUARDED_BY(mutex_) = 0;
  std::optional<std::chrono::steady_clock::time_point> flush_until_ GUARDED_BY(mutex_);
  std::jthread thread_;
};

}  // namespace transship::kube
