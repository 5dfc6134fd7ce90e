#include "transfer/sha256_aside.h"

#include <pthread.h>

namespace transship::transfer {

Sha256Aside::~Sha256Aside() {
  {
    const MutexLock lock(mutex_);
    closed_ = true;
    changed_.notify_all();
  }
}

void Sha256Aside::update(std::string_view content, bool aside) {
  MutexLock lock(mutex_);
  while (busy_) changed_.wait(lock);
  if (!aside) {
    sha_.update(content);
    return;
  }
  content_ = content;
  busy_ = true;
  changed_.notify_all();
  if (thread_.joinable()) return;
  thread_ = std::jthread([this] {
    ::pthread_setname_np(::pthread_self(), "hash");
    work();
  });
}

Sha256::Digest Sha256Aside::finish() {
  MutexLock lock(mutex_);
  while (busy_) changed_.wait(lock);
  return sha_.finish();
}

void Sha256Aside::work() {
  MutexLock lock(mutex_);
  while (true) {
    while (!busy_ && !closed_) changed_.wait(lock);
    if (closed_) return;
    const std::string_view content = content_;
    lock.unlock();
    sha_.update(content);
    lock.lock();
    busy_ = false;
    changed_.notify_all();
  }
}

}  // namespace transship::transfer
