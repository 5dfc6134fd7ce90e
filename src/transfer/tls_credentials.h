// What an end of a connection shows, and whose word it takes for the other: PEM text. The key is a
// secret: it is in memory, and never on a command line or in a message.
#pragma once

#include <string>

#include "base/result.h"

namespace transship::transfer {

struct TlsCredentials {
  std::string ca;
  std::string certificate;  // its chain may follow
  std::string key;
  std::string from;  // the directory they are from, for messages
};

// Those in the directory's ca.crt, tls.crt and tls.key, at most 64 KiB each. What is in them shows
// when a connection is made.
Result<TlsCredentials> read_tls_credentials(const std::string& directory);

}  // namespace transship::transfer
