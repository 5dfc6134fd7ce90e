#include "mover/serve.h"

#include <openssl/crypto.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <ctime>

#include "base/log.h"
#include "mover/capabilities.h"
#include "mover/control_server.h"
#include "mover/pin.h"
#include "mover/receiver.h"
#include "mover/sender.h"
#include "mover/service.h"

namespace transship::mover {
namespace {

using std::chrono::seconds;

constexpr rlim_t kDescriptors = 65536;

// How long until another look at whether to end: the nearer timeout, but not rarer than once a
// minute, since a task or pin that kept it may have gone.
seconds next_look(const ServeConfig& config) {
  return std::max(seconds(1), std::min({config.linger, config.orphan_timeout, seconds(60)}));
}

Result<sigset_t> block_end_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  if (::pthread_sigmask(SIG_BLOCK, &signals, nullptr) != 0)
    return errno_error("block signals", errno);
  // A peer that closes its connection is an error of the write, not the end of the process.
  ::signal(SIGPIPE, SIG_IGN);
  return signals;
}

// Deep trees are walked with a descriptor for each level. Best effort: the soft limit is often
// 1024.
void raise_descriptor_limit() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, kDescriptors);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

// True where a signal asked for the end, false when the time is over.
bool wait_for_signal(const sigset_t& signals, seconds time) {
  const timespec limit{time.count(), 0};
  for (;;) {
    if (::sigtimedwait(&signals, nullptr, &limit) > 0) return true;
    if (errno != EINTR) return false;
  }
}

TransferConfig transfer_config(const ServeConfig& config) {
  return {.migration_uid = config.migration_uid,
          .epoch = config.epoch,
          .tls_directory = config.tls_directory,
          .archive_root = config.archive_root,
          .listen_address = config.listen_address,
          .data_port = config.data_port};
}

// On the node's disk; a file without a name leaves nothing there.
void set_spill(const ServeConfig& config, const Node& node) {
  transfer::SpillOptions spill;
  spill.bound = config.inventory_memory;
  spill.name = node.config().kubelet_root;
  spill.directory = [&node] {
    return open_beneath(node.kubelet_root(), ".", /*cross_mounts=*/true);
  };
  transfer::Spill::of_process().configure(std::move(spill));
}

void wait_for_end(const ServeConfig& config, const MoverService& service, const Pins& pins,
                  const sigset_t& signals) {
  while (!wait_for_signal(signals, next_look(config))) {
    const auto idle =
        std::chrono::duration_cast<seconds>(MoverService::Clock::now() - service.last_request());
    const auto pinned = pins.in_place();
    // What cannot be read is taken for pins: ending would orphan them.
    const Ending why = ending(config, idle, service.tasks().released(),
                              service.tasks().any_running(), !pinned.ok() || *pinned);
    if (why == Ending::kStay) continue;
    log::info("ending", {{"reason", why == Ending::kReleased ? "released" : "no controller asked"},
                         {"idleSeconds", std::to_string(idle.count())}});
    return;
  }
  log::info("ending", {{"reason", "signal"}});
}

}  // namespace

Ending ending(const ServeConfig& config, seconds idle, bool released, bool busy,
              bool pins_in_place) {
  if (busy || pins_in_place) return Ending::kStay;
  if (released && idle >= config.linger) return Ending::kReleased;
  if (idle >= config.orphan_timeout) return Ending::kOrphaned;
  return Ending::kStay;
}

Status serve(const ServeConfig& config) {
  TRANSSHIP_TRY(check_uid("--migration-uid", config.migration_uid));
  // The HTTP library's threads end after OpenSSL would have cleaned up, and use it until then.
  OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);
  // Before any thread is there: they inherit the mask.
  auto signals = block_end_signals();
  if (!signals) return signals.error();
  raise_descriptor_limit();
  TRANSSHIP_TRY(keep_capabilities(node_capabilities(), /*locked=*/false));
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_error("set no_new_privs", errno);
  auto node = Node::open(config.node);
  if (!node) return node.error();
  set_spill(config, *node);
  const bool sends = config.role == api::MoverRole::kSender;
  Sender sender(*node, transfer_config(config));
  Receiver receiver(*node, transfer_config(config));
  MoverService service(*node, {config.migration_uid, config.role, config.epoch},
                       sends ? sender.tasks() : receiver.tasks());
  const ControlServer::Config control{config.listen_address, config.control_port,
                                      config.tls_directory,
                                      api::controller_name(config.migration_uid)};
  auto server = ControlServer::start(
      control, [&service](const ControlRequest& request) { return service.handle(request); });
  if (!server) return server.error();
  log::info("serving", {{"role", std::string(api::to_string(config.role))},
                        {"migrationUid", config.migration_uid},
                        {"epoch", std::to_string(config.epoch)},
                        {"node", config.node.name},
                        {"port", std::to_string(config.control_port)}});
  const Pins pins(*node, config.migration_uid);
  wait_for_end(config, service, pins, *signals);
  service.stop();
  sender.end();
  server->reset();
  return {};
}

}  // namespace transship::mover
