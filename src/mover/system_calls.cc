#include "mover/system_calls.h"

#include <asm/ioctls.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/fs.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <initializer_list>
#include <vector>

namespace transship::mover {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "system_calls.cc knows x86-64 and ARM64 only"
#endif

// Newer than the headers that this builds with; the same numbers on all architectures.
constexpr int kCachestat = 451;
constexpr int kFchmodat2 = 452;
constexpr int kFileGetAttr = 468;
constexpr int kFileSetAttr = 469;

constexpr std::initializer_list<int> kAllowed = {
    // Files, by name in a directory that is open.
    SYS_openat2,
    SYS_openat,
    SYS_close,
    SYS_statx,
    SYS_newfstatat,
    SYS_fstat,
    SYS_fstatfs,
    SYS_getdents64,
    SYS_mkdirat,
    SYS_mknodat,
    SYS_symlinkat,
    SYS_linkat,
    SYS_unlinkat,
    SYS_renameat2,
    SYS_renameat,
    SYS_readlinkat,
    SYS_faccessat,
    SYS_fchmod,
    SYS_fchmodat,
    kFchmodat2,
    SYS_fchown,
    SYS_fchownat,
    SYS_utimensat,
    SYS_fsetxattr,
    SYS_lsetxattr,
    SYS_fgetxattr,
    SYS_lgetxattr,
    SYS_flistxattr,
    SYS_llistxattr,
    SYS_fremovexattr,
    SYS_lremovexattr,
    kFileGetAttr,
    kFileSetAttr,
    // Their content.
    SYS_read,
    SYS_write,
    SYS_readv,
    SYS_writev,
    SYS_pread64,
    SYS_pwrite64,
    SYS_preadv,
    SYS_pwritev,
    SYS_lseek,
    SYS_ftruncate,
    SYS_fallocate,
    SYS_fadvise64,
    SYS_readahead,
    SYS_fsync,
    SYS_fdatasync,
    SYS_syncfs,
    SYS_sync_file_range,
    kCachestat,
    SYS_copy_file_range,
    // Descriptors.
    SYS_dup,
    SYS_dup3,
    SYS_fcntl,
    SYS_pipe2,
    SYS_eventfd2,
    SYS_ppoll,
    SYS_pselect6,
    // Connections; `socket` itself is below.
    SYS_connect,
    SYS_bind,
    SYS_listen,
    SYS_accept4,
    SYS_accept,
    SYS_getsockname,
    SYS_getpeername,
    SYS_setsockopt,
    SYS_getsockopt,
    SYS_shutdown,
    SYS_sendto,
    SYS_recvfrom,
    SYS_sendmsg,
    SYS_recvmsg,
    // Memory; what may make it executable is below.
    SYS_munmap,
    SYS_mremap,
    SYS_madvise,
    SYS_brk,
    SYS_mincore,
    SYS_mlock,
    SYS_munlock,
    SYS_membarrier,
    // Threads; what makes them is below.
    SYS_futex,
    SYS_set_robust_list,
    SYS_rseq,
    SYS_sched_yield,
    SYS_sched_getaffinity,
    SYS_exit,
    SYS_exit_group,
    SYS_gettid,
    SYS_getpid,
    SYS_getppid,
    SYS_rt_sigaction,
    SYS_rt_sigprocmask,
    SYS_rt_sigreturn,
    SYS_sigaltstack,
    SYS_restart_syscall,
    // Time, randomness, what it is and what there is.
    SYS_clock_gettime,
    SYS_clock_nanosleep,
    SYS_nanosleep,
    SYS_clock_getres,
    SYS_gettimeofday,
    SYS_getrandom,
    SYS_uname,
    SYS_sysinfo,
    SYS_getrusage,
    SYS_times,
    SYS_getuid,
    SYS_geteuid,
    SYS_getgid,
    SYS_getegid,
    SYS_umask,
#if defined(__x86_64__)
    // The same by their older names, which the C library still uses.
    SYS_open,
    SYS_stat,
    SYS_lstat,
    SYS_chmod,
    SYS_readlink,
    SYS_access,
    SYS_mkdir,
    SYS_unlink,
    SYS_poll,
    SYS_select,
    SYS_dup2,
    SYS_pipe,
    SYS_time,
#endif
};

class Filter {
 public:
  Filter() {
    load(offsetof(seccomp_data, arch));
    add(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 1, 0);
    answer(SECCOMP_RET_KILL_PROCESS);
    load(offsetof(seccomp_data, nr));
  }

