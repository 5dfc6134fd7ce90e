// transship-controller: wires the parts together. Informers say which migration to look at; the
// work queue sees to it that no migration is with two workers; the reconciler does one step at a
// time.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <csignal>
#include <iostream>
#include <thread>

#include "base/log.h"
#include "controller/announce.h"
#include "controller/api_cluster.h"
#include "controller/installation.h"
#include "controller/mover_client.h"
#include "controller/names.h"
#include "controller/node_records.h"
#include "controller/observers.h"
#include "controller/reconciler.h"
#include "controller/runtime_nodes.h"
#include "kube/client.h"
#include "kube/config.h"
#include "kube/cpprest_transport.h"
#include "kube/informer.h"
#include "kube/leader_election.h"
#include "metrics/http_server.h"
#include "reconcile/work_queue.h"
#include "reconcile/worker_pool.h"

namespace transship::controller {
namespace {

struct Flags {
  Settings settings;
  std::string identity = "transship-controller";
  std::string kubeconfig;
  std::string listen = "0.0.0.0:8080";
  std::string log_level = "info";
  int workers = 4;
  bool leader_elect = true;
  bool check = false;  // only look whether what is installed works
  InstallationOptions installation;
};

CLI::App* add_check(CLI::App& app, InstallationOptions& options) {
  CLI::App* check = app.add_subcommand(
      "check", "Look whether the controllers that are installed in --namespace work, and end");
  check->add_option("--selector", options.selector, "Labels of the controllers' pods")
      ->default_val("app.kubernetes.io/name=transship,app.kubernetes.io/component=controller");
  check->add_flag("--hold", options.hold, "The policy transship-hold has to be there");
  check->add_flag("--may-migrate", options.may_migrate,
                  "The policy transship-may-migrate has to be there");
  check->add_flag("--runtime", options.runtime,
                  "The pods of the runtime's installer have to be ready");
  check->fallthrough();
  return check;
}

int parse(int argc, char** argv, Flags& flags) {
  CLI::App app{"The controller of Transship: moves running pods with their volumes between nodes."};
  app.set_version_flag("--version", TRANSSHIP_VERSION);
  Settings& settings = flags.settings;
  app.add_option("--namespace", settings.operator_namespace,
                 "Where Jobs, Secrets and staging claims live")
      ->envname("POD_NAMESPACE");
  app.add_option("--identity", flags.identity, "This replica's name in the leader election")
      ->envname("POD_NAME");
  app.add_option("--mover-image", settings.mover_image,
                 "Image of the movers, the gate and the reservation pod; required");
  app.add_option("--mover-image-pull-policy", settings.mover_image_pull_policy)
      ->check(CLI::IsMember({"Always", "IfNotPresent", "Never"}));
  app.add_option("--mover-service-account", settings.mover_service_account,
                 "ServiceAccount without rights, for the movers");
  app.add_option("--kubelet-root", settings.kubelet_root, "The kubelet's --root-dir on every node");
  app.add_option("--archive-claim", settings.archive_claims,
                 "A claim of --namespace that migrations may archive to; may be repeated");
  app.add_option("--listen", flags.listen, "Address of /metrics, /healthz and /readyz");
  app.add_option("--kubeconfig", flags.kubeconfig,
                 "Outside a cluster: whom to talk to and as whom");
  app.add_option("--workers", flags.workers, "How many migrations are worked on at the same time")
      ->check(CLI::Range(1, 64));
  app.add_option("--leader-elect", flags.leader_elect, "Wait for the Lease before doing anything");
  app.add_option("--log-level", flags.log_level)
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));
  const CLI::App* check = add_check(app, flags.installation);
  try {
    app.parse(argc, argv);
    flags.check = check->parsed();
    if (!flags.check && settings.mover_image.empty()) throw CLI::RequiredError("--mover-image");
  } catch (const CLI::ParseError& problem) {
    return app.exit(problem) == 0 ? -1 : 2;
  }
  return 0;
}

std::string key_of(const Object& migration) {
  return text_at(migration, {"metadata", "namespace"}) + "/" + name_of(migration);
}

// Keeps the rest of the object out of memory: only metadata tells whom to wake.
void keep_metadata_only(Object& object) {
  Object kept = {{"metadata", Object::object()}};
  for (const char* field : {"name", "namespace", "uid", "resourceVersion", "annotations"}) {
    if (object["metadata"].contains(field)) kept["metadata"][field] = object["metadata"][field];
  }
  if (object.contains("kind")) kept["kind"] = object["kind"];
  if (object.contains("apiVersion")) kept["apiVersion"] = object["apiVersion"];
  object = std::move(kept);
}

