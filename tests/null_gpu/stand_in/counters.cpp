// Counters, and the limits that the environment or a test sets.
#include "null_gpu.h"

#include <cstdlib>

namespace null_gpu {

Counters counters;

namespace {

constexpr size_t kMemoryOfH200 = size_t{141} << 30;

size_t from_environment(const char* name, size_t otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : std::strtoull(value, nullptr, 10);
}

std::atomic<size_t> limit{0};  // 0: the environment decides

}  // namespace

int device_count() {
  static const int count = static_cast<int>(from_environment("NULL_GPU_COUNT", 1));
  return count < kMostDevices ? count : kMostDevices;
}

size_t memory_limit() {
  static const size_t usual = from_environment("NULL_GPU_MEMORY", kMemoryOfH200);
  const size_t set = limit;
  return set == 0 ? usual : set;
}

}  // namespace null_gpu

extern "C" {

long null_gpu_launches() { return null_gpu::counters.launches; }
long null_gpu_graph_launches() { return null_gpu::counters.graph_launches; }
long null_gpu_synchronisations() { return null_gpu::counters.synchronisations; }
long null_gpu_copies_to_device() { return null_gpu::counters.copies_to_device; }
long null_gpu_copies_to_host() { return null_gpu::counters.copies_to_host; }
long null_gpu_pageable_copies() { return null_gpu::counters.pageable_copies; }
long null_gpu_capture_violations() { return null_gpu::counters.capture_violations; }

// Limit the memory of every device from now on; 0 restores the limit that the process started with.
void null_gpu_limit_memory(size_t bytes) { null_gpu::limit = bytes; }

size_t null_gpu_memory_used(int device) { return null_gpu::memory_used(device); }

}  // extern "C"
