// Credentials, put into an OpenSSL context.
#pragma once

#include <openssl/ssl.h>

#include "base/result.h"
#include "kube/endpoint.h"

namespace transship::kube {

// Sets the lowest protocol, whom to trust (in place of whom the context trusted) and what to
// present. kInvalid: a PEM cannot be read, or the key is another certificate's.
Status configure_tls(SSL_CTX* tls, const Credentials& credentials, bool tls13_only);

// As configure_tls() into a context of its own: whether it would succeed.
Status check_tls(const Credentials& credentials);

}  // namespace transship::kube
