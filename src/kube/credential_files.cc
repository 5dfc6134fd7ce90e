#include "kube/credential_files.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "base/log.h"
#include "base/mutex.h"
#include "base/unique_fd.h"

namespace transship::kube {
namespace {

constexpr std::size_t kMaxFileBytes = std::size_t{1} << 20U;

std::string trimmed(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  const std::size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

Result<std::string> read_part(const CredentialPart& part) {
  if (part.path.empty()) return part.text;
  return read_text_file(part.path);
}

Result<Credentials> read_parts(const CredentialParts& parts) {
  Credentials credentials;
  const std::pair<const CredentialPart*, std::string*> all[] = {
      {&parts.ca, &credentials.ca},
      {&parts.certificate, &credentials.certificate},
      {&parts.key, &credentials.key},
      {&parts.token, &credentials.token}};
  for (const auto& [part, to] : all) {
    auto text = read_part(*part);
    if (!text) return text.error();
    *to = std::move(*text);
  }
  credentials.token = trimmed(credentials.token);
  if (credentials.token.empty() && !parts.token.path.empty()) {
    return Error{ErrorCode::kInvalid, parts.token.path + ": the token file is empty"};
  }
  return credentials;
}

class CredentialFiles : public CredentialSource {
 public:
  CredentialFiles(CredentialParts parts, std::chrono::milliseconds lifetime,
                  std::function<std::chrono::steady_clock::time_point()> now)
      : parts_(std::move(parts)), lifetime_(lifetime), now_(std::move(now)) {}

  Result<Credentials> get() override EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    const auto now = now_();
    if (read_ && !rejected_ && now - read_at_ < lifetime_) return *read_;
    auto fresh = read_parts(parts_);
    if (!fresh) {
      if (!read_) return fresh.error();
      log::warning("credentials cannot be read again", {{"error", fresh.error().message}});
      return *read_;
    }
    rejected_ = false;
    read_at_ = now;
    read_ = std::move(*fresh);
    return *read_;
  }

  void rejected() override EXCLUDES(mutex_) {
    const MutexLock lock(mutex_);
    rejected_ = true;
  }

 private:
  const CredentialParts parts_;
  const std::chrono::milliseconds lifetime_;
  const std::function<std::chrono::steady_clock::time_point()> now_;
  Mutex mutex_;
  std::optional<Credentials> read_ GUARDED_BY(mutex_);
  std::chrono::steady_clock::time_point read_at_ GUARDED_BY(mutex_);
  bool rejected_ GUARDED_BY(mutex_) = false;
};

}  // namespace

std::shared_ptr<CredentialSource> credential_files(
    CredentialParts parts, std::chrono::milliseconds lifetime,
    std::function<std::chrono::steady_clock::time_point()> now) {
  return std::make_shared<CredentialFiles>(std::move(parts), lifetime, std::move(now));
}

Result<std::string> read_text_file(const std::string& path) {
  const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  if (!file.valid()) return errno_error("read " + path, errno);
  std::string text;
  char buffer[8192];
  for (;;) {
    const ssize_t count = ::read(file.get(), buffer, sizeof buffer);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return errno_error("read " + path, errno);
    if (count == 0) return text;
    text.append(buffer, static_cast<std::size_t>(count));
    if (text.size() > kMaxFileBytes) {
      return Error{ErrorCode::kInvalid, "read " + path + ": larger than 1 MiB"};
    }
  }
}

}  // namespace transship::kube
