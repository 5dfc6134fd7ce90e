// The first message of a connection: whose session it is, and about which volumes.
#pragma once

#include <string>
#include <vector>

#include "transfer/frames.h"
#include "transfer/session.h"

namespace transship::transfer {

// Random; whoever knows it may go on with the session that began with it.
Result<std::string> new_session_id();
// In a time that does not tell where they differ.
bool same_session(const std::string& a, const std::string& b);

Message header_of(const SessionIdentity& identity, const std::string& id,
                  const std::vector<SessionVolume>& volumes);

struct SessionHeader {
  std::string id;
  std::vector<size_t> order;          // the sender's, as indexes into the receiver's volumes
  std::vector<TreeTotals> announced;  // in that order
};

// kForbidden for another migration, epoch or set of volumes, or no session id.
Result<SessionHeader> read_header(const Message& message, const SessionIdentity& identity,
                                  const std::vector<SessionVolume>& volumes);

}  // namespace transship::transfer
