// transship-mover: the program of the mover Jobs, of the gate container and of the staging pod; and
// copies of directories by the same engine, for people.
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "base/log.h"
#include "mover/copier_program.h"
#include "mover/copy.h"
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
      ->add_option("--inventory-memory", config.inventory_memory,
                   "The most memory for what it knows of the volumes (some 150 bytes an entry); "
                   "what is beyond goes to a file on the node's disk, in --kubelet-root")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->default_str("512MiB");
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

struct CopyCommands {
  CLI::App* copy = nullptr;
  CLI::App* write = nullptr;
  CLI::App* read = nullptr;
  int deadline = 0;
  mover::CopyOptions options;
};

void add_copies(CLI::App& app, CopyCommands& commands) {
  mover::CopyOptions& options = commands.options;
  commands.copy = app.add_subcommand(
      "copy", "Copy a directory by a sender and a receiver over mutual TLS on loopback");
  commands.copy->add_option("SRC", options.from, "The directory to copy")->required();
  commands.copy->add_option("DST", options.to, "An empty directory, or one to make; see --resume")
      ->required();
  commands.copy->add_flag(
      "--resume", options.resume,
      "DST may hold an earlier copy, whole or in part: what is as in SRC stays, "
      "only the rest is sent, and what SRC does not have is removed");
  commands.copy
      ->add_option("--bandwidth", options.bandwidth_bytes_per_second,
                   "The most to send, in bytes a second; 0 is no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  static const std::map<std::string, transfer::Compression> kCompressions = {
      {"auto", transfer::Compression::kAuto},
      {"none", transfer::Compression::kNone},
      {"zstd", transfer::Compression::kZstd}};
  commands.copy
      ->add_option("--compression", options.compression,
                   "auto: by zstd where the link is slow enough for it; none; zstd: always")
      ->transform(CLI::CheckedTransformer(kCompressions))
      ->default_str("auto");
  commands.copy
      ->add_option(
          "--rounds", options.rounds,
          "Copy so often, each time what has changed; the source may be in use but for the "
          "last time")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  commands.copy->add_option("--between", options.between,
                            "A command for sh to run between two rounds; ROUND tells it which one "
                            "comes next");
  commands.copy->add_flag("!--without-project-ids", options.projects,
                          "Leave out the project ids of XFS and ext4 (quotas), and keep those that "
                          "DST hands down");
  commands.copy->add_flag("--overlay", options.overlay,
                          "SRC is the upper directory of an overlay mount, and DST is to be one: "
                          "copy its marks, too");
  commands.copy
      ->add_option("--deadline", commands.deadline,
                   "Seconds after which it is given up, also where a disk hangs; 0 is never")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  commands.copy
      ->add_option("--inventory-memory", options.inventory_memory,
                   "The most memory for what each of the two knows of the tree (some 150 bytes an "
                   "entry); what is beyond goes to a file without a name")
      ->transform(CLI::AsSizeValue(/*kb_is_1000=*/false))
      ->default_str("512MiB");
  commands.copy
      ->add_option("--spill-directory", options.spill_directory,
                   "Where that file is, on a disk; without it where temporary files are (TMPDIR, "
                   "/tmp)")
      ->check(CLI::ExistingDirectory);
  commands.write =
      app.add_subcommand("export", "Write a directory as a pax tar to the standard output");
  commands.write->add_option("SRC", options.from, "The directory to write")->required();
  commands.read =
      app.add_subcommand("import", "Take what export has written from the standard input");
  commands.read->add_option("DST", options.to, "An empty directory, or one to make")->required();
  for (CLI::App* command : {commands.copy, commands.write, commands.read}) {
    command->add_flag(
        "!--unconfined", options.confined,
        "Without the sandbox, which takes root: what reads and writes the trees may do "
        "all that the caller may");
  }
}

void tell(FILE* where, const transfer::Summary& summary) {
  std::fprintf(where, "%lld entries, %lld bytes, %s\n",
               static_cast<long long>(summary.totals.entries),
               static_cast<long long>(summary.totals.bytes), summary.digest.c_str());
}

// To a person, not to a log.
int complain(const Error& error) {
  std::fprintf(stderr, "transship-mover: %s\n", error.message.c_str());
  return EXIT_FAILURE;
}

int run_copies(CopyCommands& commands) {
  mover::CopyOptions& options = commands.options;
  options.deadline = std::chrono::seconds(commands.deadline);
  if (*commands.copy) {
    auto report = mover::copy(options);
    if (!report) return complain(report.error());
    tell(stdout, report->summary);
    const mover::CopyRound& last = report->rounds.back();
    std::printf("sent in %.3f s, synced and read back after %.3f s\n", last.sent_seconds,
                last.seconds);
    const bool tell_rounds = report->rounds.size() > 1 || options.resume;
    for (size_t i = 0; tell_rounds && i < report->rounds.size(); ++i) {
      const mover::CopyRound& round = report->rounds[i];
      std::printf("round %zu: %lld entries, %lld bytes sent, %.3f s\n", i,
                  static_cast<long long>(round.sent.entries),
                  static_cast<long long>(round.sent.bytes), round.seconds);
    }
    return EXIT_SUCCESS;
  }
  auto summary =
      *commands.write
          ? mover::export_tree(options.from, STDOUT_FILENO, "the standard output", options.confined)
          : mover::import_tree(STDIN_FILENO, "the standard input", options.to, options.confined);
  if (!summary) return complain(summary.error());
  tell(*commands.write ? stderr : stdout, *summary);
  return EXIT_SUCCESS;
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
  CopyCommands copies;
  add_copies(app, copies);
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
  return *serve ? run_serve(config, options) : run_copies(copies);
}

}  // namespace

int main(int argc, char** argv) {
  try {
    if (transship::mover::is_copier(argc, argv)) return transship::mover::run_copier(argc, argv);
    return run(argc, argv);
  } catch (const std::exception& problem) {
    transship::log::error("unexpected", {{"error", problem.what()}});
    return EXIT_FAILURE;
  }
}
