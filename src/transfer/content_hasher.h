// ContentHasher: SHA-256 of many files' contents by two threads, while the caller goes on finding
// files.
#pragma once

#include <sys/stat.h>

#include <string>
#include <vector>

#include "base/mutex.h"
#include "base/unique_fd.h"
#include "transfer/batch_workers.h"
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

  // By one thread. Waits while too many files are queued. Fails when a file before has failed.
  Status add(File file);

  // Waits for all and puts their digests into the manifest.
  Status finish(Manifest& manifest) EXCLUDES(mutex_);

 private:
  struct Done {
    size_t index = 0;
    Sha256::Digest digest{};
  };

  [[nodiscard]] Status hash_all(const std::vector<File>& batch, MutableBytes buffer)
      EXCLUDES(mutex_);
  [[nodiscard]] Result<Sha256::Digest> hash(const File& file, MutableBytes buffer) const;

  const Options options_;
  Mutex mutex_;
  std::vector<Done> done_ GUARDED_BY(mutex_);
  BatchWorkers<File> workers_;
};

}  // namespace transship::transfer
