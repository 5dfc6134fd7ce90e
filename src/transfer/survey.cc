#include "transfer/survey.h"

#include <pthread.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <thread>

#include "base/directory_stream.h"
#include "base/mutex.h"
#include "transfer/beneath.h"

namespace transship::transfer {
namespace {

constexpr int kThreads = 2;
constexpr size_t kSlice = 1024;

struct Name {
  uint64_t inode = 0;
  uint32_t offset = 0;  // in Names::text
  uint16_t length = 0;
  uint8_t type = DT_UNKNOWN;
};

// A directory's names; a million of them take some 30 MB.
struct Names {
  SpillString text;  // each with a NUL
  SpillVector<Name> names;
  void add(std::string_view name, uint64_t inode, uint8_t type) {
    names.push_back(
        {inode, static_cast<uint32_t>(text.size()), static_cast<uint16_t>(name.size()), type});
    (text += name) += '\0';
  }
  [[nodiscard]] std::string_view view(const Name& name) const {
    return std::string_view(text).substr(name.offset, name.length);
  }
};

Result<Names> read_names(int directory) {
  auto stream = DirectoryStream::open(directory);
  if (!stream) return stream.error();
  Names out;
  while (const dirent* found = stream->next()) {
    const std::string_view name(found->d_name);
    if (out.text.size() > UINT32_MAX - 256) {
      return Error{ErrorCode::kInvalid, "the directory has too many names"};
    }
    out.add(name, found->d_ino, found->d_type);
  }
  if (errno != 0) return errno_error("read the directory", errno);
  std::sort(out.names.begin(), out.names.end(),
            [&](const Name& a, const Name& b) { return out.view(a) < out.view(b); });
  return out;
}

bool look(int directory, const char* name, struct statx& stat) {
  const int flags = AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | (*name == '\0' ? AT_EMPTY_PATH : 0);
  return ::statx(directory, name, flags, STATX_BASIC_STATS, &stat) == 0;
}

class Surveyor {
 public:
  Surveyor(int root, Inventory& inventory, SurveyVisitor& visitor, const Until& until)
      : inventory_(inventory), visitor_(visitor), until_(until), handles_(root, inventory) {}

  Status run() {
    {
      std::vector<std::jthread> threads;
      for (int i = 1; i < kThreads; ++i) {
        threads.emplace_back([this] {
          ::pthread_setname_np(::pthread_self(), "survey");
          work();
        });
      }
      work();
    }
    MutexLock lock(mutex_);
    return failed_;
  }

 private:
  void work() EXCLUDES(mutex_) {
    MutexLock lock(mutex_);
    while (true) {
      while (waiting_.empty() && busy_ > 0 && failed_) changed_.wait(lock);
      if (waiting_.empty() || !failed_) break;
      const NodeId directory = waiting_.back();
      waiting_.pop_back();
      ++busy_;
      Status done = open_and_visit(directory, lock);
      --busy_;
      if (!done && failed_) failed_ = std::move(done);
      if (waiting_.size() > 1 || busy_ == 0 || !failed_) changed_.notify_all();
    }
    changed_.notify_all();
  }

  Status open_and_visit(NodeId directory, MutexLock& lock) REQUIRES(mutex_) {
    TRANSSHIP_TRY(until_.check("look at the volume"));
    auto handle = handles_.open(directory);
    if (!handle && handle.error().code == ErrorCode::kNotFound) return visitor_.vanished(directory);
    if (!handle) return handle.error();
    return visit(directory, (*handle)->get(), lock);
  }

  Status visit(NodeId directory, int fd, MutexLock& lock) REQUIRES(mutex_) {
    lock.unlock();
    struct statx own {};
    const bool seen = look(fd, "", own);
    const int error = errno;
    lock.lock();
    if (!seen) return errno_error("stat " + quoted(inventory_.path(directory)), error);
    if (directory == kRootNode) device_ = {own.stx_dev_major, own.stx_dev_minor};
    auto visit = visitor_.begin(directory, node_stat(own));
    if (!visit) return visit.error();
    const std::span<const Child> known = (*visit)->names();
    if (!known.empty()) return visit_known(directory, fd, known, **visit, lock);
    lock.unlock();
    auto names = read_names(fd);
    lock.lock();
    if (!names) return names.error().during(quoted(inventory_.path(directory)));
    for (size_t at = 0; at < names->names.size(); at += kSlice) {
      const size_t count = std::min(kSlice, names->names.size() - at);
      TRANSSHIP_TRY(
          take(directory, fd, *names, std::span(names->names).subspan(at, count), **visit, lock));
    }
    return (*visit)->end();
  }

