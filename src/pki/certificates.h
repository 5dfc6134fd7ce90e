// The TLS material of one migration: a CA of its own, made for it and forgotten with it, and one
// leaf for each mover and for the controller. Nobody else's certificate is ever accepted, so a
// mover can only be spoken to by the controller of its migration and by its peer of the same epoch.
#pragma once

#include <chrono>
#include <string>

#include "base/result.h"

namespace transship::pki {

struct KeyPair {
  std::string certificate;  // PEM
  std::string key;          // PEM, PKCS#8; a secret
};

struct MigrationCertificates {
  std::string ca;  // PEM certificate; its key is thrown away once the leaves are signed
  KeyPair sender;
  KeyPair receiver;
  KeyPair controller;
};

// ECDSA P-256, valid from 5 minutes ago (clocks differ) for `valid`. Names: api/mover_protocol.h.
Result<MigrationCertificates> make_certificates(const std::string& migration_uid, int epoch,
                                                std::chrono::seconds valid);

}  // namespace transship::pki
