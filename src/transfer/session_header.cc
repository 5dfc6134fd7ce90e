#include "transfer/session_header.h"

#include <openssl/crypto.h>
#include <openssl/rand.h>

#include <algorithm>
#include <array>

namespace transship::transfer {
namespace {

constexpr size_t kIdBytes = 16;
constexpr size_t kFixedFields = 4;
constexpr size_t kVolumeFields = 4;

const char* kind_of(const SessionVolume& volume) { return volume.overlay ? "overlay" : "plain"; }

}  // namespace

Result<std::string> new_session_id() {
  std::array<unsigned char, kIdBytes> random{};
  if (RAND_bytes(random.data(), static_cast<int>(random.size())) != 1)
    return Error{ErrorCode::kInternal, "no random bytes for a session's name"};
  return std::string(random.begin(), random.end());
}

bool same_session(const std::string& a, const std::string& b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

Message header_of(const SessionIdentity& identity, const std::string& id,
                  const std::vector<SessionVolume>& volumes) {
  Message header{FrameKind::kHeader,
                 {std::to_string(kSessionVersion), identity.migration_uid,
                  std::to_string(identity.epoch), id}};
  for (const SessionVolume& volume : volumes) {
    header.fields.push_back(volume.name);
    header.fields.emplace_back(kind_of(volume));
    header.fields.push_back(std::to_string(volume.announced.bytes));
    header.fields.push_back(std::to_string(volume.announced.entries));
  }
  return header;
}

Result<SessionHeader> read_header(const Message& message, const SessionIdentity& identity,
                                  const std::vector<SessionVolume>& volumes) {
  const auto& fields = message.fields;
  const auto refuse = [](const std::string& why) {
    return Error{ErrorCode::kForbidden, "session refused: " + why};
  };
  if (fields.size() < kFixedFields || fields[0] != std::to_string(kSessionVersion))
    return refuse("another version of the protocol");
  if (fields[1] != identity.migration_uid || fields[2] != std::to_string(identity.epoch))
    return refuse("another migration or epoch");
  if (fields[3].size() != kIdBytes) return refuse("it has no name");
  if (fields.size() != kFixedFields + volumes.size() * kVolumeFields)
    return refuse("another set of volumes");
  SessionHeader header{fields[3], {}, {}};
  for (size_t i = kFixedFields; i < fields.size(); i += kVolumeFields) {
    const auto found =
        std::find_if(volumes.begin(), volumes.end(),
                     [&](const SessionVolume& volume) { return volume.name == fields[i]; });
    const auto index = static_cast<size_t>(found - volumes.begin());
    TreeTotals announced;
    if (found == volumes.end() ||
        std::find(header.order.begin(), header.order.end(), index) != header.order.end() ||
        fields[i + 1] != kind_of(*found) || !to_count(fields[i + 2], announced.bytes) ||
        !to_count(fields[i + 3], announced.entries)) {
      return refuse("another set of volumes");
    }
    header.order.push_back(index);
    header.announced.push_back(announced);
  }
  return header;
}

}  // namespace transship::transfer
