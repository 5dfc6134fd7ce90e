#include <openssl/evp.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <utility>

#include "base/log.h"
#include "kube/config.h"
#include "kube/credential_files.h"
#include "kube/exec_credentials.h"

namespace transship::kube {
namespace {

namespace fs = std::filesystem;

// How long files that a kubeconfig names are believed.
constexpr std::chrono::minutes kFileLifetime{5};

// Why the kubeconfig cannot be used; ends in load_kubeconfig.
struct Unusable {
  std::string message;
};

// A value of the file, with the words for where it is.
struct Field {
  YAML::Node node;
  std::string where;  // e.g. "users[admin].user"

  [[nodiscard]] Field at(const char* name) const {
    const bool map = node.IsDefined() && node.IsMap();
    const YAML::Node child = map ? node[name] : YAML::Node(YAML::NodeType::Undefined);
    return {child, where.empty() ? std::string(name) : where + '.' + name};
  }
  [[nodiscard]] bool present() const { return node.IsDefined() && !node.IsNull(); }
  [[nodiscard]] std::string text() const {
    if (!present()) return {};
    if (!node.IsScalar()) throw Unusable{where + " is not a text"};
    return node.Scalar();
  }
  [[nodiscard]] std::string required_text() const {
    std::string value = text();
    if (value.empty()) throw Unusable{where + " is missing"};
    return value;
  }
  [[nodiscard]] bool flag() const {
    bool value = false;
    if (present() && !YAML::convert<bool>::decode(node, value)) {
      throw Unusable{where + " is neither true nor false"};
    }
    return value;
  }
};

std::string decode_base64(const Field& field) {
  std::string text = field.text();
  std::erase_if(text, [](char c) { return c == '\n' || c == '\r' || c == ' '; });
  std::string decoded(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(decoded.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0 || text.size() % 4 != 0) throw Unusable{field.where + " is not base64"};
  // Padding decodes to bytes that are not there.
  const auto padding = static_cast<std::size_t>(text.ends_with("==") ? 2 : text.ends_with("="));
  decoded.resize(static_cast<std::size_t>(size) - padding);
  return decoded;
}

class Kubeconfig {
 public:
  Kubeconfig(const std::string& path, const std::string& text)
      : root_{YAML::Load(text), ""}, folder_(fs::absolute(path).parent_path()) {
    if (!root_.node.IsMap()) throw Unusable{"it is no kubeconfig"};
  }

  [[nodiscard]] Config config(const KubeconfigOptions& options) const {
    const std::string context =
        options.context.empty() ? root_.at("current-context").text() : options.context;
    Field chosen{YAML::Node(), "contexts"};
    if (!context.empty()) {
      chosen = named("contexts", "context", context);
    } else if (options.cluster.empty()) {
      throw Unusable{"current-context is missing, and no other context was asked for"};
    }
    const std::string cluster_name =
        options.cluster.empty() ? chosen.at("cluster").required_text() : options.cluster;
    const std::string user_name = options.user.empty() ? chosen.at("user").text() : options.user;
    const Field cluster = named("clusters", "cluster", cluster_name);
    Config config;
    config.endpoint.base_url =
        options.server.empty() ? cluster.at("server").required_text() : options.server;
    config.endpoint.tls_server_name = cluster.at("tls-server-name").text();
    config.endpoint.insecure = cluster.at("insecure-skip-tls-verify").flag();
    if (config.endpoint.insecure) {
      log::warning("the API server's certificate is not verified",
                   {{"server", config.endpoint.base_url}, {"field", cluster.where}});
    }
    const std::string ns = options.ns.empty() ? chosen.at("namespace").text() : options.ns;
    if (!ns.empty()) config.ns = ns;
    config.endpoint.credentials =
        credentials(cluster, user_name.empty() ? Field{} : named("users", "user", user_name));
    return config;
  }

 private:
  // The body of the entry `name` of one of the three lists.
  [[nodiscard]] Field named(const char* list, const char* body, const std::string& name) const {
    const Field entries = root_.at(list);
    if (entries.present() && entries.node.IsSequence()) {
      for (const YAML::Node& entry : entries.node) {
        const Field field{entry, std::string(list) + '[' + name + ']'};
        if (field.at("name").text() == name) return field.at(body);
      }
    }
    throw Unusable{std::string(list) + " has no " + name};
  }

  [[nodiscard]] std::string resolved(const std::string& path) const {
    return path.empty() ? path : (folder_ / path).string();
  }

  // Inline data come before a file, as for kubectl.
  [[nodiscard]] CredentialPart part(const Field& field, const char* name) const {
    const Field data = field.at((std::string(name) + "-data").c_str());
    if (data.present()) return {decode_base64(data), ""};
    return {"", resolved(field.at(name).text())};
  }

  [[nodiscard]] std::shared_ptr<CredentialSource> credentials(const Field& cluster,
                                                              const Field& user) const {
    CredentialParts parts;
    parts.ca = part(cluster, "certificate-authority");
    for (const char* field : {"username", "auth-provider", "as"}) {
      if (user.at(field).present()) throw Unusable{user.at(field).where + " is not supported"};
    }
    const Field exec = user.at("exec");
    if (!exec.present()) {
      parts.certificate = part(user, "client-certificate");
      parts.key = part(user, "client-key");
      parts.token.path = resolved(user.at("tokenFile").text());
      if (parts.token.path.empty()) parts.token.text = user.at("token").text();
    }
    auto source = credential_files(parts, kFileLifetime, std::chrono::steady_clock::now);
    if (exec.present()) return exec_credentials(plugin(exec, cluster, parts.ca), source);
    // Read once now, so that what is missing is said with the field's file.
    if (const auto first = source->get(); !first) {
      throw Unusable{cluster.where + ", " + user.where + ": " + first.error().message};
    }
    return source;
  }

  [[nodiscard]] ExecPlugin plugin(const Field& exec, const Field& cluster,
                                  const CredentialPart& ca) const {
    ExecPlugin plugin;
    plugin.api_version = exec.at("apiVersion").required_text();
    if (plugin.api_version != "client.authentication.k8s.io/v1" &&
        plugin.api_version != "client.authentication.k8s.io/v1beta1") {
      throw Unusable{exec.at("apiVersion").where + " " + plugin.api_version + " is not supported"};
    }
    plugin.command = exec.at("command").required_text();
    if (plugin.command.find('/') != std::string::npos) plugin.command = resolved(plugin.command);
    plugin.install_hint = exec.at("installHint").text();
    if (exec.at("interactiveMode").text() == "Always") {
      throw Unusable{exec.at("interactiveMode").where + " Always: nobody is there to be asked"};
    }
    for (const YAML::Node& argument : exec.at("args").node) {
      plugin.arguments.push_back(Field{argument, exec.at("args").where}.text());
    }
    for (const YAML::Node& variable : exec.at("env").node) {
      const Field field{variable, exec.at("env").where};
      plugin.environment.emplace_back(field.at("name").required_text(), field.at("value").text());
    }
    if (exec.at("provideClusterInfo").flag()) plugin.cluster = cluster_info(cluster, ca);
    return plugin;
  }

  [[nodiscard]] static nlohmann::json cluster_info(const Field& cluster, const CredentialPart& ca) {
    nlohmann::json info = {{"server", cluster.at("server").text()}};
    const std::string name = cluster.at("tls-server-name").text();
    if (!name.empty()) info["tls-server-name"] = name;
    if (cluster.at("insecure-skip-tls-verify").flag()) info["insecure-skip-tls-verify"] = true;
    const auto pem = ca.path.empty() ? Result<std::string>(ca.text) : read_text_file(ca.path);
    if (!pem) throw Unusable{cluster.where + ": " + pem.error().message};
    std::string encoded((pem->size() + 2) / 3 * 4 + 1, '\0');
    const int size = EVP_EncodeBlock(reinterpret_cast<unsigned char*>(encoded.data()),
                                     reinterpret_cast<const unsigned char*>(pem->data()),
                                     static_cast<int>(pem->size()));
    encoded.resize(static_cast<std::size_t>(size));
    if (!encoded.empty()) info["certificate-authority-data"] = encoded;
    return info;
  }

  const Field root_;
  const fs::path folder_;
};

// $KUBECONFIG may name several files; kubectl merges them, here the first one that exists counts.
std::string default_path() {
  const char* listed = std::getenv("KUBECONFIG");
  const std::string paths = listed != nullptr ? listed : "";
  for (std::size_t begin = 0; begin < paths.size();) {
    const std::size_t end = std::min(paths.find(':', begin), paths.size());
    std::string path = paths.substr(begin, end - begin);
    std::error_code ignored;
    if (!path.empty() && fs::exists(path, ignored)) return path;
    begin = end + 1;
  }
  const char* home = std::getenv("HOME");
  return std::string(home != nullptr ? home : "") + "/.kube/config";
}

}  // namespace

Result<Config> load_kubeconfig(const KubeconfigOptions& options) {
  const std::string path = options.path.empty() ? default_path() : options.path;
  auto text = read_text_file(path);
  if (!text) return text.error().during("kubeconfig");
  const auto unusable = [&path](const std::string& why) {
    return Error{ErrorCode::kInvalid, "kubeconfig " + path + ": " + why};
  };
  try {
    return Kubeconfig(path, *text).config(options);
  } catch (const Unusable& problem) {
    return unusable(problem.message);
  } catch (const std::exception& problem) {
    return unusable(problem.what());
  }
}

}  // namespace transship::kube
