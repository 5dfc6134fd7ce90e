// For this room's .cc files only: the one way in which its families come into being.
#pragma once

#include <prometheus/counter.h>
#include <prometheus/family.h>
#include <prometheus/gauge.h>
#include <prometheus/histogram.h>
#include <prometheus/registry.h>

#include <string>

namespace transship::metrics {

using CounterFamily = prometheus::Family<prometheus::Counter>;
using GaugeFamily = prometheus::Family<prometheus::Gauge>;
using HistogramFamily = prometheus::Family<prometheus::Histogram>;
using Buckets = prometheus::Histogram::BucketBoundaries;

inline CounterFamily& counter(prometheus::Registry& families, const std::string& name,
                              const std::string& help) {
  return prometheus::BuildCounter().Name(name).Help(help).Register(families);
}

inline GaugeFamily& gauge(prometheus::Registry& families, const std::string& name,
                          const std::string& help) {
  return prometheus::BuildGauge().Name(name).Help(help).Register(families);
}

inline HistogramFamily& histogram(prometheus::Registry& families, const std::string& name,
                                  const std::string& help) {
  return prometheus::BuildHistogram().Name(name).Help(help).Register(families);
}

}  // namespace transship::metrics
