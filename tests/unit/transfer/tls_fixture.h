// Two ends with certificates of one authority, and a connection between them.
#pragma once

#include <gtest/gtest.h>

#include <future>
#include <memory>
#include <string>

#include "scratch.h"
#include "tests/unit/mover/test_certificates.h"
#include "transfer/tls.h"

namespace transship::transfer {

using StreamResult = Result<std::unique_ptr<TlsStream>>;

class TlsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    authority_.issue(scratch_.path("sender"), "m.sender.1");
    authority_.issue(scratch_.path("receiver"), "m.receiver.1");
    listen(receiver_options());
  }

  // Of who has the credentials of this name.
  [[nodiscard]] TlsOptions options(const std::string& name, const std::string& peer) const {
    auto credentials = read_tls_credentials(scratch_.path(name));
    EXPECT_TRUE(credentials.ok()) << credentials.error().message;
    return {std::move(credentials).value(), peer};
  }
  [[nodiscard]] TlsOptions sender_options() const { return options("sender", "m.receiver.1"); }
  [[nodiscard]] TlsOptions receiver_options() const { return options("receiver", "m.sender.1"); }

  void listen(const TlsOptions& options) {
    auto listener = TlsListener::listen("127.0.0.1", 0, options);
    ASSERT_TRUE(listener.ok()) << listener.error().message;
    listener_ = std::make_unique<TlsListener>(std::move(listener).value());
  }

  std::future<StreamResult> accept(Until until = {}) {
    return std::async(std::launch::async, [this, until] { return listener_->accept(until); });
  }

  StreamResult connect(const TlsOptions& options) {
    return tls_connect("127.0.0.1", listener_->port(), options, {});
  }

  // Both ends of a connection.
  void connect_both() {
    auto accepted = accept();
    auto connected = connect(sender_options());
    ASSERT_TRUE(connected.ok()) << connected.error().message;
    sender_ = std::move(connected).value();
    auto taken = accepted.get();
    ASSERT_TRUE(taken.ok()) << taken.error().message;
    receiver_ = std::move(taken).value();
  }

  Scratch scratch_;
  mover::TestAuthority authority_;
  std::unique_ptr<TlsListener> listener_;
  std::unique_ptr<TlsStream> sender_;
  std::unique_ptr<TlsStream> receiver_;
};

}  // namespace transship::transfer
