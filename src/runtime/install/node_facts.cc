#include "runtime/install/node_facts.h"

#include <linux/magic.h>
#include <sys/statfs.h>
#include <sys/utsname.h>

#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "runtime/install/checkpoint_programs.h"
#include "runtime/install/command.h"
#include "runtime/install/containerd_config.h"
#include "runtime/install/containerd_process.h"
#include "runtime/install/self_test.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace transship::runtime {
namespace {

constexpr std::chrono::seconds kDeadline(60);
constexpr size_t kMostText = 4096;
constexpr size_t kMostProblem = 1200;
constexpr size_t kMostFeatures = 2000;

// Linux lists them beside the instruction sets; no program's code depends on them.
const std::set<std::string>& of_no_interest() {
  static const std::set<std::string> kNames = {
      // what Linux itself found out or does
      "acc_power", "aperfmperf", "arch_perfmon", "art", "bts", "constant_tsc", "cpuid", "cqm",
      "cqm_llc", "cqm_mbm_local", "cqm_mbm_total", "cqm_occup_llc", "dts", "dtes64", "ds_cpl",
      "est", "ht", "hypervisor", "mba", "nonstop_tsc", "nopl", "pbe", "pdcm", "pebs",
      "perfctr_core", "perfctr_llc", "perfctr_nb", "perfmon_v2", "cat_l2", "cat_l3", "cdp_l2",
      "cdp_l3", "rdt_a", "rep_good", "topoext", "tsc_adjust", "tsc_deadline_timer",
      "tsc_known_freq", "tsc_reliable", "xtopology", "x2apic", "extapic", "cmp_legacy",
      "cr8_legacy", "dca", "ibs", "lwp", "monitor", "mwaitx", "nodeid_msr", "osvw",
      "overflow_recov", "smca", "skinit", "smx", "succor", "tce", "wdt", "xtpr", "bpext", "ptsc",
      "extd_apicid",
      // power
      "arat", "cpb", "dtherm", "hfi", "hw_pstate", "hwp", "hwp_act_window", "hwp_epp", "hwp_notify",
      "hwp_pkg_req", "ida", "pln", "proc_feedback", "pts", "tm", "tm2", "acpi", "cppc", "rapl",
      // virtualization
      "avic", "decodeassists", "ept", "ept_ad", "flexpriority", "flushbyasid", "lbrv", "npt",
      "nrip_save", "pausefilter", "pfthreshold", "sev", "sev_es", "sev_snp", "sme", "svm",
      "svm_lock", "tdx_guest", "tpr_shadow", "tsc_scale", "v_spec_ctrl", "v_vmsave_vmload", "vgif",
      "vmcb_clean", "vmmcall", "vmx", "vnmi", "vpid", "x2avic", "vnmi_amd", "debug_swap",
      // mitigations
      "amd_ibpb", "amd_ssbd", "arch_capabilities", "bhi_ctrl", "btc_no", "core_capabilities",
      "flush_l1d", "ibpb", "ibrs", "ibrs_enhanced", "intel_ppin", "amd_ppin", "md_clear", "pti",
      "retpoline", "rrsba_ctrl", "spec_ctrl", "ssbd", "stibp", "swapgs", "tsx_force_abort",
      "virt_ssbd", "split_lock_detect", "bus_lock_detect", "pconfig", "ibpb_brtype", "sbpb",
      "srso_no",
      // of the kernel's own memory and modes
      "apic", "de", "mce", "mca", "mtrr", "pat", "pge", "pse", "pse36", "pae", "pcid", "invpcid",
      "invpcid_single", "smap", "smep", "umip", "vme", "pdpe1gb", "la57", "nx", "lam", "cid",
      "dtpr", "ibt", "user_shstk", "fsrm", "xsaves", "erms"};
  return kNames;
}

std::string cpuinfo() {
  // A file of /proc has no length: read as a program's output would be.
  auto text = output_of({"cat", "/proc/cpuinfo"}, "/usr/bin:/bin", kDeadline);
  return text ? *text : "";
}

int64_t xsave_bytes() {
#if defined(__x86_64__)
  unsigned a = 0;
  unsigned b = 0;
  unsigned c = 0;
  unsigned d = 0;
  if (__get_cpuid_count(0x0d, 0, &a, &b, &c, &d) != 0) return b;
#endif
  return 0;
}

void look_at_kernel(NodeFacts& facts) {
  utsname kernel{};
  if (::uname(&kernel) == 0) facts.kernel = kernel.release;
  struct statfs groups {};
  if (::statfs("/sys/fs/cgroup", &groups) == 0)
    facts.cgroups = groups.f_type == CGROUP2_SUPER_MAGIC ? 2 : 1;
  const std::string text = cpuinfo();
  facts.cpu = cpuinfo_value(text, "model name");
  facts.features = program_features(text);
  facts.xsave_bytes = xsave_bytes();
}

Status look_at_programs(NodeFacts& facts, int self) {
  auto containerd = find_containerd("/proc");
  if (!containerd) return containerd.error();
  const std::string program = "/proc/" + std::to_string(containerd->pid) + "/exe";
  auto said = output_of({program, "--version"}, containerd->path, kDeadline);
  if (!said) return said.error();
  // "containerd github.com/containerd/containerd/v2 v2.1.4 ..."
  facts.containerd = version_in(*said);
  auto dump = output_of({program, "--config", containerd->config, "config", "dump"},
                        containerd->path, kDeadline);
  if (!dump) return dump.error();
  auto config = ContainerdConfig::parse(*dump);
  if (!config) return config.error();
  const std::string runc = config->default_program();
  SelfTest test;
  test.path = containerd->path;
  test.self = self;
  auto programs = check_programs(runc.empty() ? "runc" : runc, test.path);
  if (!programs) return programs.error();
  test.programs = *programs;
  facts.runc = programs->runc_version;
  facts.criu = programs->criu_version;
  return self_test(test);
}

}  // namespace

