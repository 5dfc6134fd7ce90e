#include "transfer/socket_bio.h"

#include <sys/socket.h>

#include <cerrno>
#include <vector>

namespace transship::transfer {
namespace {

// What is written is gathered: a record of TLS has 16 KiB, and a system call each would cost more
// than encrypting it.
struct Connected {
  int socket = -1;
  std::vector<char> held;
  size_t sent = 0;  // of it
};
constexpr size_t kHeld = size_t{256} << 10U;

Connected& connected(BIO* bio) { return *static_cast<Connected*>(BIO_get_data(bio)); }
int socket_of(BIO* bio) { return connected(bio).socket; }

bool try_again(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

// Whether nothing is held any more; if not, it failed or is to be tried again (the BIO's flags).
bool send_held(BIO* bio) {
  Connected& to = connected(bio);
  while (to.sent < to.held.size()) {
    const ssize_t n =
        ::send(to.socket, to.held.data() + to.sent, to.held.size() - to.sent, MSG_NOSIGNAL);
    if (n < 0 && try_again(errno)) BIO_set_retry_write(bio);
    if (n < 0) return false;
    to.sent += static_cast<size_t>(n);
  }
  to.held.clear();
  to.sent = 0;
  return true;
}

int write_socket(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  Connected& to = connected(bio);
  if (to.held.size() + static_cast<size_t>(size) > kHeld && !send_held(bio)) return -1;
  if (to.held.capacity() < kHeld) to.held.reserve(kHeld);
  to.held.insert(to.held.end(), data, data + size);
  return size;
}

int read_socket(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::recv(socket_of(bio), data, static_cast<size_t>(size), 0);
  if (n < 0 && try_again(errno)) BIO_set_retry_read(bio);
  if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(n);
}

int forget_socket(BIO* bio) {
  delete static_cast<Connected*>(BIO_get_data(bio));
  BIO_set_data(bio, nullptr);
  return 1;
}

long control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  if (command != BIO_CTRL_FLUSH) return 0;
  BIO_clear_retry_flags(bio);
  return send_held(bio) ? 1 : -1;
}

// Lives as long as the process: connections may, too.
const BIO_METHOD* socket_method() {
  static const BIO_METHOD* const kMethod = [] {
    BIO_METHOD* method =
        BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "socket without signals");
    if (method != nullptr) {
      BIO_meth_set_write(method, write_socket);
      BIO_meth_set_read(method, read_socket);
      BIO_meth_set_ctrl(method, control);
      BIO_meth_set_destroy(method, forget_socket);
    }
    return method;
  }();
  return kMethod;
}

}  // namespace

BIO* make_socket_bio(int socket) {
  const BIO_METHOD* method = socket_method();
  BIO* bio = method == nullptr ? nullptr : BIO_new(method);
  if (bio == nullptr) return nullptr;
  BIO_set_data(bio, new Connected{socket, {}, 0});
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace transship::transfer
