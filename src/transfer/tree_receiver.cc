#include "transfer/tree_receiver.h"

#include <dirent.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <memory>

#include "transfer/beneath.h"
#include "transfer/entry_writer.h"

namespace transship::transfer {
namespace {

constexpr size_t kHeldDirectories = 64;
constexpr const char* kLostAndFound = "lost+found";

Result<std::vector<std::string>> names_in(int directory, const std::string& path) {
  const int own = ::openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  DIR* raw = own < 0 ? nullptr : ::fdopendir(own);
  if (raw == nullptr) {
    const int error = errno;
    if (own >= 0) ::close(own);
    return path_error("read directory", path, error);
  }
  const std::unique_ptr<DIR, int (*)(DIR*)> stream(raw, ::closedir);
  std::vector<std::string> names;
  errno = 0;
  while (const dirent* found = ::readdir(stream.get())) {
    const std::string name(found->d_name);
    if (name != "." && name != "..") names.push_back(name);
  }
  if (errno != 0) return path_error("read directory", path, errno);
  return names;
}

Status write_all(int file, Bytes data, int64_t position, const std::string& path) {
  while (!data.empty()) {
    const ssize_t n = ::pwrite(file, data.data(), data.size(), position);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return path_error("write", path, errno);
    data = data.subspan(static_cast<size_t>(n));
    position += n;
  }
  return {};
}

// EEXIST is no fault of the disk: nothing was there, so the stream has the name twice.
Error not_made(const std::string& path, int error) {
  if (error == EEXIST) return corrupt(path, "the name came before");
  return path_error("create", path, error);
}

bool is_name(std::string_view name) {
  return !name.empty() && name.size() <= NAME_MAX && name != "." && name != ".." && name.find('\0') == std::string_view::npos;
}

}  // namespace

Status TreeReceiver::open_root() {
  auto fd = open_beneath(root_, ".", O_RDONLY | O_DIRECTORY, ".");
  if (!fd.ok()) return fd.error();
  auto stat = stat_beneath(fd->get(), "", ".");
  if (!stat.ok()) return stat.error();
  Directory root;
  root.fd = std::move(fd).value();
  root.entry.path = ".";
  root.inode = stat->stx_ino;
  open_.push_back(std::move(root));
  return take_over_lost_and_found();
}

Status TreeReceiver::take_over_lost_and_found() {
  auto names = names_in(top(), ".");
  if (!names.ok()) return names.error();
  if (names->empty()) return {};
  const Error full{ErrorCode::kPreconditionFailed, "the destination is not empty: it holds " + quoted(names->front())};
  if (names->size() > 1 || names->front() != kLostAndFound) return full;
  auto inside = open_beneath(top(), kLostAndFound, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, kLostAndFound);
  if (!inside.ok()) return full;
  auto lost = names_in(inside->get(), kLostAndFound);
  if (!lost.ok()) return lost.error();
  if (!lost->empty()) return full;
  lost_and_found_ = true;
  return {};
}

Result<Received> TreeReceiver::run() {
  TRANSSHIP_TRY(open_root());
  for (;;) {
    auto header = in_.read_header();
    if (!header.ok()) return header.error();
    TRANSSHIP_TRY(check_previous(*header));
    TRANSSHIP_TRY(check_bounds(*header));
    if (header->end) {
      TRANSSHIP_TRY(finish(*header));
      return Received{summary_, std::move(manifest_)};
    }
    TRANSSHIP_TRY(receive(*header));
  }
}

// Each header confirms the file before it.
Status TreeReceiver::check_previous(const EntryHeader& header) {
  if (header.previous.has_value() != content_.has_value()) return corrupt(header.entry.path, "a digest is missing or too many");
  if (content_ && *header.previous != *content_) {
    return corrupt(header.entry.path, "the file before it was changed on the way: its SHA-256 differs");
  }
  content_.reset();
  return {};
}

Status TreeReceiver::check_bounds(const EntryHeader& header) {
  const ReceiveLimits& limits = options_.limits;
  if (header.entry.path.size() > limits.path_bytes) return corrupt(header.entry.path, "the path is too long");
  if (totals_.entries >= limits.entries) return corrupt(header.entry.path, "more entries than are taken");
  if (header.entry.size < 0 || header.entry.size > limits.bytes - totals_.bytes) {
    return corrupt(header.entry.path, "more bytes than are taken");
  }
  return {};
}

void TreeReceiver::count(int64_t bytes) {
  ++totals_.entries;
  totals_.bytes += bytes;
  if (options_.progress != nullptr) ++options_.progress->entries;
}

Status TreeReceiver::receive(EntryHeader& header) {
  std::string name;
  TRANSSHIP_TRY(go_to_parent(header.entry.path, name));
  if (header.hard_link) return make_link(header, name);
  switch (header.entry.kind) {
    case EntryKind::kDirectory: TRANSSHIP_TRY(make_directory(header, name)); break;
    case EntryKind::kRegular: TRANSSHIP_TRY(make_file(header, name)); break;
    default: TRANSSHIP_TRY(make_other(header, name)); break;
  }
  const size_t index = manifest_.add(header.entry, header.linkable ? ++groups_ : 0);
  if (content_) manifest_.set_content(index, *content_);
  if (header.linkable) linkable_[header.entry.path] = index;
  count(header.entry.kind == EntryKind::kRegular ? header.entry.size : 0);
  return {};
}

// Entries come depth first, so the parent is the directory on top or one above it.
Status TreeReceiver::go_to_parent(const std::string& path, std::string& name) {
  const size_t slash = path.rfind('/');
  if (slash == std::string::npos || path[0] != '.') return corrupt(path, "the path is not one of a volume");
  name = path.substr(slash + 1);
  if (!is_name(name)) return corrupt(path, "the name is not one a file can have");
  const std::string_view parent = std::string_view(path).substr(0, slash);
  while (open_.back().entry.path != parent) {
    if (open_.size() == 1) return corrupt(path, "its directory is not the one before it");
    TRANSSHIP_TRY(leave_directory());
  }
  return {};
}

Status TreeReceiver::leave_directory() {
  const Directory left = std::move(open_.back());
  open_.pop_back();
  Directory& above = open_.back();
  if (!above.fd.valid()) {
    UniqueFd fd(::openat(left.fd.get(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd.valid()) return path_error("open", above.entry.path, errno);
    auto stat = stat_beneath(fd.get(), "", above.entry.path);
    if (!stat.ok()) return stat.error();
    if (stat->stx_ino != above.inode) {
      return Error{ErrorCode::kConflict, quoted(left.entry.path) + " was moved while it was written"};
    }
    above.fd = std::move(fd);
  }
  return write_metadata(left.fd.get(), left.entry, /*replace=*/false);
}

Status TreeReceiver::make_directory(const EntryHeader& header, const std::string& name) {
  const bool there = lost_and_found_ && open_.size() == 1 && name == kLostAndFound;
  if (there) {
    lost_and_found_ = false;
  } else if (::mkdirat(top(), name.c_str(), 0700) != 0) {
    return not_made(header.entry.path, errno);
  }
  auto fd = open_beneath(top(), name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW, header.entry.path);
  if (!fd.ok()) return fd.error();
  auto stat = stat_beneath(fd->get(), "", header.entry.path);
  if (!stat.ok()) return stat.error();
  open_.push_back({std::move(fd).value(), header.entry, stat->stx_ino});
  // The root's is kept: finishing needs it.
  if (open_.size() > kHeldDirectories + 1) open_[open_.size() - kHeldDirectories].fd.reset();
  return {};
}

Status TreeReceiver::make_file(const EntryHeader& header, const std::string& name) {
  auto file = open_beneath(top(), name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, header.entry.path, 0600);
  if (!file.ok()) {
    return file.error().code == ErrorCode::kAlreadyExists ? not_made(header.entry.path, EEXIST) : file.error();
  }
  TRANSSHIP_TRY(receive_data(header, file->get()));
  return write_metadata(file->get(), header.entry, /*replace=*/false);
}

Status TreeReceiver::receive_data(const EntryHeader& header, int file) {
  const int64_t size = header.entry.size;
  std::vector<Extent> extents;
  if (header.sparse) {
    auto map = in_.read_sparse_map(header);
    if (!map.ok()) return map.error();
    extents = std::move(map).value();
    if (::ftruncate(file, size) != 0) return path_error("set the size of", header.entry.path, errno);
  } else if (size > 0) {
    extents.push_back({0, size});
  }
  Sha256 content;
  int64_t position = 0;
  const auto progress = [&](int64_t bytes) {
    if (options_.progress != nullptr) options_.progress->bytes += bytes;
  };
  for (const Extent& extent : extents) {
    content.update_zeros(extent.offset - position);
    progress(extent.offset - position);
    for (position = extent.offset; position < extent.end();) {
      auto data = in_.read_data(extent.end() - position);
      if (!data.ok()) return data.error();
      TRANSSHIP_TRY(write_all(file, *data, position, header.entry.path));
      content.update(*data);
      position += std::ssize(*data);
      progress(std::ssize(*data));
    }
  }
  content.update_zeros(size - position);
  progress(size - position);
  content_ = content.finish();
  return in_.read_padding(header.stored_bytes);
}

// The directory that `path` is in, one name after the other from the root: paths may be longer than
// the kernel takes at once.
Result<UniqueFd> TreeReceiver::open_parent_of(const std::string& path, std::string& name) {
  auto directory = open_beneath(open_.front().fd.get(), ".", O_RDONLY | O_DIRECTORY, path);
  size_t from = 2;  // after "./"
  for (size_t slash = 0; directory.ok() && (slash = path.find('/', from)) != std::string::npos; from = slash + 1) {
    directory = open_beneath(directory->get(), path.substr(from, slash - from), O_RDONLY | O_DIRECTORY | O_NOFOLLOW, path);
  }
  name = path.substr(from);
  return directory;
}

Status TreeReceiver::make_link(const EntryHeader& header, const std::string& name) {
  const auto first = linkable_.find(*header.hard_link);
  if (first == linkable_.end()) return corrupt(header.entry.path, "it links to what did not come before as linkable");
  std::string target;
  auto directory = open_parent_of(*header.hard_link, target);
  if (!directory.ok()) return directory.error();
  if (::linkat(directory->get(), target.c_str(), top(), name.c_str(), 0) != 0) return not_made(header.entry.path, errno);
  manifest_.add_link(first->second, header.entry.path);
  count(0);
  return {};
}

Status TreeReceiver::make_other(const EntryHeader& header, const std::string& name) {
  const Entry& entry = header.entry;
  const int failed = entry.kind == EntryKind::kSymlink
                         ? ::symlinkat(entry.link_target.c_str(), top(), name.c_str())
                         : ::mknodat(top(), name.c_str(), type_bits(entry.kind) | 0600U,
                                     makedev(entry.device_major, entry.device_minor));
  if (failed != 0) return not_made(entry.path, errno);
  return write_metadata_at(top(), name, entry);
}

Status TreeReceiver::finish(const EntryHeader& header) {
  TRANSSHIP_TRY(in_.read_end());
  while (open_.size() > 1) TRANSSHIP_TRY(leave_directory());
  if (lost_and_found_ && ::unlinkat(top(), kLostAndFound, AT_REMOVEDIR) != 0) {
    return path_error("remove", kLostAndFound, errno);
  }
  manifest_.add(header.entry, 0);
  count(0);
  TRANSSHIP_TRY(write_metadata(top(), header.entry, /*replace=*/true));
  manifest_.sort();
  summary_ = {totals_, manifest_.digest()};
  const EndRecord& end = *header.end;
  if (end.entries != totals_.entries || end.bytes != totals_.bytes || end.digest != summary_.digest) {
    return Error{ErrorCode::kCorrupt, "the stream's end record says other totals than came"};
  }
  return {};
}

Result<Received> receive_tree(int directory, Source& source, const ReceiveOptions& options) {
  return TreeReceiver(directory, source, options).run();
}

}  // namespace transship::transfer
