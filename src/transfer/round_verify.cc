// RoundReceiver's reading back: is what is on the disk what came?
#include <dirent.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <climits>

#include "transfer/batch_workers.h"
#include "transfer/beneath.h"
#include "transfer/content_batch.h"
#include "transfer/differences.h"
#include "transfer/round_receiver.h"
#include "transfer/sha256_aside.h"
#include "transfer/survey.h"
#include "transfer/xattrs.h"

namespace transship::transfer {
namespace {

constexpr size_t kBuffer = 512 << 10;
constexpr int64_t kSmall = 256 << 10;      // hashed with others
constexpr int64_t kHashedAside = 8 << 20;  // where nothing else is to be done
constexpr BatchLimits kLimits{.items = 64, .bytes = kSmall, .queued = 8};

struct Item {
  Node* node = nullptr;
  NodeId directory = kRootNode;
  std::string_view name;  // empty: the directory itself
  DirectoryHandle handle;
};

std::string path_of(const Inventory& inventory, const Item& item) {
  return item.name.empty() ? inventory.path(item.directory)
                           : inventory.path(item.directory, item.name);
}

// What of the metadata differs; "" for nothing. Of directories neither size nor links are carried.
std::string difference(const Node& node, const NodeStat& stat) {
  if ((node.mode & S_IFMT) != (stat.mode & S_IFMT)) return "is of another type";
  if (node.mode != stat.mode) return "has another mode";
  if (node.uid != stat.uid || node.gid != stat.gid) return "has another owner";
  if (node.mtime_seconds != stat.mtime_seconds || node.mtime_nanoseconds != stat.mtime_nanoseconds)
    return "has another modification time";
  if (node.is_regular() && node.size != stat.size) return "has another size";
  if (!node.is_directory() && node.links != stat.links) return "is hard-linked to other names";
  if ((S_ISCHR(node.mode) || S_ISBLK(node.mode)) &&
      (node.extra->device_major != stat.device_major ||
       node.extra->device_minor != stat.device_minor))
    return "has another device number";
  return "";
}

// One thread's part of reading back.
class Reader {
 public:
  // `on_disk`: there is a disk to read from, and a cache to be passed by. `busy`: how many threads
  // read.
  Reader(const Inventory& inventory, const ReceiveOptions& options, Differences& differences,
         bool on_disk, const std::atomic<int>& busy)
      : inventory_(inventory),
        options_(options),
        differences_(differences),
        on_disk_(on_disk),
        busy_(busy),
        buffer_(kBuffer),
        hashed_(kBuffer) {}

  Status read(const std::vector<Item>& items) {
    for (const Item& item : items) {
      TRANSSHIP_TRY(options_.until.check("read the volume back"));
      UniqueFd file;
      auto found = look_at(item, file);
      if (!found) return found.error();
      if (found->empty() && item.node->is_regular()) {
        TRANSSHIP_TRY(read_content(item, file.get()));
      } else {
        note(item, *found);
      }
    }
    contents_.hash();
    for (size_t i = 0; i < small_.size(); ++i) {
      const bool same = contents_.digest(i) == small_[i]->node->content;
      note(*small_[i], same ? "" : kOtherContent);
    }
    contents_.clear();
    small_.clear();
    return {};
  }

 private:
  static constexpr const char* kOtherContent = "has other content";

  void note(const Item& item, const std::string& difference) {
    if (!difference.empty()) return differences_.add(path_of(inventory_, item), difference);
    item.node->clear(Node::kUnverified);
    if (options_.progress != nullptr) ++options_.progress->verified_entries;
  }

  // What differs, but for a file's content; the file is open then.
  Result<std::string> look_at(const Item& item, UniqueFd& file) const {
    Node& node = *item.node;
    if (node.is_regular()) {
      auto opened = open_for_reading(item.handle->get(), std::string(item.name), 0, kNoPath);
      if (!opened && errno == ENOENT) return std::string("is missing");
      if (!opened) return path_error("open", path_of(inventory_, item), errno);
      file = std::move(opened).value();
    }
    const bool itself = node.is_regular() || item.name.empty();
    const int fd = node.is_regular() ? file.get() : item.handle->get();
    const std::string name = itself ? "" : std::string(item.name);
    auto stat = stat_beneath(fd, name, kNoPath);
    if (!stat && errno == ENOENT) return std::string("is missing");
    if (!stat) return path_error("stat", path_of(inventory_, item), errno);
    const NodeStat found = node_stat(*stat);
    if (std::string other = difference(node, found); !other.empty()) return other;
    auto xattrs = (itself ? XattrPlace(fd, options_.xattrs) : XattrPlace(fd, name, options_.xattrs))
                      .read(kNoPath);
    if (!xattrs) return xattrs.error().during(quoted(path_of(inventory_, item)));
    if (node.extra ? !(node.extra->xattrs == *xattrs) : !xattrs->empty())
      return std::string("has other extended attributes");
    InodeAttributes attributes;
    const AttributePlace place{fd, name, node.is_directory(), options_.projects};
    if (!read_attributes(place, attributes))
      return path_error("read the inode flags of", path_of(inventory_, item), errno);
    if (attributes != node.attributes()) return std::string("has other inode flags or project id");
    if (S_ISLNK(node.mode) && !has_target(item)) return std::string("has another target");
    // From here on its time of change shows whether anybody else had a hand in it.
    node.inode = found.inode;
    node.ctime_seconds = found.ctime_seconds;
    node.ctime_nanoseconds = found.ctime_nanoseconds;
    return std::string();
  }

