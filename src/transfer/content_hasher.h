// ContentHasher: SHA-256 of many files' contents by two threads, while the caller goes on finding
// files.
#pragma once

#include <sys/stat.h>

#include <condition_variable>
#include <deque>
#include <string>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "transfer/manifest.h"
#include "transfer/tree.h"

namespace transship::transfer {

class ContentHasher {
 public:
  struct File {
    UniqueFd fd;
    std::string path;      // for messages
    struct statx stat {};  // as it was found; kConflict where it is another afterwards
    size_t index = 0;      // in the manifest
  };
  struct Options {
    bool drop_cache = false;  // read from the disk where the file system can
    Until until;
    Progress* progress = nullptr;  // may be null: verified_bytes
  };

  explicit ContentHasher(Options options);
  ~ContentHasher();  // abandons what is left

  // By one thread. Waits while too many files are queued. Fails when a file before has failed.
  Status add(File file) EXCLUDES(mutex_);

  // Waits for all and puts their digests into the manifest.
  Status finish(Manifest& manifest) EXCLUDES(mutex_);

 private:
  struct Done {
    size_t index = 0;
    Sha256::Digest digest{};
  };
  // Handed over together, since a lock and a wake-up cost as much as a small file's content.
  using Batch = std::vector<File>;

  Status hand_over() EXCLUDES(mutex_);
  void work() EXCLUDES(mutex_);
  [[nodiscard]] Status hash_all(const Batch& batch, MutableBytes buffer,
                                std::vector<Done>& done) const;
  [[nodiscard]] Result<Sha256::Digest> hash(const File& file, MutableBytes buffer) const;
  void stop(bool abandon) EXCLUDES(mutex_);

  const Options options_;
  Batch gathered_;  // the caller's alone
  int64_t gathered_bytes_ = 0;
  Mutex mutex_;
  std::condition_variable_any changed_;
  std::deque<Batch> queue_ GUARDED_BY(mutex_);
  std::vector<Done> done_ GUARDED_BY(mutex_);
  bool closed_ GUARDED_BY(mutex_) = false;  // no more are added
  Status failed_ GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_;
};

}  // namespace transship::transfer