// Of the installer's pods: only where one is tells what to look at.
void keep_node_name(Object& object) {
  const std::string node = text_at(object, {"spec", "nodeName"});
  keep_metadata_only(object);
  object["spec"] = {{"nodeName", node}};
}

kube::ClientOptions client_options(const kube::Config& config, kube::RequestObserver& observer) {
  kube::ClientOptions options;
  options.host = config.endpoint.base_url;
  options.observer = &observer;
  return options;
}

kube::InformerOptions informer_options(const std::string& ns, const std::string& label_selector) {
  kube::InformerOptions options;
  options.ns = ns;
  options.label_selector = label_selector;
  options.transform = keep_metadata_only;
  return options;
}

kube::InformerOptions runtime_pods_options(const std::string& ns) {
  kube::InformerOptions options = informer_options(ns, kRuntimePods);
  options.transform = keep_node_name;
  return options;
}

reconcile::WorkQueue::Options queue_options(reconcile::QueueObserver& observer) {
  reconcile::WorkQueue::Options options;
  options.observer = &observer;
  return options;
}

class Program {
 public:
  Program(const Flags& flags, const kube::Config& config,
          std::shared_ptr<kube::Transport> transport)
      : flags_(flags),
        observers_(registry_, flags.workers),
        transport_(std::move(transport)),
        host_(config.endpoint.base_url),
        client_(transport_, client_options(config, observers_)),
        cluster_(client_),
        events_(client_, "transship.dev/controller", flags.identity),
        migration_metrics_(registry_),
        announcer_(events_, migration_metrics_),
        reconciler_(cluster_, movers_, announcer_, flags_.settings,
                    {[] { return std::chrono::system_clock::now(); },
                     [] { return std::chrono::steady_clock::now(); }}),
        queue_(queue_options(observers_)),
        migrations_(client_, kube::kContainerMigrations, informer_options("", "")),
        pods_(client_, kube::kPods,
              informer_options(flags.settings.operator_namespace, kMigrationUid)),
        node_records_(cluster_, flags_.settings),
        runtime_pods_(client_, kube::kPods,
                      runtime_pods_options(flags.settings.operator_namespace)) {}

  int run(const std::stop_token& stop) {
    auto server = metrics::HttpServer::start(
        {.listen = flags_.listen,
         .metrics = [this] { return registry_.text(); },
         .ready = [this]() -> Status {
           if (migrations_.has_synced() || !leading_) return {};
           return Error{ErrorCode::kUnavailable, "the cache is not filled yet"};
         }});
    if (!server.ok()) {
      log::error("cannot serve metrics", {{"error", server.error().message}});
      return 1;
    }
    int code = 0;
    if (!flags_.leader_elect) {
      lead();
      wait_for(stop);
      stop_leading();
    } else {
      code = elect(stop);
    }
    events_.stop();
    return code;
  }

 private:
  static void wait_for(const std::stop_token& stop) {
    std::mutex mutex;
    std::condition_variable_any changed;
    std::unique_lock lock(mutex);
    changed.wait(lock, stop, [] { return false; });
  }

  int elect(const std::stop_token& stop) {
    kube::LeaderElectionOptions options;
    options.ns = flags_.settings.operator_namespace;
    options.name = kLeaderLease;
    options.identity = flags_.identity;
    // Its requests have to end well within the renew deadline.
    kube::ClientOptions quick;
    quick.host = host_;
    quick.observer = &observers_;
    quick.timeout = std::chrono::seconds(4);
    quick.read_attempts = 1;
    kube::Client client(transport_, quick);
    kube::LeaderElection election(client, options);
    const auto end = election.run(stop, {.on_started_leading = [this] { lead(); },
                                         .on_stopped_leading = [this] { stop_leading(); },
                                         .on_new_leader =
                                             [](const std::string& who) {
                                               log::info("leader", {{"identity", who}});
                                             }});
    // Who lost the Lease may have missed anything: a new process begins from what the API server
    // says.
    return end == kube::LeaderElection::End::kLost ? 1 : 0;
  }

  void lead() {
    leading_ = true;
    observers_.leading(true);
    migrations_.on_change([this](const auto& old, const auto& current) {
      queue_.add(key_of(current ? *current : *old));
    });
    pods_.on_change([this](const auto& old, const auto& current) {
      const Object& pod = current ? *current : *old;
      queue_.add(annotation(pod, kMigrationNamespace) + "/" + annotation(pod, kMigrationName));
    });
    workers_ = std::make_unique<reconcile::WorkerPool>(
        queue_, flags_.workers,
        [this](const std::string& key, const std::stop_token&) { return reconcile_key(key); },
        &observers_);
    migrations_.start();
    pods_.start();
    workers_->start();
    publish_nodes();
    log::info("leading", {{"workers", std::to_string(flags_.workers)}});
  }

