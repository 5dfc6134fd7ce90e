#include "runtime/call.h"

#include "runtime/create.h"
#include "runtime/start.h"

namespace transship::runtime {

int run(const Call& call) {
  const std::string& command = call.arguments.command;
  if (command == "create") return create(call);
  if (command == "start") return start(call);
  if (command == "kill") return kill(call);
  if (command == "delete") return remove(call);
  return call.pass_on();
}

}  // namespace transship::runtime
