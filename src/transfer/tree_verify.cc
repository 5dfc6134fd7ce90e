#include <unistd.h>

#include <cerrno>

#include "transfer/beneath.h"
#include "transfer/content_hasher.h"
#include "transfer/entry_reader.h"
#include "transfer/tree.h"
#include "transfer/tree_walk.h"

namespace transship::transfer {
namespace {

// A tree as it is on disk.
class TreeReader {
 public:
  TreeReader(int root, bool projects, const ContentHasher::Options& options)
      : root_(root), projects_(projects), options_(options), hasher_(options) {}

  Status run() {
    TreeWalk walk(root_, {/*strict=*/true, options_.until});
    TRANSSHIP_TRY(walk.run([this](const WalkedEntry& walked) { return read(walked); }));
    TRANSSHIP_TRY(hasher_.finish(manifest_));
    manifest_.sort();
    return {};
  }

  [[nodiscard]] const Manifest& manifest() const { return manifest_; }
  [[nodiscard]] Summary summary() const { return {totals_, manifest_.digest()}; }

 private:
  Status read(const WalkedEntry& walked) {
    const bool regular = S_ISREG(walked.stat.stx_mode);
    const bool linked = walked.directory < 0 && walked.stat.stx_nlink > 1;
    UniqueFd file;
    if (regular) {
      auto opened = open_walked_file(walked);
      if (!opened) return opened.error();
      file = std::move(opened).value();
    }
    auto entry = read_entry(walked, file.get(), projects_);
    if (!entry) return entry.error();
    const size_t index = manifest_.add(*entry, linked ? walked.stat.stx_ino + 1 : 0);
    TRANSSHIP_TRY(Spill::of_process().check());
    ++totals_.entries;
    if (!linked || linked_.insert(walked.stat.stx_ino).second) totals_.bytes += entry->size;
    if (options_.progress != nullptr) ++options_.progress->verified_entries;
    if (!regular) return {};
    return hasher_.add({std::move(file), walked.path, walked.stat, index});
  }

  int root_;
  bool projects_;
  ContentHasher::Options options_;
  ContentHasher hasher_;
  Manifest manifest_;
  TreeTotals totals_;
  SpillSet<uint64_t> linked_;  // inodes with several names, counted once
};

}  // namespace

Result<Summary> digest_tree(int directory, const Until& until, Progress* progress) {
  TreeReader reader(directory, /*projects=*/false, {/*drop_cache=*/false, until, progress});
  TRANSSHIP_TRY(reader.run());
  return reader.summary();
}

Result<Summary> verify_tree(int directory, const Manifest& manifest, const Until& until,
                            Progress* progress) {
  auto root = open_beneath(directory, ".", O_RDONLY | O_DIRECTORY, ".");
  if (!root) return root.error();
  if (::syncfs(root->get()) < 0) return errno_error("sync the volume's file system", errno);
  TreeReader reader(root->get(), manifest.projects, {/*drop_cache=*/true, until, progress});
  TRANSSHIP_TRY(reader.run());
  TRANSSHIP_TRY(manifest.compare(reader.manifest()));
  return reader.summary();
}

}  // namespace transship::transfer
