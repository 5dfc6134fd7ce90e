// What a decision wants done. Each is idempotent: a fixed name or a precondition makes twice once.
#pragma once

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "api/mover_protocol.h"
#include "controller/cluster.h"
#include "controller/objects.h"

namespace transship::controller {

// Creates the objects in turn. One that exists already is fine if it is this migration's child
// (label or, for claims and pods in the user's namespace, `accept_existing`); else the action
// fails.
struct Create {
  // First of all the migration's TLS material for the current epoch, made here and now.
  bool tls_secret = false;
  struct Item {
    Kind kind = Kind::kPod;
    Object object;
    bool accept_existing = false;
  };
  std::vector<Item> items = {};
};

// A JSON merge patch, on the object with this UID only, and only in this state where a resource
// version is given.
struct Patch {
  Kind kind = Kind::kPod;
  std::string namespace_name;
  std::string name;
  Object body;
};

struct Delete {
  struct Item {
    Kind kind = Kind::kPod;
    std::string namespace_name;
    std::string name;
    std::string
        uid;  // precondition; empty only for children, whose names are unique to the migration
    std::optional<int> grace_period_seconds;
    std::string resource_version = {};  // precondition; empty: none
  };
  std::vector<Item> items = {};
};

struct RunTask {
  api::MoverRole role = api::MoverRole::kSender;
  api::TaskKind kind = api::TaskKind::kInspect;
  api::TaskRequest request;
};

using Action = std::variant<std::monostate, Create, Patch, Delete, RunTask>;

}  // namespace transship::controller
