#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <thread>

#include "base/unique_fd.h"
#include "transfer/tree.h"

namespace transship::transfer {

Result<Summary> copy_tree(int from, int to, const Until& until, Progress* progress, bool projects) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return errno_error("make a pipe", errno);
  UniqueFd reading(ends[0]);
  UniqueFd writing(ends[1]);
  ::fcntl(writing.get(), F_SETPIPE_SZ, 1 << 20);  // as much as the system allows is fine, too
  Result<Summary> sent = Error{};
  std::jthread sender([&] {
    ::pthread_setname_np(::pthread_self(), "copy");
    FdSink sink(writing.get(), "the pipe");
    SendOptions options;
    options.until = until;
    options.projects = projects;
    sent = send_tree(from, sink, options);
    writing.reset();
  });
  FdSource source(reading.get(), "the pipe");
  ReceiveOptions options;
  options.until = until;
  options.progress = progress;
  options.projects = projects;
  auto received = receive_tree(to, source, options);
  reading.reset();
  sender.join();
  // The end that failed first has the reason; the other one only saw the pipe break.
  const bool broken_pipe = !sent && sent.error().code == ErrorCode::kUnavailable;
  if (!sent && !(broken_pipe && !received)) return sent.error();
  if (!received) return received.error();
  return verify_tree(to, received->manifest, until, progress);
}

}  // namespace transship::transfer
