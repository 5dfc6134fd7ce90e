#include "transfer/held_tree.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

#include "transfer/batch_workers.h"
#include "transfer/beneath.h"
#include "transfer/entry_metadata.h"
#include "transfer/file_sender.h"
#include "transfer/survey.h"
#include "transfer/xattrs.h"

namespace transship::transfer {
namespace {

constexpr int64_t kBuffer = 512 << 10;

Error meddled(const std::string& path) {
  return {ErrorCode::kConflict, quoted(path) +
                                    " changed while the destination was looked at: is somebody "
                                    "else writing to it?"};
}

// Makes nodes of what is met.
class Finder final : public SurveyVisitor {
 public:
  Finder(Inventory& inventory, const ReceiveLimits& limits)
      : inventory_(inventory), limits_(limits) {}

  Result<std::unique_ptr<DirectoryVisit>> begin(NodeId directory, const NodeStat& stat) override {
    inventory_.at(directory).take(stat);
    return std::unique_ptr<DirectoryVisit>(std::make_unique<Visit>(*this, directory));
  }
  Status vanished(NodeId directory) override { return meddled(inventory_.path(directory)); }
  Status entry_vanished(NodeId directory) override { return meddled(inventory_.path(directory)); }

  // The nodes that have names elsewhere, too.
  [[nodiscard]] std::vector<bool> shared() const {
    std::vector<bool> shared;
    for (const auto& [inode, links] : links_) {
      if (inventory_.at(links.node).links == links.wanted) continue;
      shared.resize(inventory_.size());
      shared[links.node] = true;
    }
    return shared;
  }

 private:
  struct Links {
    NodeId node = kRootNode;
    uint32_t wanted = 0;
  };

  class Visit final : public DirectoryVisit {
   public:
    Visit(Finder& finder, NodeId directory) : finder_(finder), directory_(directory) {}
    Status take(std::span<const SurveyedEntry> entries, std::vector<NodeId>& inside) override {
      Inventory& inventory = finder_.inventory_;
      for (const SurveyedEntry& entry : entries) {
        auto node = finder_.node_of(entry.stat);
        if (!node) return node.error();
        inventory.add_child(directory_, inventory.keep(entry.name), *node);
        if (S_ISDIR(entry.stat.mode)) inside.push_back(*node);
      }
      return {};
    }
    Status end() override {
      finder_.inventory_.sort_children(directory_);
      return {};
    }

   private:
    Finder& finder_;
    NodeId directory_;
  };

  Result<NodeId> node_of(const NodeStat& stat) {
    const bool several = !S_ISDIR(stat.mode) && stat.links > 1;
    if (several) {
      const auto met = links_.find(stat.inode);
      if (met != links_.end()) return met->second.node;
    }
    const NodeId id = inventory_.add();
    Node& node = inventory_.at(id);
    node.take(stat);
    if (node.is_directory()) node.more();
    if (node.is_regular()) node.set(Node::kUnverified);
    if (several) links_[stat.inode] = {id, stat.links};
    if (id - kFirstNode >= limits_.entries || node.size > limits_.bytes - bytes_) {
      return Error{ErrorCode::kPreconditionFailed,
                   "the destination holds more than the volume may: empty it"};
    }
    bytes_ += node.size;
    return id;
  }

  Inventory& inventory_;
  const ReceiveLimits& limits_;
  int64_t bytes_ = 0;
  SpillMap<uint64_t, Links> links_;  // by inode
};

struct Item {
  Node* node = nullptr;
  NodeId directory = kRootNode;
  std::string_view name;  // empty: the directory itself
  DirectoryHandle handle;
};

// One thread's part of looking into what is there.
class Reader {
 public:
  struct Options {
    const ReceiveOptions& receive;
    int64_t block = 0;
    bool on_disk = false;  // there is a disk to read from, and a cache to be passed by
  };
  Reader(const Inventory& inventory, const Options& options)
      : inventory_(inventory),
        options_(options),
        buffer_(static_cast<size_t>(std::max(kBuffer, options.block))) {}

  Status read(const std::vector<Item>& items) {
    for (const Item& item : items) {
      TRANSSHIP_TRY(options_.receive.until.check("look at the destination"));
      TRANSSHIP_TRY(item.node->is_regular() ? read_file(item) : read_other(item));
    }
    return {};
  }

 private:
  [[nodiscard]] std::string path(const Item& item) const {
    return item.name.empty() ? inventory_.path(item.directory)
                             : inventory_.path(item.directory, item.name);
  }

