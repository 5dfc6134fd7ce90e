#include "transfer/content_batch.h"

#include <unistd.h>

#include <cerrno>

#include "transfer/sha256_batch.h"

namespace transship::transfer {

bool ContentBatch::read(int file, size_t wanted) {
  if (bytes_.size() < used_ + wanted) bytes_.resize(used_ + wanted);
  size_t have = 0;
  while (have < wanted) {
    const ssize_t n =
        ::pread(file, bytes_.data() + used_ + have, wanted - have, static_cast<off_t>(have));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    if (n == 0) break;
    have += static_cast<size_t>(n);
  }
  parts_.push_back({used_, have});
  used_ += have;
  return true;
}

void ContentBatch::hash() {
  contents_.clear();
  for (const Part& part : parts_)
    contents_.push_back(std::string_view(bytes_).substr(part.offset, part.length));
  digests_.resize(contents_.size());
  sha256_each(contents_, digests_);
}

void ContentBatch::clear() {
  parts_.clear();
  used_ = 0;
}

}  // namespace transship::transfer
