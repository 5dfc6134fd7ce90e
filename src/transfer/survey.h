// Survey: looks at every entry of a tree by two threads, metadata only; what is made of it is the
// visitor's.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "transfer/directory_handles.h"
#include "transfer/until.h"

namespace transship::transfer {

struct SurveyedEntry {
  std::string_view name;
  NodeStat stat;        // none of what was passed by
  bool passed = false;  // see DirectoryVisit::passes()
};

// What is made of one directory; called in this order, with the survey's lock held.
class DirectoryVisit {
 public:
  virtual ~DirectoryVisit() = default;
  // All its names, in order, where they are known; else it is read for them.
  [[nodiscard]] virtual std::span<const Child> names() const { return {}; }
  // Of each name, in order and before it is taken: whether its metadata need not be looked at.
  // `type` is the directory's word for what it is (DT_REG and others, or DT_UNKNOWN).
  virtual bool passes(std::string_view /*name*/, unsigned char /*type*/) { return false; }
  // Some of its entries, by name. Directories to look at, too, are added to `inside`.
  virtual Status take(std::span<const SurveyedEntry> entries, std::vector<NodeId>& inside) = 0;
  virtual Status end() = 0;
};

class SurveyVisitor {
 public:
  virtual ~SurveyVisitor() = default;
  // A directory was opened.
  virtual Result<std::unique_ptr<DirectoryVisit>> begin(NodeId directory, const NodeStat& stat) = 0;
  // A directory that is not there any more. There is no visit of it.
  virtual Status vanished(NodeId directory) = 0;
  // An entry of the directory went while the directory was looked at; it is passed over.
  virtual Status entry_vanished(NodeId directory) = 0;
};

// Begins with the root. kInvalid for a mount point inside. `inventory` is changed by nobody but the
// visitor meanwhile.
Status survey(int root, Inventory& inventory, SurveyVisitor& visitor, const Until& until);

}  // namespace transship::transfer
