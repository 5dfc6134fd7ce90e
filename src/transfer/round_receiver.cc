#include "transfer/round_receiver.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "transfer/beneath.h"
#include "transfer/destination.h"
#include "transfer/held_tree.h"

namespace transship::transfer {

RoundReceiver::RoundReceiver(int root, const ReceiveOptions& options)
    : root_(root),
      options_(options),
      handles_(root, inventory_),
      lanes_(options.projects, options.xattrs),
      writer_(options.projects, options.xattrs) {}

Status RoundReceiver::begin() {
  auto lost_and_found = prepare_destination(root_, options_.projects);
  if (!lost_and_found) return lost_and_found.error();
  lost_and_found_ = *lost_and_found;
  return {};
}

Status RoundReceiver::resume(int64_t volume_bytes, const Inventory* known) {
  TRANSSHIP_TRY(take_held_tree(root_, volume_bytes, known, options_, inventory_));
  for (NodeId id = kFirstNode; id < inventory_.size(); ++id) {
    bytes_ += inventory_.at(id).size;
    entries_ += inventory_.at(id).links;
  }
  made_ = inventory_.size();
  if (options_.progress != nullptr) {
    options_.progress->bytes = options_.progress->verified_bytes = bytes_;
    options_.progress->entries = options_.progress->verified_entries = entries_;
  }
  return {};
}

void RoundReceiver::abandon() {
  lanes_.drain();
  lanes_.abandon();
}

void RoundReceiver::forget_blocks() {
  for (NodeId id = kFirstNode; id < inventory_.size(); ++id) {
    if (inventory_.at(id).extra) inventory_.at(id).extra->blocks = {};
  }
}

Status RoundReceiver::take(Frame frame) {
  TRANSSHIP_TRY(options_.until.check("receive the volume"));
  TRANSSHIP_TRY(failure());
  if (frame.kind == FrameKind::kDirectories) return take_directories(frame.payload());
  if (frame.kind == FrameKind::kNames) return take_names(frame.payload());
  return take_nodes(std::make_shared<const Frame>(std::move(frame)));
}

Error RoundReceiver::refuse(NodeId directory, std::string_view name, const char* why) const {
  return corrupt(
      directory < inventory_.size() ? inventory_.path(directory, name) : std::string(name), why);
}

// The first failure of the writing threads.
Status RoundReceiver::failure() {
  const auto failed = lanes_.failure();
  if (!failed) return {};
  return write_error(failed->what, inventory_.path(failed->directory, failed->name));
}

// As errno says.
Error RoundReceiver::not_made(std::string_view tried, NodeId directory,
                              std::string_view name) const {
  const int error = errno;
  return creation_error(tried, inventory_.path(directory, name), error);
}

// A node that is not there yet, at a place in a directory that is.
Status RoundReceiver::check_new(NodeId id, NodeId directory, std::string_view name) {
  if (!inventory_.is_directory(directory))
    return refuse(directory, name, "its directory has not come before it");
  if (id < kFirstNode || (id < inventory_.size() && inventory_.at(id).exists()))
    return refuse(directory, name, "it comes as a node that is there already, or cannot be");
  // Numbers are given out one after the other, but some to what was gone before it could be sent.
  if (id - kFirstNode - made_ >= options_.limits.entries)
    return refuse(directory, name, "its number is beyond those of the entries that are allowed");
  TRANSSHIP_TRY(count_change(directory, name));
  ++made_;
  if (++entries_ > options_.limits.entries)
    return refuse(directory, name, "the volume has more entries than are allowed");
  while (inventory_.size() <= id) inventory_.add();
  return Spill::of_process().check();
}

// Names and nodes that come and go again leave their traces in the inventory.
Status RoundReceiver::count_change(NodeId directory, std::string_view name) {
  constexpr int64_t kChanges = 16;  // of each entry, about
  if (++changes_ / kChanges > options_.limits.entries)
    return refuse(directory, name, "more names came and went than the entries allowed can have");
  return {};
}

// A node that is there, at a place where it is.
Status RoundReceiver::check_place(NodeId id, NodeId directory, std::string_view name) {
  if (directory >= inventory_.size() || id >= inventory_.size() || !inventory_.at(id).exists())
    return refuse(directory, name, "it is none that has come before");
  const Child* child = inventory_.find_child(directory, name);
  if (child == nullptr) {
    sort_names();
    child = inventory_.find_child(directory, name);
  }
  if (child == nullptr || child->node != id)
    return refuse(directory, name, "it is none that has come before");
  return {};
}

// Other threads work on a node that came: it comes once in a round.
Status RoundReceiver::check_once(NodeId id) {
  Node& node = inventory_.at(id);
  if (node.round == round_) return refuse(node.parent, inventory_.name_of(id), "it came twice");
  node.round = round_;
  node.set(Node::kUnverified);
  if (options_.progress != nullptr) ++options_.progress->entries;
  return {};
}

Status RoundReceiver::count_bytes(NodeId id, int64_t size) {
  Node& node = inventory_.at(id);
  bytes_ -= node.size;
  if (size < 0 || size > kLargestFile || size > options_.limits.bytes - bytes_)
    return refuse(node.parent, inventory_.name_of(id),
                  "the volume has more bytes than are allowed");
  bytes_ += size;
  node.size = size;
  return {};
}

// A list of the new names beside the inventory would take as much memory as the names in it.
void RoundReceiver::add_name(NodeId directory, std::string_view name, NodeId id) {
  inventory_.add_child(directory, name, id);
  if (unsorted_.empty() || unsorted_.back() != directory) unsorted_.push_back(directory);
}

void RoundReceiver::sort_names() {
  std::sort(unsorted_.begin(), unsorted_.end());
  unsorted_.erase(std::unique(unsorted_.begin(), unsorted_.end()), unsorted_.end());
  for (const NodeId directory : unsorted_) {
    // It may have been removed since.
    if (inventory_.is_directory(directory)) inventory_.sort_children(directory);
  }
  unsorted_.clear();
}

bool RoundReceiver::inherits(NodeId directory) const {
  const Node& node = inventory_.at(directory);
  return (node.mode & S_ISGID) != 0 || node.extra->xattrs.has("system.posix_acl_default");
}

Status RoundReceiver::take_directories(std::string_view payload) {
  for (Decoder in(payload, options_.xattrs); !in.done();) {
    const Op op = in.op();
    const NodeId id = in.node();
    const NodeId directory = in.node();
    const std::string_view name = inventory_.keep(in.name());
    if (in.failed() || op != Op::kMakeDirectory)
      return refuse(directory, name, "the operation is malformed");
    TRANSSHIP_TRY(check_new(id, directory, name));
    auto handle = open_to_change(directory);
    if (!handle) return handle.error();
    if (lost_and_found_ && directory == kRootNode && name == kLostAndFound) {
      lost_and_found_ = false;
    } else if (::mkdirat((*handle)->get(), std::string(name).c_str(), 0700) < 0) {
      return not_made("make directory", directory, name);
    }
    Node& node = inventory_.at(id);
    node.mode = S_IFDIR | 0700;
    node.parent = directory;
    node.more().name = name;
    node.set(Node::kStale | Node::kUnverified);
    touch(directory);
    add_name(directory, name, id);
    // What it took over from its directory would go on to all that is made in it.
    if (inherits(directory)) TRANSSHIP_TRY(settle(id));
    if (options_.progress != nullptr) ++options_.progress->entries;
  }
  return {};
}

Status RoundReceiver::settle(NodeId directory) {
  auto handle = handles_.open(directory);
  if (!handle) return handle.error();
  if (const Written failed = writer_.settle((*handle)->get(), inventory_.at(directory)))
    return write_error(*failed, inventory_.path(directory));
  return {};
}

Status RoundReceiver::take_nodes(const std::shared_ptr<const Frame>& frame) {
  WriteLanes::Batch batch{frame, {}};
  std::optional<size_t> lane;
  for (Decoder in(frame->payload(), options_.xattrs); !in.done();) {
    auto job = read_job(in, lane);
    if (!job) return job.error();
    if (job->op != Op::kDirectory) batch.jobs.push_back(std::move(job).value());
  }
  if (!batch.jobs.empty()) lanes_.add(*lane, std::move(batch));
  return {};
}

Result<WriteJob> RoundReceiver::read_job(Decoder& in, std::optional<size_t>& lane) {
  WriteJob job;
  job.op = in.op();
  const NodeId id = in.node();
  if (in.failed()) return corrupt(".", "an operation is malformed");
  if (job.op == Op::kData || job.op == Op::kHole || job.op == Op::kCloseFile) {
    TRANSSHIP_TRY(read_piece(in, id, job, lane));
  } else if (job.op == Op::kDirectory) {
    if (!inventory_.is_directory(id))
      return corrupt(".", "metadata come for a directory that is not there");
    auto handle = open_to_change(id);
    if (!handle) return handle.error();
    TRANSSHIP_TRY(take_metadata(in, id));
    inventory_.at(id).set(Node::kStale | Node::kUnverified);
  } else {
    TRANSSHIP_TRY(read_node(in, id, job, lane));
  }
  if (in.failed()) return refuse(job.directory, job.name, "its operation is malformed");
  return job;
}

Status RoundReceiver::read_node(Decoder& in, NodeId id, WriteJob& job,
                                std::optional<size_t>& lane) {
  job.directory = in.node();
  job.name = in.name();
  if (in.failed()) return {};
  bool fresh = job.op == Op::kNewFile || job.op == Op::kNewNode;
  if (job.op == Op::kOpenFile) {
    job.opening = static_cast<Opening>(in.number(static_cast<uint64_t>(Opening::kEmptied)));
    fresh = job.opening == Opening::kNew;
    job.length = static_cast<int64_t>(in.number(INT64_MAX));
    if (job.length > std::min(options_.limits.bytes, kLargestFile))
      return refuse(job.directory, job.name, "it has more bytes than are allowed");
  } else if (!fresh && job.op != Op::kFileContent && job.op != Op::kMetadata) {
    return refuse(job.directory, job.name, "its operation is none that is known");
  }
  if (fresh) {
    job.name = inventory_.keep(job.name);
    TRANSSHIP_TRY(check_new(id, job.directory, job.name));
    add_name(job.directory, job.name, id);
    touch(job.directory);
    job.inherits = inherits(job.directory);
  } else {
    TRANSSHIP_TRY(check_place(id, job.directory, job.name));
    job.name = inventory_.find_child(job.directory, job.name)->name();  // outlives the frame
  }
  TRANSSHIP_TRY(check_once(id));
  Node& node = inventory_.at(id);
  job.node = &node;
  const bool is_file = job.op != Op::kMetadata && job.op != Op::kNewNode;
  if (!fresh && (node.is_directory() || (is_file && !node.is_regular())))
    return refuse(job.directory, job.name, "it is of another type");
  if (job.op == Op::kOpenFile) {
    if (fresh) node.mode = S_IFREG | 0600;
    job.file = std::make_shared<OpenFile>();
  } else {
    TRANSSHIP_TRY(take_metadata(in, id));
    if (is_file) {
      node.content = in.digest();
      job.content = in.text(kLargestFrame);
    }
    if (in.failed()) return {};
    if (fresh && (node.is_directory() || is_file != node.is_regular()))
      return refuse(job.directory, job.name, "it is of another type");
    if (is_file) {
      const auto size = static_cast<int64_t>(job.content.size());
      TRANSSHIP_TRY(count_bytes(id, size));
      if (options_.progress != nullptr) options_.progress->bytes += size;
    }
  }
  auto handle = fresh ? open_to_change(job.directory) : handles_.open(job.directory);
  if (!handle) return handle.error();
  job.handle = std::move(handle).value();
  if (!fresh) TRANSSHIP_TRY(unlock(id, job.handle, job.name));
  if (!lane) lane = lanes_.lane_for(job.directory);
  if (job.op == Op::kOpenFile) large_[id] = {*lane, job.file, job.directory, job.name};
  return {};
}

// Of a large file.
Status RoundReceiver::read_piece(Decoder& in, NodeId id, WriteJob& job,
                                 std::optional<size_t>& lane) {
  const auto found = large_.find(id);
  if (found == large_.end()) return corrupt(".", "a piece comes of a file that is not open");
  Large& large = found->second;
  Node& node = inventory_.at(id);
  job.directory = large.directory;
  job.name = large.name;
  job.node = &node;
  job.file = large.file;
  if (lane && *lane != large.lane) return corrupt(".", "pieces of two files are mixed");
  lane = large.lane;
  if (job.op == Op::kCloseFile) {
    TRANSSHIP_TRY(take_metadata(in, id));
    const auto size = static_cast<int64_t>(in.number(INT64_MAX));
    node.content = in.digest();
    if (in.failed()) return {};
    TRANSSHIP_TRY(count_bytes(id, size));
    large_.erase(found);
    return {};
  }
  job.offset = static_cast<int64_t>(in.number(INT64_MAX));
  if (job.op == Op::kData) {
    job.content = in.text(kLargestFrame);
    job.length = static_cast<int64_t>(job.content.size());
    if (options_.progress != nullptr) options_.progress->bytes += job.length;
  } else {
    job.length = static_cast<int64_t>(in.number(INT64_MAX));
  }
  const int64_t most = std::min(options_.limits.bytes, kLargestFile);
  if (job.length <= 0 || job.length > most || job.offset > most - job.length)
    return corrupt(".", "a piece of a file is empty, or beyond the bytes allowed");
  return {};
}

Status RoundReceiver::end_round() {
  lanes_.drain();
  TRANSSHIP_TRY(failure());
  if (!large_.empty()) return corrupt(".", "a file in pieces has no end");
  if (!detached_.empty()) return corrupt(".", "something was detached and has no place");
  sort_names();
  auto root = transit_ || lost_and_found_ ? open_to_change(kRootNode) : handles_.open(kRootNode);
  if (!root) return root.error();
  if (transit_) {
    if (::unlinkat((*root)->get(), std::string(inventory_.at(kTransitNode).extra->name).c_str(),
                   AT_REMOVEDIR) < 0)
      return errno_error("remove the directory for moves", errno);
    handles_.forget(kTransitNode);
    transit_ = false;
    touch(kRootNode);
  }
  if (lost_and_found_ &&
      ::unlinkat((*root)->get(), std::string(kLostAndFound).c_str(), AT_REMOVEDIR) < 0)
    return path_error("remove the empty directory", "./lost+found", errno);
  lost_and_found_ = false;
  for (NodeId id = 0; id < inventory_.size(); ++id) {
    Node& node = inventory_.at(id);
    if (!node.is_directory() || !node.has(Node::kStale)) continue;
    inventory_.sort_children(id);
    TRANSSHIP_TRY(settle(id));
    node.clear(Node::kStale);
    node.set(Node::kUnverified);
  }
  TRANSSHIP_TRY(set_flags());
  ++round_;
  return {};
}

}  // namespace transship::transfer
