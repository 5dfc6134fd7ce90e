// Sink and Source: the two ends of a byte stream, over a descriptor or memory here and over TLS in
// tls.h. Each is used by one thread at a time.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace transship::transfer {

using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline Bytes as_bytes(std::string_view text) { return std::as_bytes(std::span(text)); }

// Writes all of it into the file at the offset. False: errno says why not.
bool write_at(int file, Bytes data, int64_t offset);

class Sink {
 public:
  virtual ~Sink() = default;
  // Takes all of `data` or fails; after a failure nothing more may be written.
  virtual Status write(Bytes data) = 0;
};

class Source {
 public:
  virtual ~Source() = default;
  // Up to `buffer.size()` bytes, at least one; 0 only at the end of the stream.
  virtual Result<size_t> read(MutableBytes buffer) = 0;
};

// Over a blocking descriptor (file, pipe, socket), which must outlive it. A pipe without a reader
// is an error (EPIPE), not a signal.
class FdSink final : public Sink {
 public:
  // `name` is for messages.
  FdSink(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  Status write(Bytes data) override;

 private:
  int fd_;
  std::string name_;
};

class FdSource final : public Source {
 public:
  FdSource(int fd, std::string name) : fd_(fd), name_(std::move(name)) {}
  Result<size_t> read(MutableBytes buffer) override;

 private:
  int fd_;
  std::string name_;
};

class MemorySink final : public Sink {
 public:
  Status write(Bytes data) override;
  [[nodiscard]] const std::vector<std::byte>& data() const { return data_; }

 private:
  std::vector<std::byte> data_;
};

class MemorySource final : public Source {
 public:
  explicit MemorySource(Bytes data) : rest_(data) {}
  Result<size_t> read(MutableBytes buffer) override;

 private:
  Bytes rest_;
};

}  // namespace transship::transfer
