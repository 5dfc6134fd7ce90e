// What the sanitizers see of the HTTP library and is none of ours. It is not built with them.

extern "C" {

// The library's threads end after OpenSSL has cleaned up: what OpenSSL keeps for each of them
// stays.
const char* __lsan_default_suppressions();
const char* __lsan_default_suppressions() { return "leak:boost::asio::ssl::detail::engine\n"; }

// Reference counts that the library decrements are atomic, which ThreadSanitizer cannot see there:
// the last release looks like a race with the one before.
const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() {
  return "race:pplx::details::_CancellationToken\n"
         "race:web::http::client::details::asio_context\n";
}

}  // extern "C"