  Status read_other(const Item& item) {
    Node& node = *item.node;
    const std::string name(item.name);
    const int fd = item.handle->get();
    TRANSSHIP_TRY(take_xattrs(item, name.empty() ? XattrPlace(fd, options_.receive.xattrs)
                                                 : XattrPlace(fd, name, options_.receive.xattrs)));
    TRANSSHIP_TRY(take_flags(item, {fd, name, node.is_directory(), options_.receive.projects}));
    if (!S_ISLNK(node.mode)) return {};
    std::string target(PATH_MAX, '\0');
    const ssize_t length = ::readlinkat(fd, name.c_str(), target.data(), target.size());
    if (length < 0) return path_error("read link", path(item), errno);
    target.resize(static_cast<size_t>(length));
    node.more().link_target = target;
    return {};
  }

  Status take_xattrs(const Item& item, const XattrPlace& place) {
    auto xattrs = place.read(path(item));
    if (!xattrs) return xattrs.error();
    if (!xattrs->empty()) item.node->more().xattrs = *xattrs;
    return {};
  }

  Status take_flags(const Item& item, const AttributePlace& place) {
    InodeAttributes found;
    if (!read_attributes(place, found))
      return path_error("read the inode flags of", path(item), errno);
    item.node->set_attributes(found);
    if (item.node->flags_in_the_way()) item.node->set(Node::kFlagged);
    return {};
  }

  // Its digest is known already where it is not kUnverified.
  Status read_file(const Item& item) {
    Node& node = *item.node;
    auto file = open_for_reading(item.handle->get(), std::string(item.name), 0, path(item));
    if (!file) return file.error();
    TRANSSHIP_TRY(take_xattrs(item, XattrPlace(file->get(), options_.receive.xattrs)));
    TRANSSHIP_TRY(take_flags(item, {file->get(), "", false, options_.receive.projects}));
    if (node.has(Node::kUnverified)) TRANSSHIP_TRY(hash(item, file->get()));
    auto now = stat_beneath(file->get(), "", path(item));
    if (!now) return now.error();
    if (node.differs(node_stat(*now))) return meddled(path(item));
    node.clear(Node::kUnverified);
    return {};
  }

  Status hash(const Item& item, int file) {
    Node& node = *item.node;
    if (options_.on_disk) ::posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
    BlockMap map;
    if (node.size > kSmallFile || node.has(Node::kSparse)) {
      auto extents = find_extents(file, node.size, path(item));
      if (!extents) return extents.error();
      map = {options_.block, {}, {extents->begin(), extents->end()}};
    }
    for (int64_t position = 0; position < node.size;) {
      TRANSSHIP_TRY(options_.receive.until.check("look at the destination"));
      auto have = read_piece(item, file, position);
      if (!have) return have.error();
      if (*have == 0) return meddled(path(item));
      const Bytes piece = Bytes(buffer_).first(static_cast<size_t>(*have));
      sha_.update(piece);
      for (int64_t at = 0; map.block != 0 && at < *have; at += map.block) {
        const auto size = static_cast<size_t>(std::min(map.block, *have - at));
        map.digests.push_back(block_digest(piece.subspan(static_cast<size_t>(at), size)));
      }
      position += *have;
    }
    node.content = sha_.finish();
    if (map.block != 0) node.more().blocks = std::move(map);
    return {};
  }

  // A whole buffer, or up to the file's end.
  Result<int64_t> read_piece(const Item& item, int file, int64_t position) {
    const auto wanted = std::min(static_cast<int64_t>(buffer_.size()), item.node->size - position);
    int64_t have = 0;
    while (have < wanted) {
      const ssize_t n =
          ::pread(file, buffer_.data() + have, static_cast<size_t>(wanted - have), position + have);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return path_error("read", path(item), errno);
      if (n == 0) return 0;
      have += n;
    }
    return have;
  }

  const Inventory& inventory_;
  const Options options_;
  std::vector<std::byte> buffer_;
  Sha256 sha_;
};

class HeldTree {
 public:
  HeldTree(int root, const ReceiveOptions& options, Inventory& inventory)
      : root_(root), options_(options), inventory_(inventory) {}

