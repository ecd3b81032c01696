// What the files of the stand-in share: counters, limits from the environment, and the capture that is under way.
#pragma once

#include <atomic>
#include <cstddef>

namespace null_gpu {

constexpr int kMostDevices = 16;

// Each is read by the function of its name in counters.cpp.
struct Counters {
  std::atomic<long> launches{0};
  std::atomic<long> graph_launches{0};
  std::atomic<long> synchronisations{0};
  std::atomic<long> copies_to_device{0};
  std::atomic<long> copies_to_host{0};
  std::atomic<long> pageable_copies{0};
  std::atomic<long> capture_violations{0};
};

extern Counters counters;

// Devices that torch sees: NULL_GPU_COUNT, otherwise 1.
int device_count();

// Bytes of each device: NULL_GPU_MEMORY, otherwise those of an H200.
size_t memory_limit();

// The device that the calling thread has chosen.
int current_device();

// Bytes that a device has given out.
size_t memory_used(int device);

enum class Memory { pageable, pinned, device };

// Where an address lies; what nobody allocated through the runtime is pageable.
Memory memory_of(const void* address);

// Return whether CUDA refuses a call during the capture that is under way; if so, report and count it.
//
// On the captured stream such calls are refused. On others they are too, unless the thread has relaxed the rules, as
// torch does where it prepares memory for a capture.
bool refused_by_capture(const char* call, const void* stream);

// The same for a call that waits for the whole device.
bool refused_by_capture(const char* call);

}  // namespace null_gpu
