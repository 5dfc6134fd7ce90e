#include "controller/mover_client.h"

#include "kube/cpprest_transport.h"

namespace transship::controller {
namespace {

// A mover answers from memory; one that takes longer is as good as silent.
constexpr auto kTimeout = std::chrono::milliseconds(5000);

Error refusal(const kube::Response& response) {
  ErrorCode code = ErrorCode::kUnavailable;
  if (response.status == 400 || response.status == 404) code = ErrorCode::kInvalid;
  if (response.status == 403) code = ErrorCode::kForbidden;
  if (response.status == 409) code = ErrorCode::kConflict;
  return {code, "the mover answered " + std::to_string(response.status) + ": " +
                    response.body.substr(0, 1024)};
}

}  // namespace

Result<std::shared_ptr<kube::Transport>> MoverClient::transport(const MoverAddress& address) {
  const std::string name = api::mover_name(address.migration_uid, address.role, address.epoch);
  const std::string key = name + "@" + address.host;
  MutexLock lock(mutex_);
  if (const auto found = transports_.find(key); found != transports_.end()) return found->second;
  kube::Endpoint endpoint;
  const bool v6 = address.host.find(':') != std::string::npos;
  endpoint.base_url = "https://" + (v6 ? "[" + address.host + "]" : address.host) + ":" +
                      std::to_string(api::kControlPort);
  endpoint.credentials =
      kube::fixed_credentials({address.ca, address.certificate, address.key, ""});
  endpoint.tls_server_name = name;
  endpoint.tls13_only = true;
  auto made = kube::CpprestTransport::make(std::move(endpoint));
  if (!made.ok()) return made.error();
  transports_[key] = *made;
  return std::shared_ptr<kube::Transport>(*made);
}

Result<kube::Response> MoverClient::send(const MoverAddress& address,
                                         const kube::Request& request) {
  auto to = transport(address);
  if (!to.ok()) return to.error();
  auto response = (*to)->request(request);
  if (!response.ok()) return response.error();
  if (response->status >= 300) return refusal(*response);
  return response;
}

Result<api::MoverState> MoverClient::state(const MoverAddress& address) {
  kube::Request request;
  request.target = "/v1/state";
  request.timeout = kTimeout;
  auto response = send(address, request);
  if (!response.ok()) return response.error();
  return api::parse_mover_state(response->body);
}

Result<api::TaskState> MoverClient::run(const MoverAddress& address, api::TaskKind kind,
                                        const api::TaskRequest& request) {
  kube::Request put;
  put.method = "PUT";
  put.target = "/v1/tasks/" + std::string(to_string(kind));
  put.body = api::to_json_value(request).dump();
  put.content_type = "application/json";
  put.timeout = kTimeout;
  auto response = send(address, put);
  if (!response.ok()) return response.error();
  return api::parse_task_state(response->body);
}

void MoverClient::forget(const std::string& migration_uid) {
  MutexLock lock(mutex_);
  std::erase_if(transports_,
                [&](const auto& item) { return item.first.rfind(migration_uid, 0) == 0; });
}

}  // namespace transship::controller