std::string cpuinfo_value(const std::string& cpuinfo, const std::string& key) {
  std::istringstream lines(cpuinfo);
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (colon == std::string::npos) continue;
    std::string name = line.substr(0, colon);
    while (!name.empty() && (name.back() == '\t' || name.back() == ' ')) name.pop_back();
    if (name == key) return line.substr(std::min(colon + 2, line.size()));
  }
  return "";
}

std::string program_features(const std::string& cpuinfo) {
  std::string all = cpuinfo_value(cpuinfo, "flags");
  if (all.empty()) all = cpuinfo_value(cpuinfo, "Features");  // arm64
  std::istringstream words(all);
  std::set<std::string> kept;
  for (std::string word; words >> word;) {
    if (of_no_interest().count(word) == 0) kept.insert(word);
  }
  std::string out;
  for (const std::string& word : kept) out.append(out.empty() ? "" : " ").append(word);
  return out;
}

std::string to_text(const NodeFacts& facts) {
  nlohmann::json json = {{"version", TRANSSHIP_VERSION},
                         {"kernel", facts.kernel},
                         {"cgroups", facts.cgroups},
                         {"cpu", facts.cpu},
                         {"cpuFeatures", facts.features.substr(0, kMostFeatures)},
                         {"xsaveBytes", facts.xsave_bytes},
                         {"containerd", facts.containerd},
                         {"runc", facts.runc},
                         {"criu", facts.criu},
                         {"problem", ""}};
  // What other programs have said may be anything, and long once it is escaped.
  for (size_t most = kMostProblem;; most /= 2) {
    json["problem"] = facts.problem.substr(0, most);
    std::string text = json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    if (text.size() <= kMostText || most == 0) return text;
  }
}

NodeFacts look_at_node(int self) {
  NodeFacts facts;
  look_at_kernel(facts);
  const Status able = look_at_programs(facts, self);
  if (!able.ok()) facts.problem = able.error().message;
  return facts;
}

}  // namespace transship::runtime