  Status visit_known(NodeId directory, int fd, std::span<const Child> known, DirectoryVisit& visit,
                     MutexLock& lock) REQUIRES(mutex_) {
    for (; !known.empty(); known = known.subspan(std::min(kSlice, known.size()))) {
      Names names;
      for (const Child& child : known.first(std::min(kSlice, known.size())))
        names.add(child.name(), inventory_.at(child.node).inode, DT_UNKNOWN);
      TRANSSHIP_TRY(take(directory, fd, names, names.names, visit, lock));
    }
    return visit.end();
  }

  // In the order of inode numbers, which is about the order on disk.
  Status take(NodeId directory, int fd, const Names& names, std::span<const Name> slice,
              DirectoryVisit& visit, MutexLock& lock) REQUIRES(mutex_) {
    std::vector<SurveyedEntry> found(slice.size());
    std::vector<uint32_t> order;
    order.reserve(slice.size());
    for (uint32_t i = 0; i < slice.size(); ++i) {
      const std::string_view name = names.view(slice[i]);
      found[i] = {name, {}, visit.passes(name, slice[i].type)};
      if (!found[i].passed) order.push_back(i);
    }
    lock.unlock();
    std::sort(order.begin(), order.end(),
              [&](uint32_t a, uint32_t b) { return slice[a].inode < slice[b].inode; });
    std::string_view foreign;
    std::string_view failing;
    int error = 0;
    bool missing = false;
    for (const uint32_t i : order) {
      struct statx stat {};
      const std::string_view name = found[i].name;
      if (look(fd, name.data(), stat)) {
        found[i].stat = node_stat(stat);
        if (!is_of_the_volume(stat)) foreign = name;
      } else if (errno == ENOENT) {
        missing = true;
      } else {
        error = errno;
        failing = name;
      }
    }
    lock.lock();
    if (error != 0) return path_error("stat", inventory_.path(directory, failing), error);
    if (!foreign.empty()) {
      return Error{ErrorCode::kInvalid, quoted(inventory_.path(directory, foreign)) +
                                            " is a mount point or of another file system: a "
                                            "volume must be one file system"};
    }
    if (missing) {
      TRANSSHIP_TRY(visitor_.entry_vanished(directory));
      std::erase_if(
          found, [](const SurveyedEntry& entry) { return !entry.passed && entry.stat.mode == 0; });
    }
    std::vector<NodeId> inside;
    TRANSSHIP_TRY(visit.take(found, inside));
    TRANSSHIP_TRY(Spill::of_process().check());
    waiting_.insert(waiting_.end(), inside.rbegin(), inside.rend());
    return {};
  }

  [[nodiscard]] bool is_of_the_volume(const struct statx& stat) const {
    return (stat.stx_attributes & STATX_ATTR_MOUNT_ROOT) == 0 &&
           device_ == std::pair(stat.stx_dev_major, stat.stx_dev_minor);
  }

  Inventory& inventory_;
  SurveyVisitor& visitor_;
  const Until& until_;
  std::pair<uint32_t, uint32_t> device_;  // set before any other directory is known
  Mutex mutex_;
  std::condition_variable_any changed_;
  DirectoryHandles handles_ GUARDED_BY(mutex_);
  SpillVector<NodeId> waiting_ GUARDED_BY(mutex_) = {kRootNode};  // the next one last
  int busy_ GUARDED_BY(mutex_) = 0;
  Status failed_ GUARDED_BY(mutex_);
};

}  // namespace

Status survey(int root, Inventory& inventory, SurveyVisitor& visitor, const Until& until) {
  return Surveyor(root, inventory, visitor, until).run();
}

}  // namespace transship::transfer
