// Informer: a local copy of the objects of one resource, kept up to date by a watch, and a call for
// every change of it. Reads cost no request. The copy may be late, but is never older than it was.
//
// It begins with a streaming list (WatchList, KEP-3157) where the server has it, else with a paged
// LIST, and then watches from there. Where the server has forgotten the resource version (410 Gone)
// it lists again; an object that vanished in between is reported as deleted, with its last known
// state. Errors are tried again with a growing, jittered delay, without end.
// https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"
#include "kube/client.h"
#include "kube/resource.h"

namespace transship::kube {

// The default InformerOptions::transform: drops metadata.managedFields, often half of an object.
void drop_managed_fields(Json& object);

struct InformerOptions {
  std::string ns;              // empty: all namespaces
  std::string label_selector;  // as the API takes them; empty: everything
  std::string field_selector;
  // Takes from an object what nobody reads, before it is stored. Must leave metadata.name,
  // .namespace and .resourceVersion. May be null.
  std::function<void(Json&)> transform = drop_managed_fields;
  int page_size = 500;  // objects per page of a LIST
  // Of the delay after an error: the first one, which doubles, and the last one. Each is jittered
  // to between half of it and all of it.
  std::chrono::milliseconds minimum_delay{200};
  std::chrono::milliseconds maximum_delay{30000};
};

class Informer {
 public:
  using Object = std::shared_ptr<const Json>;
  // Null `old`: the object is new. Null `current`: it was deleted, and `old` is its last known
  // state.
  using Handler = std::function<void(const Object& old, const Object& current)>;

  // The client outlives the informer.
  Informer(Client& client, Resource resource, InformerOptions options = {});
  ~Informer();  // as stop()
  Informer(const Informer&) = delete;
  Informer& operator=(const Informer&) = delete;

  // Adds a handler; before start(). Handlers are called on the informer's thread, one change after
  // the other, when the store has the change already. They return soon and do not throw.
  void on_change(Handler handler);

  // Starts the thread; once.
  void start();
  // Ends the watch and joins the thread. The store stays as it is. Not from a handler.
  void stop();

  // The object as last seen; null where there is none. Namespace empty: a cluster-wide resource.
  [[nodiscard]] Object get(std::string_view ns, std::string_view name) const EXCLUDES(mutex_);
  // All objects, by namespace and name.
  [[nodiscard]] std::vector<Object> list() const EXCLUDES(mutex_);

  // True once the store has held all objects, and the handlers know them.
  [[nodiscard]] bool has_synced() const EXCLUDES(mutex_);
  // Waits until has_synced(); false: `timeout` passed or `stop` was requested before.
  [[nodiscard]] bool wait_synced(std::chrono::milliseconds timeout,
                                 const std::stop_token& stop = {}) const EXCLUDES(mutex_);

 private:
  using Store = std::map<std::pair<std::string, std::string>, Object, std::less<>>;

  void run(const std::stop_token& stop);
  Status step(const std::stop_token& stop);
  Status stream_list(const std::stop_token& stop);
  Status paged_list();
  Status watch(const std::stop_token& stop, bool send_initial_events);
  bool receive(Json event);
  void receive_object(std::string_view type, Json object);
  void bookmark(const Json& object);
  std::chrono::milliseconds next_delay();

  Object prepare(Json object) const;
  void put(const Object& object) EXCLUDES(mutex_);
  void erase(const Object& last) EXCLUDES(mutex_);
  void replace(Store fresh) EXCLUDES(mutex_);
  void tell(const Object& old, const Object& current) const;

  Client& client_;
  const Resource resource_;
  const InformerOptions options_;
  std::vector<Handler> handlers_;

  // The thread's own.
  std::optional<Store> initial_;      // what a streaming list has brought so far
  std::string resource_version_;      // to watch from; empty: list first
  std::optional<Error> event_error_;  // what an ERROR event of the running watch said
  bool streaming_refused_ = false;    // the server has no WatchList
  bool progressed_ = false;           // the running watch brought something
  int failures_ = 0;                  // in a row
  std::minstd_rand random_;

  mutable Mutex mutex_;
  mutable std::condition_variable_any changed_;
  Store store_ GUARDED_BY(mutex_);
  bool synced_ GUARDED_BY(mutex_) = false;
  std::jthread thread_;
};

}  // namespace transship::kube