  // A small one's is compared when those of others are hashed with it.
  Status read_content(const Item& item, int file) {
    if (on_disk_) ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    if (item.node->size > kSmall) {
      auto digest = hash(item, file);
      if (!digest) return digest.error();
      note(item, *digest == item.node->content ? "" : kOtherContent);
      return {};
    }
    if (!contents_.read(file, static_cast<size_t>(item.node->size)))
      return path_error("read back", path_of(inventory_, item), errno);
    if (options_.progress != nullptr)
      options_.progress->verified_bytes += static_cast<int64_t>(contents_.length(small_.size()));
    small_.push_back(&item);
    return {};
  }

  static bool has_target(const Item& item) {
    char target[PATH_MAX];
    const ssize_t length =
        ::readlinkat(item.handle->get(), std::string(item.name).c_str(), target, sizeof target);
    return length >= 0 &&
           item.node->extra->link_target == std::string_view(target, static_cast<size_t>(length));
  }

  Result<Sha256::Digest> hash(const Item& item, int file) {
    int64_t have = 0;
    while (true) {
      const ssize_t n = ::read(file, buffer_.data(), buffer_.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return path_error("read back", path_of(inventory_, item), errno);
      sha_.update(std::string_view(buffer_.data(), static_cast<size_t>(n)),
                  item.node->size >= kHashedAside && busy_ == 1);
      std::swap(buffer_, hashed_);
      have += n;
      if (options_.progress != nullptr) options_.progress->verified_bytes += n;
      if (n == 0 || have >= item.node->size) return sha_.finish();
      TRANSSHIP_TRY(options_.until.check("read the volume back"));
    }
  }

  static const inline std::string kNoPath;

  const Inventory& inventory_;
  const ReceiveOptions& options_;
  Differences& differences_;
  bool on_disk_;
  const std::atomic<int>& busy_;
  ContentBatch contents_;
  std::vector<const Item*> small_;  // whose contents those are
  std::vector<char> buffer_;        // a part of a large file
  std::vector<char> hashed_;        // the part before it
  Sha256Aside sha_;
};

// Every entry on the disk against the inventory: what is not as it was when it was read back is to
// be read back again.
class Comparison final : public SurveyVisitor {
 public:
  Comparison(Inventory& inventory, Differences& differences)
      : inventory_(inventory), differences_(differences) {}

  Result<std::unique_ptr<DirectoryVisit>> begin(NodeId directory, const NodeStat& stat) override {
    look_at(inventory_.at(directory), stat);
    return std::unique_ptr<DirectoryVisit>(std::make_unique<Visit>(*this, directory));
  }
  Status vanished(NodeId directory) override {
    differences_.add(inventory_.path(directory), "is missing");
    return {};
  }
  Status entry_vanished(NodeId directory) override {
    differences_.add(inventory_.path(directory), "changed while it was read back");
    return {};
  }

 private:
  class Visit final : public DirectoryVisit {
   public:
    Visit(Comparison& whole, NodeId directory)
        : whole_(whole),
          directory_(directory),
          children_(whole.inventory_.at(directory).extra->children) {}

