#include "transfer/content_hasher.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "transfer/beneath.h"
#include "transfer/entry.h"

namespace transship::transfer {
namespace {

constexpr size_t kBuffer = 512 << 10;
constexpr BatchLimits kLimits{.items = 64, .bytes = 1 << 20, .queued = 4};  // of open files

}  // namespace

ContentHasher::ContentHasher(Options options)
    : options_(std::move(options)), workers_("verify", kLimits, [this] {
        return [this, buffer = std::make_shared<std::vector<std::byte>>(kBuffer)](
                   const std::vector<File>& batch) { return hash_all(batch, *buffer); };
      }) {}

Status ContentHasher::add(File file) {
  const auto bytes = static_cast<int64_t>(file.stat.stx_size);
  return workers_.add(std::move(file), bytes);
}

Status ContentHasher::finish(Manifest& manifest) {
  const Status hashed = workers_.finish();
  const MutexLock lock(mutex_);
  for (const Done& done : done_) manifest.set_content(done.index, done.digest);
  return hashed;
}

Status ContentHasher::hash_all(const std::vector<File>& batch, MutableBytes buffer) {
  std::vector<Done> done;
  done.reserve(batch.size());
  for (const File& file : batch) {
    auto digest = hash(file, buffer);
    if (!digest) return digest.error();
    done.push_back({file.index, *digest});
  }
  const MutexLock lock(mutex_);
  done_.insert(done_.end(), done.begin(), done.end());
  return {};
}

Result<Sha256::Digest> ContentHasher::hash(const File& file, MutableBytes buffer) const {
  if (options_.drop_cache) ::posix_fadvise(file.fd.get(), 0, 0, POSIX_FADV_DONTNEED);
  Sha256 sha;
  while (true) {
    TRANSSHIP_TRY(options_.until.check("read the volume back"));
    const ssize_t n = ::read(file.fd.get(), buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return path_error("read back", file.path, errno);
    if (n == 0) break;
    sha.update(Bytes(buffer).first(static_cast<size_t>(n)));
    if (options_.progress != nullptr) options_.progress->verified_bytes += n;
  }
  auto after = stat_beneath(file.fd.get(), "", file.path);
  if (!after) return after.error();
  if (!unchanged(file.stat, *after)) {
    return Error{ErrorCode::kConflict, quoted(file.path) + " changed while it was read back"};
  }
  return sha.finish();
}

}  // namespace transship::transfer
