#include "transfer/content_hasher.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "transfer/beneath.h"
#include "transfer/entry.h"

namespace transship::transfer {
namespace {

constexpr int kThreads = 2;
constexpr size_t kBatchFiles = 64;
constexpr int64_t kBatchBytes = 1 << 20;
constexpr size_t kQueued = 4;  // batches, of open files
constexpr size_t kBuffer = 512 << 10;

}  // namespace

ContentHasher::ContentHasher(Options options) : options_(std::move(options)) {
  for (int i = 0; i < kThreads; ++i) {
    threads_.emplace_back([this] {
      ::pthread_setname_np(::pthread_self(), "verify");
      work();
    });
  }
}

ContentHasher::~ContentHasher() { stop(/*abandon=*/true); }

Status ContentHasher::add(File file) {
  gathered_bytes_ += static_cast<int64_t>(file.stat.stx_size);
  gathered_.push_back(std::move(file));
  if (gathered_.size() < kBatchFiles && gathered_bytes_ < kBatchBytes) return {};
  return hand_over();
}

Status ContentHasher::hand_over() {
  gathered_bytes_ = 0;
  MutexLock lock(mutex_);
  while (queue_.size() >= kQueued && failed_) changed_.wait(lock);
  if (!failed_) return failed_;
  queue_.push_back(std::exchange(gathered_, {}));
  changed_.notify_all();
  return {};
}

Status ContentHasher::finish(Manifest& manifest) {
  const Status handed_over = hand_over();
  stop(/*abandon=*/!handed_over.ok());
  MutexLock lock(mutex_);
  for (const Done& done : done_) manifest.set_content(done.index, done.digest);
  return failed_;
}

void ContentHasher::stop(bool abandon) {
  {
    MutexLock lock(mutex_);
    closed_ = true;
    if (abandon) queue_.clear();
    changed_.notify_all();
  }
  for (std::jthread& thread : threads_) {
    if (thread.joinable()) thread.join();
  }
}

void ContentHasher::work() {
  std::vector<std::byte> buffer(kBuffer);
  MutexLock lock(mutex_);
  while (true) {
    while (queue_.empty() && !closed_) changed_.wait(lock);
    if (queue_.empty() || !failed_) return;
    const Batch batch = std::move(queue_.front());
    queue_.pop_front();
    changed_.notify_all();
    lock.unlock();
    std::vector<Done> done;
    const Status hashed = hash_all(batch, buffer, done);
    lock.lock();
    done_.insert(done_.end(), done.begin(), done.end());
    if (!hashed && failed_) {
      failed_ = hashed;
      changed_.notify_all();
    }
  }
}

Status ContentHasher::hash_all(const Batch& batch, MutableBytes buffer,
                               std::vector<Done>& done) const {
  done.reserve(batch.size());
  for (const File& file : batch) {
    auto digest = hash(file, buffer);
    if (!digest) return digest.error();
    done.push_back({file.index, *digest});
  }
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
