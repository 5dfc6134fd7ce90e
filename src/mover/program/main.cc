// transship-mover: the program of the mover Jobs, of the gate container and of the staging pod.
#include <CLI/CLI.hpp>
#include <cstdlib>
#include <string>

#include "base/log.h"
#include "mover/gate.h"
#include "mover/serve.h"

namespace {

using namespace transship;

constexpr int kTerminated = 143;  // 128 + SIGTERM

int fail(const Error& error) {
  log::error(error.message, {{"code", std::string(to_string(error.code))}});
  return EXIT_FAILURE;
}

// Options that the library does not take as they are.
struct ServeOptions {
  std::string role;
  int linger = 0;
  int orphan_timeout = 0;
};

CLI::App* add_serve(CLI::App& app, mover::ServeConfig& config, ServeOptions& options) {
  CLI::App* serve = app.add_subcommand("serve", "Run one role of a migration on this node");
  serve->add_option("--role", options.role, "sender or receiver")
      ->required()
      ->check(CLI::IsMember({"sender", "receiver"}));
  serve->add_option("--migration-uid", config.migration_uid, "UID of the ContainerMigration")
      ->required();
  serve->add_option("--epoch", config.epoch, "Which try of the migration this is")->required();
  serve->add_option("--node-name", config.node.name, "Name of this node")->required();
  serve->add_option("--kubelet-root", config.node.kubelet_root, "kubelet's directory on the node")
      ->capture_default_str();
  serve
      ->add_option("--tls-directory", config.tls_directory,
                   "Directory of tls.crt, tls.key and ca.crt")
      ->default_val("/etc/transship/tls");
  serve->add_option("--archive-root", config.archive_root, "Where the archive claim is mounted");
  serve->add_option("--listen-address", config.listen_address, "Address to listen at")
      ->capture_default_str();
  serve->add_option("--control-port", config.control_port, "Port of the control server")
      ->capture_default_str();
  serve->add_option("--data-port", config.data_port, "Port of the receiver's data connection")
      ->capture_default_str();
  serve
      ->add_option("--linger", options.linger,
                   "Seconds without a request after a release until it ends")
      ->check(CLI::PositiveNumber)
      ->default_val(config.linger.count());
  serve
      ->add_option("--orphan-timeout", options.orphan_timeout,
                   "Seconds without a request until it ends")
      ->check(CLI::PositiveNumber)
      ->default_val(config.orphan_timeout.count());
  return serve;
}

int run_gate(const std::string& directory) {
  auto open = mover::wait_at_gate(directory);
  if (!open) return fail(open.error());
  return *open ? EXIT_SUCCESS : kTerminated;
}

int run_serve(mover::ServeConfig& config, const ServeOptions& options) {
  config.role = options.role == "sender" ? api::MoverRole::kSender : api::MoverRole::kReceiver;
  config.linger = std::chrono::seconds(options.linger);
  config.orphan_timeout = std::chrono::seconds(options.orphan_timeout);
  const Status status = mover::serve(config);
  return status.ok() ? EXIT_SUCCESS : fail(status.error());
}

int run(int argc, char** argv) {
  CLI::App app("Moves a pod's volumes from node to node");
  app.set_version_flag("--version", TRANSSHIP_VERSION);
  app.require_subcommand(1);
  std::string level_name = "info";
  app.add_option("--log-level", level_name, "debug, info, warning or error")
      ->check(CLI::IsMember({"debug", "info", "warning", "error"}));

  mover::ServeConfig config;
  ServeOptions options;
  CLI::App* serve = add_serve(app, config, options);
  std::string gate_directory;
  CLI::App* gate = app.add_subcommand("gate", "Wait until the pod's volumes have their content");
  gate->add_option("--directory", gate_directory, "The gate's volume")->default_val("/gate");
  CLI::App* pause = app.add_subcommand("pause", "Wait for SIGTERM");
  app.fallthrough();
  CLI11_PARSE(app, argc, argv);

  log::Level level = log::Level::kInfo;
  log::parse_level(level_name, level);
  log::initialize("transship-mover", level);
  if (*gate) return run_gate(gate_directory);
  if (*pause) {
    const Status status = mover::pause_until_signal();
    return status.ok() ? EXIT_SUCCESS : fail(status.error());
  }
  return *serve ? run_serve(config, options) : EXIT_FAILURE;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(argc, argv);
  } catch (const std::exception& problem) {
    transship::log::error("unexpected", {{"error", problem.what()}});
    return EXIT_FAILURE;
  }
}
