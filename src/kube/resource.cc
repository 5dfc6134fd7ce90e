#include "kube/resource.h"

namespace transship::kube {

std::string Resource::api_version() const {
  return group.empty() ? std::string(version) : std::string(group) + '/' + std::string(version);
}

std::string Resource::group_path() const {
  return (group.empty() ? "/api/" : "/apis/") + api_version();
}

std::string Resource::path(std::string_view ns, std::string_view name) const {
  std::string path = group_path();
  if (namespaced && !ns.empty()) path += "/namespaces/" + percent_encode(ns);
  path += '/';
  path += plural;
  if (!name.empty()) path += '/' + percent_encode(name);
  return path;
}

std::string percent_encode(std::string_view text) {
  constexpr std::string_view kUnreserved =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
  constexpr std::string_view kHex = "0123456789ABCDEF";
  std::string encoded;
  for (const char c : text) {
    if (kUnreserved.find(c) != std::string_view::npos) {
      encoded += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    encoded += '%';
    encoded += kHex[byte >> 4U];
    encoded += kHex[byte & 15U];
  }
  return encoded;
}

}  // namespace transship::kube