  void publish_nodes() {
    runtime_pods_.on_change([this](const auto& old, const auto& current) {
      const std::string node = text_at(current ? *current : *old, {"spec", "nodeName"});
      if (!node.empty()) nodes_.add(node);
    });
    node_worker_ = std::make_unique<reconcile::WorkerPool>(
        nodes_, 1, [this](const std::string& node, const std::stop_token&) {
          return node.empty() ? add_recorded_nodes() : reconcile_node(node);
        });
    nodes_.add("");
    runtime_pods_.start();
    node_worker_->start();
  }

  Result<reconcile::ReconcileResult> reconcile_node(const std::string& node) {
    auto again = node_records_.reconcile(node);
    if (!again.ok()) return again.error();
    return reconcile::ReconcileResult{*again};
  }

  // Those whose pods have gone while nobody led.
  Result<reconcile::ReconcileResult> add_recorded_nodes() {
    auto names = node_records_.names();
    if (!names.ok()) return names.error();
    for (const std::string& name : *names) nodes_.add(name);
    return reconcile::ReconcileResult{};
  }

  void stop_leading() {
    queue_.shut_down();
    nodes_.shut_down();
    if (workers_) workers_->stop();
    if (node_worker_) node_worker_->stop();
    migrations_.stop();
    pods_.stop();
    runtime_pods_.stop();
    observers_.leading(false);
  }

  Result<reconcile::ReconcileResult> reconcile_key(const std::string& key) {
    const size_t slash = key.find('/');
    auto again = reconciler_.reconcile(key.substr(0, slash), key.substr(slash + 1));
    if (!again.ok()) return again.error();
    return reconcile::ReconcileResult{*again};
  }

  const Flags flags_;
  metrics::Registry registry_;
  Observers observers_;
  const std::shared_ptr<kube::Transport> transport_;
  const std::string host_;
  kube::Client client_;
  ApiCluster cluster_;
  MoverClient movers_;
  kube::EventRecorder events_;
  metrics::MigrationMetrics migration_metrics_;
  EventsAndMetrics announcer_;
  Reconciler reconciler_;
  reconcile::WorkQueue queue_;
  kube::Informer migrations_;
  kube::Informer pods_;
  std::unique_ptr<reconcile::WorkerPool> workers_;
  NodeRecords node_records_;
  reconcile::WorkQueue nodes_;  // by name; empty: all that have a record
  kube::Informer runtime_pods_;
  std::unique_ptr<reconcile::WorkerPool> node_worker_;
  std::atomic<bool> leading_ = false;
};

int check(const Flags& flags, const std::shared_ptr<kube::Transport>& transport) {
  InstallationOptions options = flags.installation;
  options.ns = flags.settings.operator_namespace;
  options.leader_elect = flags.leader_elect;
  kube::Client client(transport);
  return check_installation(client, options);
}

int run(int argc, char** argv) {
  Flags flags;
  if (const int code = parse(argc, argv, flags); code != 0) return code < 0 ? 0 : code;
  log::Level level = log::Level::kInfo;
  log::parse_level(flags.log_level, level);
  log::initialize("controller", level);

  // Threads that mostly wait need no heap each: two arenas keep a small controller small.
  mallopt(M_ARENA_MAX, 2);
  // Before any thread is there, so that all of them have the signals blocked.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  kube::initialize_http(4);

  kube::KubeconfigOptions source;
  source.path = flags.kubeconfig;
  auto config = flags.kubeconfig.empty() ? kube::default_config() : kube::load_kubeconfig(source);
  if (!config.ok()) {
    log::error("no API server to talk to", {{"error", config.error().message}});
    return 1;
  }
  auto transport = kube::CpprestTransport::make(config->endpoint);
  if (!transport.ok()) {
    log::error("cannot talk to the API server", {{"error", transport.error().message}});
    return 1;
  }
  if (flags.check) return check(flags, *transport);
  std::stop_source stop;
  std::jthread waiter([&](const std::stop_token& done) {
    const timespec poll{.tv_sec = 0, .tv_nsec = 200'000'000};
    while (!done.stop_requested()) {
      if (sigtimedwait(&signals, nullptr, &poll) > 0) stop.request_stop();
    }
  });
  log::info("starting", {{"version", TRANSSHIP_VERSION}, {"identity", flags.identity}});
  Program program(flags, *config, *transport);
  const int code = program.run(stop.get_token());
  log::info("stopped", {{"code", std::to_string(code)}});
  return code;
}

}  // namespace
}  // namespace transship::controller

int main(int argc, char** argv) { return transship::controller::run(argc, argv); }
