// The volume digest of an inventory (docs/volume-digest.md), directory by directory: no list of all
// paths is ever made.
#include <algorithm>
#include <cstring>

#include "transfer/inventory.h"
#include "transfer/manifest.h"
#include "transfer/wire.h"

namespace transship::transfer {
namespace {

constexpr std::string_view kNul("\0", 1);

std::string record_tail(const Node& node) {
  // A type that Linux does not have is in no inventory.
  return find_record_tail(entry_kind(node.mode).value_or(EntryKind::kRegular), node.mode & 07777U,
                          node.uid, node.gid, node.mtime_seconds, node.mtime_nanoseconds,
                          node.extra ? std::string_view(node.extra->link_target) : "");
}

// A child's own line, or all lines of what is in it. They sort by the text that follows the
// directory's path: the name, and then " f 644 …", "/…" or nothing.
struct Item {
  const Child* child = nullptr;
  bool inside = false;
};

class Digester {
 public:
  explicit Digester(const Inventory& inventory) : inventory_(inventory) {}

  Summary run() {
    const Node& root = inventory_.at(kRootNode);
    line("." + record_tail(root));
    count(root, kRootNode);
    walk(
        [this](const std::string& path, const Child& child) {
          const Node& node = inventory_.at(child.node);
          line(path + record_tail(node));
          count(node, child.node);
        },
        /*records=*/true);
    walk(
        [this](const std::string& path, const Child& child) {
          const Node& node = inventory_.at(child.node);
          if (node.is_regular()) line(to_hex(node.content) + "  " + path);
        },
        /*records=*/false);
    return {totals_, "sha256:" + to_hex(sha_.finish()), "sha256:" + to_hex(rest_.finish())};
  }

 private:
  void line(std::string_view text) {
    sha_.update(text);
    sha_.update(kNul);
  }

  void count(const Node& node, NodeId id) {
    ++totals_.entries;
    add_rest(node, id);
    if (node.links < 2 || counted_.insert(id).second) totals_.bytes += node.size;
  }

  // The node's number is the same at both ends, so it says which names are one inode's.
  void add_rest(const Node& node, NodeId id) {
    std::string text;
    Encoder out(text);
    out.number(id).number(node.inode_flags).number(node.project);
    if (node.extra && !node.extra->xattrs.empty()) {
      const std::vector<Xattr> xattrs = node.extra->xattrs.read();
      out.number(xattrs.size());
      for (const Xattr& xattr : xattrs) out.text(xattr.name).text(xattr.value);
    } else {
      out.number(0);
    }
    if (S_ISCHR(node.mode) || S_ISBLK(node.mode))
      out.number(node.extra->device_major).number(node.extra->device_minor);
    rest_.update(text);
  }

  // The first byte after the name.
  static int after_name(const Item& item, bool records) {
    if (item.inside) return '/';
    return records ? ' ' : -1;
  }

  [[nodiscard]] bool before(const Item& a, const Item& b, bool records) const {
    const std::string_view left = a.child->name();
    const std::string_view right = b.child->name();
    const size_t common = std::min(left.size(), right.size());
    const int order = std::memcmp(left.data(), right.data(), common);
    if (order != 0) return order < 0;
    const auto next = [&](std::string_view name, const Item& item) {
      return name.size() > common ? static_cast<unsigned char>(name[common])
                                  : after_name(item, records);
    };
    const int l = next(left, a);
    const int r = next(right, b);
    if (l != r || left.size() == right.size()) return l < r;
    // "a f 644 …" and "a b f 644 …"
    const auto text = [&](std::string_view name, const Item& item) {
      std::string whole(name);
      return whole += item.inside ? "/" : record_tail(inventory_.at(item.child->node));
    };
    return text(left, a) < text(right, b);
  }

  [[nodiscard]] SpillVector<Item> items(NodeId directory, bool records) const {
    SpillVector<Item> items;
    for (const Child& child : inventory_.at(directory).extra->children) {
      items.push_back({&child, false});
      const Node& node = inventory_.at(child.node);
      if (node.is_directory() && !node.extra->children.empty()) items.push_back({&child, true});
    }
    std::sort(items.begin(), items.end(),
              [&](const Item& a, const Item& b) { return before(a, b, records); });
    return items;
  }

  template <typename Visit>
  void walk(Visit visit, bool records) const {
    struct Level {
      SpillVector<Item> items;
      size_t next = 0;
      size_t path_length = 0;
    };
    std::vector<Level> levels;
    std::string path = ".";
    levels.push_back({items(kRootNode, records), 0, 0});
    while (!levels.empty()) {
      Level& level = levels.back();
      if (level.next == level.items.size()) {
        path.resize(level.path_length);
        levels.pop_back();
        continue;
      }
      const Item item = level.items[level.next++];
      const size_t length = path.size();
      (path += '/') += item.child->name();
      if (item.inside) {
        levels.push_back({items(item.child->node, records), 0, length});
      } else {
        visit(path, *item.child);
        path.resize(length);
      }
    }
  }

  const Inventory& inventory_;
  Sha256 sha_;
  Sha256 rest_;
  TreeTotals totals_;
  SpillSet<NodeId> counted_;
};

}  // namespace

Summary Inventory::summary() const { return Digester(*this).run(); }

}  // namespace transship::transfer
