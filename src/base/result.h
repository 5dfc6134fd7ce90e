// Result<T>: what a function returns that can fail for a reason outside the program.
//
// The convention, kept everywhere: no exception crosses a file boundary; a library's exceptions end
// in the file that wraps it. An Error says what was tried, on what, why it failed, and, where there
// is something the user can do, what to do. A caller that adds context uses `Error::during`. Broken
// invariants (bugs) are asserts, not errors.
#pragma once

#include <cassert>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace transship {

enum class ErrorCode {
  kInternal,            // unexpected; a bug or a broken environment
  kInvalid,             // the input is wrong; trying again without a change is useless
  kNotFound,            // HTTP 404, ENOENT
  kAlreadyExists,       // HTTP 409 reason AlreadyExists, EEXIST
  kConflict,            // HTTP 409 otherwise: the object changed; read it again and decide anew
  kForbidden,           // HTTP 401 and 403, EACCES, EPERM
  kGone,                // HTTP 410: the resource version is too old, list again
  kPreconditionFailed,  // a check of ours that guards a write does not hold
  kUnavailable,         // network, HTTP 429 and 5xx: trying again later may help
  kTimeout,             // a deadline passed; it is unknown whether the call took effect
  kCancelled,           // the caller asked to stop
  kNoSpace,             // ENOSPC, EDQUOT, inodes
  kCorrupt,             // digests, lengths or formats do not agree
};

// The code's name as logs show it, e.g. "NotFound".
std::string_view to_string(ErrorCode code);

struct Error {
  ErrorCode code = ErrorCode::kInternal;
  std::string message;          // what was tried, on what, why it failed
  int retry_after_seconds = 0;  // the server's Retry-After; 0 where it said nothing

  // The same error with "context: " before its message.
  [[nodiscard]] Error during(std::string_view context) const;
};

// An Error from errno: "open /a/b: No such file or directory", with the code that fits.
Error errno_error(std::string_view tried, int errno_value);

template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value)
      : state_(std::in_place_index<0>, std::move(value)) {}  // NOLINT: implicit by design
  Result(Error error)
      : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }

  T& value() & { return assert(ok()), std::get<0>(state_); }
  const T& value() const& { return assert(ok()), std::get<0>(state_); }
  T&& value() && { return assert(ok()), std::get<0>(std::move(state_)); }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }

  [[nodiscard]] const Error& error() const { return assert(!ok()), std::get<1>(state_); }

 private:
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Error error) : error_(std::move(error)), ok_(false) {}  // NOLINT: implicit by design

  [[nodiscard]] bool ok() const { return ok_; }
  explicit operator bool() const { return ok_; }
  [[nodiscard]] const Error& error() const { return assert(!ok_), error_; }

 private:
  Error error_;
  bool ok_ = true;
};

using Status = Result<void>;

}  // namespace transship

// Returns the error of a Result-valued expression from the current function, if it has one.
#define TRANSSHIP_TRY(expression)                             \
  do {                                                        \
    if (auto try_result_ = (expression); !try_result_.ok()) { \
      return try_result_.error();                             \
    }                                                         \
  } while (false)
