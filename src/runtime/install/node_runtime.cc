#include "runtime/install/node_runtime.h"

#include <unistd.h>

#include <cerrno>
#include <nlohmann/json.hpp>
#include <optional>

#include "runtime/durable_file.h"
#include "runtime/install/checkpoint_programs.h"
#include "runtime/install/command.h"
#include "runtime/install/containerd_config.h"
#include "runtime/install/containerd_process.h"
#include "runtime/install/pods_using.h"
#include "runtime/install/program_file.h"

namespace transship::runtime {
namespace {

constexpr std::chrono::seconds kDumpDeadline(60);
constexpr const char* kSocket = "/run/containerd/containerd.sock";

std::string parent_of(const std::string& path) { return path.substr(0, path.rfind('/')); }

// containerd as it runs, its configuration as its own program reads it now, and our file in it.
struct Containerd {
  ContainerdProcess process;
  ContainerdConfig config;
  std::string drop_in;

  static Result<Containerd> look();
  Result<ContainerdConfig> read() const;
  [[nodiscard]] std::string socket() const {
    if (!process.address.empty()) return process.address;
    for (const char* section : {"grpc", "plugins.'io.containerd.server.v1.grpc'"}) {
      if (std::string address = config.text(section, "address"); !address.empty()) return address;
    }
    return kSocket;
  }
};

Result<ContainerdConfig> Containerd::read() const {
  // The very program that runs, whatever its file is called or has become.
  auto dump = output_of({"/proc/" + std::to_string(process.pid) + "/exe", "--config",
                         process.config, "config", "dump"},
                        process.path, kDumpDeadline);
  if (!dump) return dump.error();
  return ContainerdConfig::parse(*dump);
}

Result<Containerd> Containerd::look() {
  Containerd containerd;
  auto process = find_containerd("/proc");
  if (!process) return process.error();
  containerd.process = std::move(process).value();
  auto config = containerd.read();
  if (!config) return config.error();
  containerd.config = std::move(config).value();
  auto directory = containerd.config.import_directory(containerd.process.config);
  if (!directory) return directory.error();
  containerd.drop_in = *directory + "/" + kHandler + ".toml";
  return containerd;
}

Status remove_file(const std::string& path) {
  if (::unlink(path.c_str()) != 0) {
    return errno == ENOENT ? Status() : errno_error("remove " + path, errno);
  }
  return sync_directory(parent_of(path));
}

// nullopt: no such file.
Status put(const std::string& path, const std::optional<std::string>& text) {
  return text ? replace_file(path, *text) : remove_file(path);
}

// The record is the containerd that ran when the drop-in was last changed: it has to be started
// again. Written before the change, so that no end in between is forgotten.
Status record_change(const NodeRuntimeConfig& config, const ContainerdProcess& process) {
  TRANSSHIP_TRY(make_directories(parent_of(config.record)));
  return replace_file(config.record, process.identity());
}

Result<bool> must_restart(const NodeRuntimeConfig& config, const ContainerdProcess& process) {
  auto recorded = read_file(config.record);
  if (!recorded) return recorded.error();
  return recorded->value_or("") == process.identity();
}

// Writes the drop-in, and takes it back where containerd's program does not agree.
Status change_drop_in(const NodeRuntimeConfig& config, const Containerd& containerd,
                      const std::optional<std::string>& before, const std::string& wanted) {
  TRANSSHIP_TRY(make_directories(parent_of(containerd.drop_in)));
  if (before != wanted) {
    TRANSSHIP_TRY(record_change(config, containerd.process));
    TRANSSHIP_TRY(replace_file(containerd.drop_in, wanted));
    config.tell("wrote " + containerd.drop_in);
  }
  auto now = containerd.read();
  if (now && now->handler_program() == config.program) return {};
  TRANSSHIP_TRY(put(containerd.drop_in, before));
  if (!now) return now.error().during("with " + containerd.drop_in);
  // `config dump` shows the imports that a configuration would have by default, also where it has
  // none.
  if (now->handler_program().empty()) return no_imports(containerd.process.config);
  return Error{ErrorCode::kPreconditionFailed,
               "with " + containerd.drop_in + " containerd's handler transship has the program " +
                   now->handler_program() + " instead of " + config.program +
                   ": another imported file says otherwise"};
}

Status restart(const NodeRuntimeConfig& config, const Containerd& containerd) {
  config.tell("starting containerd again (process " + containerd.process.identity() + ")");
  return restart_containerd(containerd.process, containerd.socket(), config.restart_deadline);
}

// The node must not stay without a containerd because of us.
Status restart_or_take_back(const NodeRuntimeConfig& config, const Containerd& containerd,
                            const std::optional<std::string>& before) {
  const Status restarted = restart(config, containerd);
  if (restarted.ok()) return {};
  TRANSSHIP_TRY(put(containerd.drop_in, before));
  Containerd again = containerd;
  // Maybe one that is about to end as the one before did, maybe none.
  if (auto process = find_containerd("/proc")) again.process = *process;
  const Status back = restart(config, again);
  if (!back.ok()) config.tell(back.error().message);
  return restarted.error().during(containerd.drop_in + " was taken back");
}

std::string settings_for(const std::string& runc) {
  return nlohmann::json{{"runc", runc}}.dump() + "\n";
}

// Tells the runtime which runc it stands for, where that is not the one from PATH.
Status write_settings(const NodeRuntimeConfig& config, const std::string& runc) {
  if (runc.empty()) return {};
  auto there = read_file(config.settings);
  if (!there) return there.error();
  if (*there) return {};  // an administrator's
  TRANSSHIP_TRY(make_directories(parent_of(config.settings)));
  return replace_file(config.settings, settings_for(runc));
}

// Only as write_settings wrote it.
Status remove_settings(const NodeRuntimeConfig& config, const std::string& runc) {
  auto there = read_file(config.settings);
  if (!there) return there.error();
  if (*there != settings_for(runc)) return {};
  return remove_file(config.settings);
}

Status refuse_while_used(const NodeRuntimeConfig& config, const Containerd& containerd) {
  auto pods = pods_using(containerd.config.text("", "state"), config.program);
  if (!pods) return pods.error();
  if (pods->empty()) return {};
  std::string names;
  for (const std::string& pod : *pods) names += (names.empty() ? "" : ", ") + pod;
  return Error{ErrorCode::kPreconditionFailed,
               "pods with runtimeClassName transship are on this node: " + names +
                   ": delete them, or have them moved, before their runtime goes"};
}

}  // namespace

Status install_runtime(const NodeRuntimeConfig& config, int source) {
  auto containerd = Containerd::look();
  if (!containerd) return containerd.error();
  const std::string runc = containerd->config.default_program();
  auto programs = check_programs(runc.empty() ? "runc" : runc, containerd->process.path);
  if (!programs) return programs.error();
  config.tell("runc " + programs->runc_version + " (" + programs->runc + ") and CRIU " +
              programs->criu_version + " (" + programs->criu + ") are usable");
  auto wanted = containerd->config.drop_in(config.program);
  if (!wanted) return wanted.error();
  TRANSSHIP_TRY(write_settings(config, runc));
  TRANSSHIP_TRY(make_directories(parent_of(config.program)));
  auto copied = install_program(source, config.program);
  if (!copied) return copied.error();
  if (*copied) config.tell("wrote " + config.program);
  auto before = read_file(containerd->drop_in);
  if (!before) return before.error();
  TRANSSHIP_TRY(change_drop_in(config, *containerd, *before, *wanted));
  auto needed = must_restart(config, containerd->process);
  if (!needed) return needed.error();
  if (*needed) TRANSSHIP_TRY(restart_or_take_back(config, *containerd, *before));
  config.tell("containerd has the runtime handler transship");
  return {};
}

Status uninstall_runtime(const NodeRuntimeConfig& config) {
  auto containerd = Containerd::look();
  if (!containerd) return containerd.error();
  TRANSSHIP_TRY(refuse_while_used(config, *containerd));
  auto there = read_file(containerd->drop_in);
  if (!there) return there.error();
  if (*there) {
    TRANSSHIP_TRY(record_change(config, containerd->process));
    TRANSSHIP_TRY(remove_file(containerd->drop_in));
    config.tell("removed " + containerd->drop_in);
  }
  auto needed = must_restart(config, containerd->process);
  if (!needed) return needed.error();
  if (*needed) TRANSSHIP_TRY(restart(config, *containerd));
  // A pod that came before the handler went.
  TRANSSHIP_TRY(refuse_while_used(config, *containerd));
  TRANSSHIP_TRY(remove_file(config.program));
  TRANSSHIP_TRY(remove_settings(config, containerd->config.default_program()));
  TRANSSHIP_TRY(remove_file(config.record));
  for (const std::string& directory :
       {parent_of(config.program), parent_of(parent_of(config.program)),
        parent_of(config.settings)}) {
    ::rmdir(directory.c_str());  // where it is empty
  }
  config.tell("removed " + config.program);
  return {};
}

}  // namespace transship::runtime
