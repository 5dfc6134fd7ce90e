// What the sanitizers see of the HTTP library and is none of ours. It is not built with them.
#include <openssl/crypto.h>

namespace {

// As initialize_http() does, but before any test uses OpenSSL.
[[maybe_unused]] const int kNoCleanUp = OPENSSL_init_crypto(OPENSSL_INIT_NO_ATEXIT, nullptr);

}  // namespace

extern "C" {

// Reference counts that the library decrements are atomic, which ThreadSanitizer cannot see there:
// the last release looks like a race with the one before.
// NOLINTBEGIN(bugprone-reserved-identifier): the name is ThreadSanitizer's.
const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() {
  return "race:pplx::details::_CancellationToken\n"
         "race:web::http::client::details::asio_context\n";
}
// NOLINTEND(bugprone-reserved-identifier)

}  // extern "C"
