// Listing a held directory without disturbing whoever else reads its descriptor.
#pragma once

#include <dirent.h>

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace transship {

class DirectoryStream {
 public:
  // `directory` is any descriptor of it, O_PATH too; it may be closed afterwards. One that was
  // removed meanwhile is empty. The access time stays as it is, where that is allowed.
  static Result<DirectoryStream> open(int directory);

  // The next entry, "." and ".." left out; null at the end or on an error, which `errno` tells (0
  // at the end). Valid until the next call.
  const dirent* next();

 private:
  struct Close {
    void operator()(DIR* stream) const { ::closedir(stream); }
  };
  explicit DirectoryStream(DIR* stream) : stream_(stream) {}
  std::unique_ptr<DIR, Close> stream_;
};

// All names in it, unordered.
Result<std::vector<std::string>> list_directory(int directory);

}  // namespace transship
