#include "mover/transfer_config.h"

namespace transship::mover {

transfer::TlsOptions tls_options(const TransferConfig& config, api::MoverRole peer) {
  transfer::TlsOptions options;
  options.directory = config.tls_directory;
  options.expected_name = api::mover_name(config.migration_uid, peer, config.epoch);
  return options;
}

transfer::Until until_of(const Deadline& deadline) { return {deadline.stop(), deadline.end()}; }

}  // namespace transship::mover
