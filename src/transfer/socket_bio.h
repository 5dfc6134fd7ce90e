// OpenSSL's way to a socket, without its signal: a write to a connection that the peer has closed
// is EPIPE, whatever the process does with SIGPIPE (send(2), MSG_NOSIGNAL). Inside the room only.
#pragma once

#include <openssl/bio.h>

namespace transship::transfer {

// For SSL_set_bio, which takes it over; null where there is no memory. The socket stays the
// caller's.
BIO* make_socket_bio(int socket);

}  // namespace transship::transfer