    // All that there is to be seen of a file is looked at when it is read back.
    bool passes(std::string_view name, unsigned char type) override {
      while (coming_ < children_.size() && children_[coming_].name() < name) ++coming_;
      if (coming_ == children_.size() || children_[coming_].name() != name) return false;
      const Node& node = whole_.inventory_.at(children_[coming_].node);
      return type == DT_REG && node.is_regular() && node.links == 1 && node.has(Node::kUnverified);
    }
    Status take(std::span<const SurveyedEntry> entries, std::vector<NodeId>& inside) override {
      for (const SurveyedEntry& entry : entries) {
        while (next_ < children_.size() && children_[next_].name() < entry.name) miss();
        if (next_ == children_.size() || children_[next_].name() != entry.name) {
          whole_.differences_.add(whole_.inventory_.path(directory_, entry.name), "was not sent");
          continue;
        }
        const NodeId id = children_[next_++].node;
        if (entry.passed) continue;
        Node& node = whole_.inventory_.at(id);
        if (node.is_directory() && S_ISDIR(entry.stat.mode)) {
          inside.push_back(id);
          continue;
        }
        const std::string other = difference(node, entry.stat);
        if (!other.empty()) {
          whole_.differences_.add(whole_.inventory_.path(directory_, entry.name), other);
        } else {
          look_at(node, entry.stat);
          if (node.inode != entry.stat.inode)
            whole_.differences_.add(whole_.inventory_.path(directory_, entry.name),
                                    "is hard-linked to other names");
        }
      }
      return {};
    }
    Status end() override {
      while (next_ < children_.size()) miss();
      return {};
    }

   private:
    void miss() {
      whole_.differences_.add(whole_.inventory_.path(directory_, children_[next_++].name()),
                              "is missing");
    }

    Comparison& whole_;
    NodeId directory_;
    const SpillVector<Child>& children_;
    size_t next_ = 0;
    size_t coming_ = 0;  // ahead of it, where names are passed by
  };

  static void look_at(Node& node, const NodeStat& stat) {
    const bool known = node.ctime_seconds == stat.ctime_seconds &&
                       node.ctime_nanoseconds == stat.ctime_nanoseconds && node.inode == stat.inode;
    if (!known) node.set(Node::kUnverified);
    // The first name says what the inode is; all others must lead to it.
    if (node.round != kCompared) node.inode = stat.inode;
    node.round = kCompared;
  }

  static constexpr uint16_t kCompared = UINT16_MAX;

  Inventory& inventory_;
  Differences& differences_;
};

// Hands what is to be read back to the threads, directory by directory.
class ReadBack {
 public:
  ReadBack(Inventory& inventory, DirectoryHandles& handles, const ReceiveOptions& options,
           Differences& differences, bool on_disk)
      : inventory_(inventory),
        handles_(handles),
        queued_(inventory.size()),
        workers_("verify", kLimits, [&] {
          auto reader = std::make_shared<Reader>(inventory, options, differences, on_disk, busy_);
          return [this, reader](const std::vector<Item>& items) {
            ++busy_;
            Status done = reader->read(items);
            --busy_;
            return done;
          };
        }) {}

  Status run() {
    std::vector<NodeId> waiting = {kRootNode};
    while (!waiting.empty()) {
      const NodeId directory = waiting.back();
      waiting.pop_back();
      handle_.reset();
      TRANSSHIP_TRY(queue(directory, directory, ""));
      for (const Child& child : inventory_.at(directory).more().children) {
        if (inventory_.at(child.node).is_directory()) {
          waiting.push_back(child.node);
        } else {
          TRANSSHIP_TRY(queue(child.node, directory, child.name()));
        }
      }
    }
    return workers_.finish();
  }

 private:
  Status queue(NodeId id, NodeId directory, std::string_view name) {
    if (queued_[id]) return {};  // a thread's, from then on
    queued_[id] = true;
    Node& node = inventory_.at(id);
    if (!node.has(Node::kUnverified)) return {};
    if (!handle_) {
      auto opened = handles_.open(directory);
      if (!opened) return opened.error();
      handle_ = std::move(opened).value();
    }
    return workers_.add({&node, directory, name, handle_}, node.size);
  }

  Inventory& inventory_;
  DirectoryHandles& handles_;
  DirectoryHandle handle_;  // of the directory that is being queued
  std::vector<bool> queued_;
  std::atomic<int> busy_ = 0;  // threads
  BatchWorkers<Item> workers_;
};

}  // namespace

Status RoundReceiver::verify(bool whole) {
  auto root = open_beneath(root_, ".", O_RDONLY | O_DIRECTORY, ".");
  if (!root) return root.error();
  if (::syncfs(root->get()) < 0) return errno_error("sync the volume's file system", errno);
  struct statfs file_system {};
  if (::fstatfs(root->get(), &file_system) < 0) return errno_error("look at the volume", errno);
  const bool on_disk = file_system.f_type != TMPFS_MAGIC;
  Differences differences;
  if (whole) {
    Comparison comparison(inventory_, differences);
    TRANSSHIP_TRY(survey(root_, inventory_, comparison, options_.until));
    TRANSSHIP_TRY(differences.status());
  }
  TRANSSHIP_TRY(ReadBack(inventory_, handles_, options_, differences, on_disk).run());
  return differences.status();
}

}  // namespace transship::transfer