  void allow(int call) {
    add(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1);
    answer(SECCOMP_RET_ALLOW);
  }
  void refuse(int call, int error) {
    add(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 1);
    answer(failure(error));
  }
  // Where the argument's lower half is one of these; the kernel takes ints from there.
  void allow_values(int call, unsigned argument, std::initializer_list<uint32_t> values) {
    const auto count = static_cast<uint8_t>(values.size());
    add(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0,
        static_cast<uint8_t>(2 * count + 2));
    load_argument(argument);
    for (const uint32_t value : values) {
      add(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1);
      answer(SECCOMP_RET_ALLOW);
    }
    answer(failure(EPERM));
  }
  // Where of these bits of the argument exactly `wanted` are set.
  void allow_bits(int call, unsigned argument, uint32_t bits, uint32_t wanted) {
    add(BPF_JMP | BPF_JEQ | BPF_K, static_cast<uint32_t>(call), 0, 5);
    load_argument(argument);
    add(BPF_ALU | BPF_AND | BPF_K, bits);
    add(BPF_JMP | BPF_JEQ | BPF_K, wanted, 0, 1);
    answer(SECCOMP_RET_ALLOW);
    answer(failure(EPERM));
  }
  void refuse_others() { answer(failure(EPERM)); }

  [[nodiscard]] long install() {
    sock_fprog program{static_cast<unsigned short>(code_.size()), code_.data()};
    // The kernel's brake on speculation is for those who run others' code.
    return ::syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_SPEC_ALLOW,
                     &program);
  }

 private:
  static uint32_t failure(int error) {
    return SECCOMP_RET_ERRNO | (static_cast<uint32_t>(error) & SECCOMP_RET_DATA);
  }
  void add(unsigned code, uint32_t value, uint8_t if_true = 0, uint8_t if_false = 0) {
    code_.push_back({static_cast<uint16_t>(code), if_true, if_false, value});
  }
  void load(size_t offset) { add(BPF_LD | BPF_W | BPF_ABS, static_cast<uint32_t>(offset)); }
  void load_argument(unsigned argument) {
    load(offsetof(seccomp_data, args) + argument * sizeof(uint64_t));
  }
  void answer(uint32_t action) { add(BPF_RET | BPF_K, action); }

  std::vector<sock_filter> code_;
};

}  // namespace

Status allow_only_copying() {
  Filter filter;
  filter.allow_values(SYS_socket, 0, {AF_INET, AF_INET6});
  filter.allow_values(
      SYS_ioctl, 1,
      {static_cast<uint32_t>(FS_IOC_FSGETXATTR), static_cast<uint32_t>(FS_IOC_FSSETXATTR),
       static_cast<uint32_t>(FS_IOC_GETFLAGS), static_cast<uint32_t>(FS_IOC_SETFLAGS), TCGETS,
       FIONREAD, FIONBIO});
  filter.allow_bits(SYS_mmap, 2, PROT_EXEC, 0);
  filter.allow_bits(SYS_mprotect, 2, PROT_EXEC, 0);
  filter.allow_bits(SYS_clone, 0, CLONE_THREAD | CLONE_NEWNS | CLONE_NEWUSER, CLONE_THREAD);
  // Its flags are out of the filter's sight; the C library then takes the one above.
  filter.refuse(SYS_clone3, ENOSYS);
  filter.allow_values(SYS_prctl, 0, {PR_SET_NAME});
  // Limits of this process can be read: a new one is the third argument.
  filter.allow_bits(SYS_prlimit64, 2, ~0U, 0);
  // abort(3) is how a broken picture of the world ends.
  filter.allow_values(SYS_tgkill, 0, {static_cast<uint32_t>(::getpid())});
  // Last: of these the kernel knows that they are always allowed, and does not ask the filter.
  for (const int call : kAllowed) filter.allow(call);
  filter.refuse_others();
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return errno_error("set no_new_privs", errno);
  if (filter.install() == 0) return {};
  return Error{ErrorCode::kPreconditionFailed,
               errno_error("filter system calls", errno).message +
                   ": the kernel must have CONFIG_SECCOMP_FILTER, and a sandbox around this one "
                   "must allow seccomp(2)"};
}

}  // namespace transship::mover
