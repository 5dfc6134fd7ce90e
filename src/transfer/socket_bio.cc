#include "transfer/socket_bio.h"

#include <sys/socket.h>

#include <cerrno>

namespace transship::transfer {
namespace {

int socket_of(BIO* bio) { return *static_cast<const int*>(BIO_get_data(bio)); }

bool try_again(int error) { return error == EAGAIN || error == EWOULDBLOCK || error == EINTR; }

int write_socket(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::send(socket_of(bio), data, static_cast<size_t>(size), MSG_NOSIGNAL);
  if (n < 0 && try_again(errno)) BIO_set_retry_write(bio);
  return static_cast<int>(n);
}

int read_socket(BIO* bio, char* data, int size) {
  BIO_clear_retry_flags(bio);
  const ssize_t n = ::recv(socket_of(bio), data, static_cast<size_t>(size), 0);
  if (n < 0 && try_again(errno)) BIO_set_retry_read(bio);
  if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
  return static_cast<int>(n);
}

int forget_socket(BIO* bio) {
  delete static_cast<int*>(BIO_get_data(bio));
  BIO_set_data(bio, nullptr);
  return 1;
}

long control(BIO* bio, int command, long /*number*/, void* /*pointer*/) {
  if (command == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0 ? 1 : 0;
  return command == BIO_CTRL_FLUSH ? 1 : 0;  // nothing is held back
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
  BIO_set_data(bio, new int(socket));
  BIO_set_init(bio, 1);
  return bio;
}

}  // namespace transship::transfer
