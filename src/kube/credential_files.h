// Credentials from files that are rotated while the process runs, and from text beside them.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "base/result.h"
#include "kube/endpoint.h"

namespace transship::kube {

// One of the Credentials: the text, or, where `path` is not empty, what is in that file.
struct CredentialPart {
  std::string text;
  std::string path;
};

struct CredentialParts {
  CredentialPart ca;
  CredentialPart certificate;
  CredentialPart key;
  CredentialPart token;  // white space around it is dropped
};

// Files are read at the first get(), when older than `lifetime` and after rejected(). Where they
// cannot be read again, what they had before is still given, and logged.
std::shared_ptr<CredentialSource> credential_files(
    CredentialParts parts, std::chrono::milliseconds lifetime,
    std::function<std::chrono::steady_clock::time_point()> now);

// A file of at most 1 MiB. Errors name it: kNotFound and others by errno, kInvalid.
Result<std::string> read_text_file(const std::string& path);

}  // namespace transship::kube