  Status find() {
    // Names go, and others with them: two looks are enough but where somebody makes new ones.
    for (int i = 0; i < 3; ++i) {
      inventory_ = Inventory();
      inventory_.at(kRootNode).clear(Node::kStale);
      Finder finder(inventory_, options_.limits);
      TRANSSHIP_TRY(survey(root_, inventory_, finder, options_.until));
      const std::vector<bool> shared = finder.shared();
      if (shared.empty()) return {};
      TRANSSHIP_TRY(unlink(shared));
    }
    return meddled(".");
  }

  // What was read back, and has not changed since, has its digest.
  void recall(const Inventory* known) {
    SpillMap<uint64_t, const Node*> files;
    for (NodeId id = kFirstNode; known != nullptr && id < known->size(); ++id) {
      const Node& node = known->at(id);
      if (node.is_regular() && node.inode != 0 && !node.has(Node::kUnverified))
        files[node.inode] = &node;
    }
    for (NodeId id = kFirstNode; id < inventory_.size(); ++id) {
      Node& node = inventory_.at(id);
      if (!node.is_regular()) continue;
      const auto found = files.find(node.inode);
      if (found == files.end()) continue;
      const Node& before = *found->second;
      if (before.size != node.size || before.ctime_seconds != node.ctime_seconds ||
          before.ctime_nanoseconds != node.ctime_nanoseconds)
        continue;
      node.content = before.content;
      node.clear(Node::kUnverified);
    }
  }

  Status look_into(const Reader::Options& how) {
    BatchWorkers<Item> workers("held", {}, [&] {
      return [reader = std::make_shared<Reader>(inventory_, how)](const std::vector<Item>& items) {
        return reader->read(items);
      };
    });
    DirectoryHandles handles(root_, inventory_);
    std::vector<bool> queued(inventory_.size());
    std::vector<NodeId> waiting = {kRootNode};
    while (!waiting.empty()) {
      const NodeId directory = waiting.back();
      waiting.pop_back();
      auto handle = handles.open(directory);
      if (!handle) return handle.error();
      TRANSSHIP_TRY(workers.add({&inventory_.at(directory), directory, "", *handle}, 0));
      for (const Child& child : inventory_.at(directory).more().children) {
        Node& node = inventory_.at(child.node);
        if (node.is_directory()) waiting.push_back(child.node);
        if (node.is_directory() || queued[child.node]) continue;
        queued[child.node] = true;
        TRANSSHIP_TRY(workers.add({&node, directory, child.name(), *handle}, node.size));
      }
    }
    return workers.finish();
  }

 private:
  Status unlink(const std::vector<bool>& shared) {
    DirectoryHandles handles(root_, inventory_);
    for (NodeId directory = 0; directory < inventory_.size(); ++directory) {
      if (!inventory_.is_directory(directory)) continue;
      for (const Child& child : inventory_.at(directory).more().children) {
        if (!shared[child.node]) continue;
        auto handle = handles.open(directory);
        if (!handle) return handle.error();
        const std::string name(child.name());
        const uint32_t mode = inventory_.at(child.node).mode;
        for (const auto& failed : {unlock_inode((*handle)->get(), "", S_IFDIR, options_.projects),
                                   unlock_inode((*handle)->get(), name, mode, options_.projects)})
          if (failed) return write_error(*failed, inventory_.path(directory, name));
        if (::unlinkat((*handle)->get(), name.c_str(), 0) < 0)
          return path_error("remove", inventory_.path(directory, child.name()), errno);
      }
    }
    return {};
  }

  int root_;
  const ReceiveOptions& options_;
  Inventory& inventory_;
};

}  // namespace

Status take_held_tree(int root, int64_t volume_bytes, const Inventory* known,
                      const ReceiveOptions& options, Inventory& inventory) {
  auto opened = open_beneath(root, ".", O_RDONLY | O_DIRECTORY, ".");
  if (!opened) return opened.error();
  if (::syncfs(opened->get()) < 0) return errno_error("sync the volume's file system", errno);
  struct statfs file_system {};
  if (::fstatfs(opened->get(), &file_system) < 0) return errno_error("look at the volume", errno);
  HeldTree tree(root, options, inventory);
  TRANSSHIP_TRY(tree.find());
  tree.recall(known);
  int64_t bytes = 0;
  for (NodeId id = 0; id < inventory.size(); ++id) bytes += inventory.at(id).size;
  const int64_t block = block_size_for(std::max(bytes, volume_bytes));
  return tree.look_into({options, block, file_system.f_type != TMPFS_MAGIC});
}

}  // namespace transship::transfer
