#include "tests/unit/mover/sandbox_probe.h"

#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "mover/sandbox.h"

namespace transship::mover {
namespace {

constexpr int kVolume = 4;

void tell(const std::string& name, long result) {
  const std::string line = name + ": " + (result >= 0 ? "done" : ::strerrorname_np(errno)) + "\n";
  if (::write(STDOUT_FILENO, line.data(), line.size()) < 0) ::_exit(3);
}

long at(const char* path, int flags) { return ::openat(kVolume, path, flags | O_CLOEXEC, 0600); }

void try_files() {
  tell("open /etc/passwd", ::open("/etc/passwd", O_RDONLY));
  tell("open /proc/1/root", ::open("/proc/1/root", O_RDONLY));
  tell("make /file", ::open("/file", O_WRONLY | O_CREAT, 0600));
  tell("leave the volume", at("../../../../etc/passwd", O_RDONLY));
  struct stat top {};
  struct stat above {};
  const bool stuck = ::fstat(kVolume, &top) == 0 && ::fstatat(kVolume, "../..", &above, 0) == 0 &&
                     top.st_ino == above.st_ino && top.st_dev == above.st_dev;
  tell(".. is the volume", stuck ? 0 : (errno = EXDEV, -1));
  tell("read a file", at("file", O_RDONLY));
  tell("write a file", at("file", O_WRONLY));
  tell("make a device", ::mknodat(kVolume, "made", S_IFBLK | 0600, makedev(7, 0)));
  tell("open a device", at("device", O_RDONLY));
  tell("read trusted.*",
       ::fgetxattr(static_cast<int>(at("file", O_RDONLY)), "trusted.a", nullptr, 0));
}

void try_calls() {
  tell("mount", ::mount("none", "/proc", "tmpfs", 0, nullptr));
  tell("umount", ::umount2("/proc/self/fd", MNT_DETACH));
  tell("unshare", ::unshare(CLONE_NEWNS));
  tell("setns", ::setns(kVolume, CLONE_NEWNS));
  tell("chroot", ::chroot("/"));
  tell("pivot_root", ::syscall(SYS_pivot_root, "/", "/"));
  tell("open_tree", ::open_tree(kVolume, ".", OPEN_TREE_CLONE));
  tell("fsopen", ::fsopen("tmpfs", 0));
  tell("open_by_handle_at", ::syscall(SYS_open_by_handle_at, kVolume, nullptr, O_RDONLY));
  tell("ptrace", ::ptrace(PTRACE_ATTACH, ::getppid(), nullptr, nullptr));
  tell("process_vm_readv", ::syscall(SYS_process_vm_readv, ::getppid(), nullptr, 0, nullptr, 0, 0));
  tell("kill", ::kill(::getppid(), 0));
  tell("pidfd_open", ::syscall(SYS_pidfd_open, ::getppid(), 0));
  char* const none[] = {nullptr};
  tell("execve", ::execve("/proc/self/fd/4/file", none, none));
  tell("fork", ::syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
  tell("bpf", ::syscall(SYS_bpf, BPF_MAP_CREATE, nullptr, 0));
  tell("perf_event_open", ::syscall(SYS_perf_event_open, nullptr, 0, -1, -1, 0));
  tell("io_uring_setup", ::syscall(SYS_io_uring_setup, 1, nullptr));
  tell("userfaultfd", ::syscall(SYS_userfaultfd, 0));
  tell("keyctl", ::syscall(SYS_keyctl, 0, 0, 0, 0, 0));
  tell("init_module", ::syscall(SYS_init_module, nullptr, 0, ""));
  tell("kexec_load", ::syscall(SYS_kexec_load, 0, 0, nullptr, 0));
  tell("reboot", ::syscall(SYS_reboot, 0, 0, 0, nullptr));
  tell("swapon", ::syscall(SYS_swapon, "/", 0));
  tell("setuid", ::syscall(SYS_setuid, 1));
  tell("local socket", ::socket(AF_UNIX, SOCK_STREAM, 0));
  tell("netlink socket", ::socket(AF_NETLINK, SOCK_RAW, 0));
  tell("packet socket", ::socket(AF_PACKET, SOCK_RAW, 0));
  tell("internet socket", ::socket(AF_INET, SOCK_STREAM, 0));
  tell("raw socket", ::socket(AF_INET, SOCK_RAW, 1));
  tell("terminal input", ::ioctl(STDOUT_FILENO, TIOCSTI, "x"));
  tell("executable memory", ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC,
                                   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED
                                ? -1
                                : 0);
  tell("new privileges", ::prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
}

}  // namespace

int run_sandbox_probe(int argc, char** arguments) {
  if (argc != 3) return 2;
  const bool writes = std::string_view(arguments[2]) == "write";
  const Status entered = enter_sandbox(writes ? VolumeAccess::kWrite : VolumeAccess::kRead);
  if (!entered.ok()) {
    std::fprintf(stderr, "%s\n", entered.error().message.c_str());
    return 1;
  }
  try_files();
  try_calls();
  ::_exit(0);  // a sanitizer's own end is more than a sandbox allows
}

}  // namespace transship::mover
