// Client: the Kubernetes API over a Transport. Objects are JSON values as the server sends them.
//
// Errors: ErrorCode as base/result.h maps HTTP statuses; the message says what was tried, on what,
// and the server's own words, at most about 2 kB. Reads are tried again a few times where the
// server is busy or not reachable; a write is sent once: after kUnavailable and kTimeout read what
// happened. https://kubernetes.io/docs/reference/using-api/api-concepts/
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "kube/resource.h"
#include "kube/transport.h"

namespace transship::kube {

using Json = nlohmann::json;

// Is told of every request, for rest_client_requests_total{code,method,host}. From any thread.
class RequestObserver {
 public:
  virtual ~RequestObserver() = default;
  // `status`: HTTP; 0 where no answer came.
  virtual void on_request(std::string_view method, std::string_view host, int status) = 0;
};

struct ClientOptions {
  std::string host{};                            // what the observer is told, e.g. "10.96.0.1:443"
  RequestObserver* observer = nullptr;           // outlives the client; may be null
  std::chrono::milliseconds timeout{30000};      // of one request
  int read_attempts = 4;                         // of a GET or LIST
  std::chrono::milliseconds retry_delay{250};    // before the second; doubles; jittered
  std::chrono::seconds longest_retry_after{10};  // a Retry-After beyond it is left to the caller
  // Waits between attempts. Null: really.
  std::function<void(std::chrono::milliseconds)> wait{};
};

struct ListOptions {
  std::string label_selector{};  // "a=b,c"; empty: all
  std::string field_selector{};
  int page_size = 500;
  // What the server has at hand, perhaps of a while ago ("resourceVersion=0"), instead of the
  // latest. It comes as one page.
  bool any_version = false;
};

struct ObjectList {
  std::vector<Json> items{};
  std::string resource_version{};  // of the list: a watch may start from it
};

struct WriteOptions {
  bool dry_run = false;  // all checks and admission, nothing is stored
  std::string field_manager{};
  std::string subresource{};  // "status", "scale"; empty: the object itself
  bool force = false;         // kApply only: take fields that others own
};

struct DeleteOptions {
  std::string uid{};               // precondition (else kConflict); empty: none
  std::string resource_version{};  // likewise
  std::optional<int> grace_period_seconds{};
  // "Background", "Foreground" or "Orphan"; empty: the resource's own.
  std::string propagation_policy{};
  bool dry_run = false;
};

struct WatchOptions {
  std::string label_selector{};
  std::string field_selector{};
  std::string resource_version{};  // the watch tells what came after it; empty with initial events
  bool send_initial_events = false;   // WatchList: begins with everything there is (KEP-3157)
  std::chrono::seconds timeout{300};  // the server ends the watch after it
};

// How a patch's body is read: RFC 6902, RFC 7386, by the type's merge keys, server-side apply.
enum class PatchType { kJson, kMerge, kStrategic, kApply };

// Safe from any thread. `ns` is empty for resources of the cluster; in lists and watches it then
// means all namespaces.
class Client {
 public:
  explicit Client(std::shared_ptr<Transport> transport, ClientOptions options = {});

  // kNotFound where there is none.
  Result<Json> get(const Resource& resource, std::string_view ns, std::string_view name);
  // All pages. Where the server has forgotten the list half way (410), it is read again from the
  // start.
  Result<ObjectList> list(const Resource& resource, std::string_view ns,
                          const ListOptions& options = {});
  // list() page by page, for lists that should not be in memory twice: returns the list's resource
  // version. `restart` is true for the first page, also for that of another try: forget what came
  // before.
  using OnPage = std::function<void(std::vector<Json> items, bool restart)>;
  Result<std::string> list_pages(const Resource& resource, std::string_view ns,
                                 const ListOptions& options, const OnPage& on_page);

  // metadata.name (or generateName, then the request is sent once) is in the object. apiVersion
  // and kind are added where they are missing. Returns the object as stored.
  Result<Json> create(const Resource& resource, std::string_view ns, Json object,
                      const WriteOptions& options = {});
  // Replaces the object; with metadata.resourceVersion in it only that version, else kConflict.
  Result<Json> update(const Resource& resource, std::string_view ns, Json object,
                      const WriteOptions& options = {});
  // kApply needs options.field_manager. metadata.uid and .resourceVersion in a merge or apply body
  // are preconditions.
  Result<Json> patch(const Resource& resource, std::string_view ns, std::string_view name,
                     PatchType type, const Json& body, const WriteOptions& options = {});
  // True: the server deletes it (finalizers and grace periods may take their time). False: there
  // was none.
  Result<bool> remove(const Resource& resource, std::string_view ns, std::string_view name,
                      const DeleteOptions& options = {});

  // Calls `on_event` with each event ({"type", "object"}) until the server ends the watch (OK),
  // `on_event` returns false (OK) or `stop` is requested (kCancelled). Bookmarks are on. kGone: the
  // resource version is too old. An ERROR event is handed over like others; see status_error.
  Status watch(const Resource& resource, std::string_view ns, const WatchOptions& options,
               const std::function<bool(Json event)>& on_event, const std::stop_token& stop);

  // The last `tail_lines` lines of a container's log, at most 256 KiB.
  Result<std::string> logs(std::string_view ns, std::string_view pod, std::string_view container,
                           int tail_lines);
  // "v1.36.3"
  Result<std::string> server_version();
  // Whether the server knows the resource (discovery of its group and version).
  Result<bool> serves(const Resource& resource);

 private:
  Result<Response> send(const Request& request, std::string_view tried);
  Result<Response> read(const Request& request, std::string_view tried);
  Result<Json> write(Request request, std::string_view tried);
  Request make_request(std::string_view method, std::string target) const;

  std::shared_ptr<Transport> transport_;
  ClientOptions options_;
};

}  // namespace transship::kube
