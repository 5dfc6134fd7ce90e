#include "metrics/http_server.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <stdexcept>

#include "base/unique_fd.h"
#include "metrics/controller_metrics.h"
#include "metrics/migration_metrics.h"
#include "metrics/registry.h"
#include "tests/unit/metrics/scrape.h"

namespace transship::metrics {
namespace {

using ::testing::AllOf;
using ::testing::EndsWith;
using ::testing::HasSubstr;
using ::testing::StartsWith;

// The whole answer to one request, status line and headers included.
std::string ask(int port, const std::string& path, const std::string& method = "GET") {
  const UniqueFd socket_fd(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (connect(socket_fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) != 0)
    return "no connection";
  const std::string request = method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n";
  if (write(socket_fd.get(), request.data(), request.size()) !=
      static_cast<ssize_t>(request.size()))
    return "no write";
  std::string answer;
  char buffer[4096];
  for (ssize_t n = 0; (n = read(socket_fd.get(), buffer, sizeof buffer)) > 0;) {
    answer.append(buffer, static_cast<size_t>(n));
  }
  return answer;
}

std::string body_of(const std::string& answer) {
  return answer.substr(answer.find("\r\n\r\n") + 4);
}

HttpServer started(HttpServerOptions options) {
  options.listen = "127.0.0.1:0";
  auto server = HttpServer::start(std::move(options));
  if (!server.ok()) throw std::runtime_error(server.error().message);
  return std::move(server).value();
}

// One of each: every family that there is, with a value.
void fill(Registry& registry) {
  static std::vector<std::shared_ptr<void>> kept;
  ControllerMetrics controller(registry, "containermigration", 4);
  controller.reconcile_started();
  controller.reconcile_finished(ReconcileResult::kSuccess, 0.1);
  auto queue = std::make_shared<WorkQueueMetrics>(registry, "containermigration");
  kept.push_back(queue);
  queue->added();
  queue->started("a", 0.1);
  ClientMetrics(registry).request_done("GET", "api:443", 200);
  LeaderElectionMetrics(registry, "transship-controller").leading(true);
  auto migrations = MigrationMetrics(registry);
  migrations.count_by_phase({{"Transferring", 1}});
  migrations.phase_entered("Transferring");
  migrations.phase_left("Transferring", 1);
  migrations.finished("Succeeded", "Migrated", 10);
  migrations.downtime(3);
  migrations.rolled_back("Cancelled");
  migrations.retried("TargetUnreachable");
  migrations.transferred("volume", "final", 1 << 20);
  migrations.progress("default", "a", 0.5, 100, 10);
}

TEST(HttpServer, ServesTheRegistry) {
  Registry registry;
  fill(registry);
  const HttpServer server = started({.metrics = [&] { return registry.text(); }});
  const std::string answer = ask(server.port(), "/metrics");
  EXPECT_THAT(answer, AllOf(StartsWith("HTTP/1.1 200 OK\r\n"),
                            HasSubstr("Content-Type: text/plain; version=0.0.4")));
  const std::string text = body_of(answer);
  EXPECT_THAT(answer, HasSubstr("Content-Length: " + std::to_string(text.size()) + "\r\n"));
  EXPECT_EQ(value_of(text, "containermigration_transferred_bytes_total",
                     {R"(kind="volume")", R"(round="final")"}),
            1 << 20);
  EXPECT_EQ(value_of(text, "leader_election_master_status", {R"(name="transship-controller")"}), 1);
}

TEST(HttpServer, TheScrapeIsCleanForPromtool) {
  if (std::system("command -v promtool >/dev/null") != 0)
    GTEST_SKIP() << "no promtool (Debian: prometheus)";
  Registry registry;
  fill(registry);
  const HttpServer server = started({.metrics = [&] { return registry.text(); }});
  char path[] =
      "/tmp/transship-scrape-XX"
      "XX"
      "XX";
  const UniqueFd file(mkstemp(path));
  std::ofstream(path) << body_of(ask(server.port(), "/metrics"));
  const std::string command = std::string("promtool check metrics <") + path + " 2>&1";
  FILE* pipe = popen(command.c_str(), "r");
  std::string findings;
  for (int c = 0; (c = fgetc(pipe)) != EOF;) findings += static_cast<char>(c);
  const int exit = pclose(pipe);
  unlink(path);
  EXPECT_EQ(exit, 0);
  EXPECT_EQ(findings, "");
}

TEST(Registry, TellsOfTheProcess) {
  Registry registry;
  const std::string text = registry.text();
  const auto now = static_cast<double>(std::time(nullptr));
  EXPECT_NEAR(value_of(text, "process_start_time_seconds").value_or(0), now, 600);
  EXPECT_GT(value_of(text, "process_cpu_seconds_total").value_or(0), 0);
  EXPECT_GT(value_of(text, "process_resident_memory_bytes").value_or(0), 1e6);
  EXPECT_GT(value_of(text, "process_virtual_memory_bytes").value_or(0), 1e6);
  EXPECT_GT(value_of(text, "process_max_fds").value_or(0), 10);
  const double before = value_of(text, "process_open_fds").value_or(0);
  const UniqueFd one_more(dup(0));
  EXPECT_EQ(value_of(registry.text(), "process_open_fds"), before + 1);
}

TEST(HttpServer, ProbesAskTheCallbacks) {
  std::atomic<bool> is_ready = false;
  const HttpServer server =
      started({.alive = [] { return Status(); },
               .ready = [&]() -> Status {
                 if (is_ready) return {};
                 return Error{ErrorCode::kUnavailable, "informers have not synced"};
               }});
  EXPECT_THAT(ask(server.port(), "/healthz"),
              AllOf(StartsWith("HTTP/1.1 200 "), EndsWith("\r\n\r\nok\n")));
  EXPECT_THAT(ask(server.port(), "/readyz"),
              AllOf(StartsWith("HTTP/1.1 503 "), EndsWith("\r\n\r\ninformers have not synced\n")));
  is_ready = true;
  EXPECT_THAT(ask(server.port(), "/readyz"), StartsWith("HTTP/1.1 200 "));
}

TEST(HttpServer, WithoutCallbacksItIsWellAndHasNoMetrics) {
  const HttpServer server = started({});
  EXPECT_THAT(ask(server.port(), "/healthz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(server.port(), "/readyz"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask(server.port(), "/metrics"), StartsWith("HTTP/1.1 404 "));
}

TEST(HttpServer, AnswersNothingElse) {
  const HttpServer server = started({.metrics = [] { return "up 1\n"; }});
  for (const char* path : {"/", "/metrics/more", "/etc/passwd", "/../etc/passwd", "/metricsx"}) {
    EXPECT_THAT(ask(server.port(), path), StartsWith("HTTP/1.1 404 ")) << path;
  }
  for (const char* method : {"POST", "PUT", "DELETE", "OPTIONS"}) {
    EXPECT_THAT(ask(server.port(), "/metrics", method), StartsWith("HTTP/1.1 405 ")) << method;
  }
  EXPECT_THAT(ask(server.port(), "/metrics?name[]=up"), EndsWith("\r\n\r\nup 1\n"));
  EXPECT_THAT(
      ask(server.port(), "/metrics", "HEAD"),
      AllOf(StartsWith("HTTP/1.1 200 "), HasSubstr("Content-Length: 5"), EndsWith("\r\n\r\n")));
}

TEST(HttpServer, ACallbackThatThrowsIsAnError500) {
  const HttpServer server =
      started({.metrics = []() -> std::string { throw std::runtime_error("broken"); }});
  EXPECT_THAT(ask(server.port(), "/metrics"),
              AllOf(StartsWith("HTTP/1.1 500 "), EndsWith("broken\n")));
}

TEST(HttpServer, ABusyPortIsAClearError) {
  const HttpServer first = started({});
  const std::string listen = "127.0.0.1:" + std::to_string(first.port());
  const auto second = HttpServer::start({.listen = listen});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.error().code, ErrorCode::kAlreadyExists);
  EXPECT_THAT(second.error().message,
              AllOf(HasSubstr(listen), HasSubstr("Address already in use")));
}

TEST(HttpServer, AnAddressThatIsNoneIsRefused) {
  for (const char* listen :
       {"", "8080", ":8080", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536",
        "127.0.0.1:8080,127.0.0.1:8081", "127.0.0.1:8443s", "192.0.2.1:0", "nowhere.invalid:0"}) {
    const auto server = HttpServer::start({.listen = listen});
    ASSERT_FALSE(server.ok()) << listen;
    EXPECT_EQ(server.error().code, ErrorCode::kInvalid) << listen << ": " << server.error().message;
  }
}

TEST(HttpServer, ThePortIsFreeAgainAfterwards) {
  int port = 0;
  {
    const HttpServer server = started({});
    port = server.port();
  }
  EXPECT_EQ(ask(port, "/healthz"), "no connection");
  EXPECT_TRUE(HttpServer::start({.listen = "127.0.0.1:" + std::to_string(port)}).ok());
}

}  // namespace
}  // namespace transship::metrics
