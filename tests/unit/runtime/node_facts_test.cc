// What is written down of a node.
#include "runtime/install/node_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace transship::runtime {
namespace {

using testing::HasSubstr;

constexpr const char* kCpuinfo =
    "processor\t: 0\nmodel name\t: Some CPU @ 2.0GHz\nflags\t\t: fpu sse2 constant_tsc avx2 vmx "
    "md_clear hwp\nbugs\t\t: spectre_v1\n\nprocessor\t: 1\nmodel name\t: Another\nflags\t\t: fpu\n";

TEST(NodeFacts, AProcessorHasAModelAndWhatProgramsCanDependOn) {
  EXPECT_EQ(cpuinfo_value(kCpuinfo, "model name"), "Some CPU @ 2.0GHz");
  EXPECT_EQ(cpuinfo_value(kCpuinfo, "stepping"), "");
  EXPECT_EQ(cpuinfo_value("model name\t:\n", "model name"), "");
  EXPECT_EQ(program_features(kCpuinfo), "avx2 fpu sse2");
  EXPECT_EQ(program_features("Features\t: fp asimd sve\n"), "asimd fp sve");
  EXPECT_EQ(program_features(""), "");
}

TEST(NodeFacts, AreWhatKubeletKeepsWhateverAProblemSays) {
  NodeFacts facts;
  facts.kernel = "6.18.1";
  facts.cgroups = 2;
  facts.criu = "4.2.1";
  facts.xsave_bytes = 832;
  facts.features = std::string(9000, 'f');
  facts.problem = "\xff\xfe" + std::string(5000, '\x01');
  const std::string text = to_text(facts);
  const auto json = nlohmann::json::parse(text, nullptr, false);
  ASSERT_TRUE(json.is_object()) << text;
  EXPECT_EQ(json["kernel"], "6.18.1");
  EXPECT_EQ(json["cgroups"], 2);
  EXPECT_EQ(json["xsaveBytes"], 832);
  EXPECT_LE(text.size(), 4096U);
}

}  // namespace
}  // namespace transship::runtime
