// Memory of devices is memory of the process whose kind, device and size are known.
//
// What a program copies to a device comes back when it is read as a whole, for instance weights. Everything else that
// is read from a device would be the result of kernels, and reads as zeros: labels, losses, sizes that depend on data.
// One result does not: where a copy was freed and the result has its place and size, it reads as that copy. torch keeps
// freed memory, so the stand-in does not see that it was freed.
#include "null_gpu.h"

#include <cuda_runtime_api.h>
#include <sys/mman.h>

#include <array>
#include <cstring>
#include <iterator>
#include <map>
#include <mutex>

using null_gpu::Memory;
using null_gpu::counters;

namespace {

struct Block {
  size_t size;
  Memory kind;
  int device;
  bool mapped;  // by this file; otherwise it is the caller's memory, registered as pinned
};

std::mutex blocks_lock;
std::map<const char*, Block> blocks;  // by first address
std::map<const char*, size_t> written;    // what was copied to devices: first address and size
std::array<size_t, null_gpu::kMostDevices> used{};

size_t whole(size_t size) { return size == 0 ? 1 : size; }

cudaError_t allocate(void** address, size_t size, Memory kind) {
  const std::lock_guard<std::mutex> guard(blocks_lock);
  const int device = null_gpu::current_device();
  const bool counted = kind == Memory::device;
  if (counted && used[device] + size > null_gpu::memory_limit()) return cudaErrorMemoryAllocation;
  // Pages that are never touched, as those of activations that no kernel writes, cost neither time nor memory.
  void* mapped = mmap(nullptr, whole(size), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (mapped == MAP_FAILED) return cudaErrorMemoryAllocation;
  if (counted) used[device] += size;
  blocks[static_cast<char*>(mapped)] = {size, kind, device, true};
  *address = mapped;
  return cudaSuccess;
}

// Forget what was copied to a range of addresses. The caller holds the lock.
void forget(const void* address, size_t size) {
  const auto* first = static_cast<const char*>(address);
  auto entry = written.lower_bound(first);
  if (entry != written.begin()) {
    const auto before = std::prev(entry);
    if (before->first + before->second > first) written.erase(before);
  }
  while (entry != written.end() && entry->first < first + size) entry = written.erase(entry);
}

// Return whether exactly this range was copied to a device. The caller holds the lock.
bool is_written(const void* address, size_t size) {
  const auto entry = written.find(static_cast<const char*>(address));
  return entry != written.end() && entry->second == size;
}

cudaError_t release(void* address) {
  if (address == nullptr) return cudaSuccess;
  const std::lock_guard<std::mutex> guard(blocks_lock);
  const auto found = blocks.find(static_cast<char*>(address));
  if (found == blocks.end()) return cudaErrorInvalidValue;
  const Block block = found->second;
  blocks.erase(found);
  if (block.kind == Memory::device) {
    used[block.device] -= block.size;
    forget(address, block.size);
  }
  if (block.mapped) munmap(address, whole(block.size));
  return cudaSuccess;
}

// Find the block that an address lies in. The caller holds the lock.
const Block* block_of(const void* address) {
  const auto* place = static_cast<const char*>(address);
  auto next = blocks.upper_bound(place);
  if (next == blocks.begin()) return nullptr;
  --next;
  return place < next->first + whole(next->second.size) ? &next->second : nullptr;
}

// Copy what is known; of anything else only zeros reach the host.
void move(void* target, Memory to, const void* source, Memory from, size_t size) {
  const std::lock_guard<std::mutex> guard(blocks_lock);
  const bool known = from != Memory::device || is_written(source, size);
  if (known) {
    std::memmove(target, source, size);
  } else if (to != Memory::device) {
    std::memset(target, 0, size);
  }
  if (to == Memory::device) {
    forget(target, size);
    if (known) written[static_cast<const char*>(target)] = size;
  }
}

// Copy and count. Copies between a device and pageable memory cannot be captured.
cudaError_t copy(void* target, const void* source, size_t size, const void* stream) {
  const Memory to = null_gpu::memory_of(target);
  const Memory from = null_gpu::memory_of(source);
  if (to == Memory::device && from != Memory::device) {
    ++counters.copies_to_device;
    if (from == Memory::pageable) {
      ++counters.pageable_copies;
      if (null_gpu::refused_by_capture("copy from pageable memory", stream)) return cudaErrorStreamCaptureUnsupported;
    }
  }
  if (from == Memory::device && to != Memory::device) {
    ++counters.copies_to_host;
    if (to == Memory::pageable && null_gpu::refused_by_capture("copy to pageable memory", stream)) {
      return cudaErrorStreamCaptureUnsupported;
    }
  }
  move(target, to, source, from, size);
  return cudaSuccess;
}

}  // namespace

namespace null_gpu {

Memory memory_of(const void* address) {
  const std::lock_guard<std::mutex> guard(blocks_lock);
  const Block* block = block_of(address);
  return block == nullptr ? Memory::pageable : block->kind;
}

size_t memory_used(int device) {
  const std::lock_guard<std::mutex> guard(blocks_lock);
  return used.at(device);
}

}  // namespace null_gpu

extern "C" {

cudaError_t cudaMalloc(void** address, size_t size) { return allocate(address, size, Memory::device); }

cudaError_t cudaMallocAsync(void** address, size_t size, cudaStream_t) {
  return allocate(address, size, Memory::device);
}

cudaError_t cudaMallocManaged(void** address, size_t size, unsigned) {
  return allocate(address, size, Memory::device);
}

cudaError_t cudaFree(void* address) { return release(address); }

cudaError_t cudaFreeAsync(void* address, cudaStream_t) { return release(address); }

cudaError_t cudaHostAlloc(void** address, size_t size, unsigned) { return allocate(address, size, Memory::pinned); }

cudaError_t cudaMallocHost(void** address, size_t size) { return allocate(address, size, Memory::pinned); }

cudaError_t cudaFreeHost(void* address) { return release(address); }

cudaError_t cudaHostRegister(void* address, size_t size, unsigned) {
  const std::lock_guard<std::mutex> guard(blocks_lock);
  blocks[static_cast<char*>(address)] = {size, Memory::pinned, 0, false};
  return cudaSuccess;
}

cudaError_t cudaHostUnregister(void* address) { return release(address); }

cudaError_t cudaMemGetInfo(size_t* free, size_t* total) {
  const size_t limit = null_gpu::memory_limit();
  const size_t taken = null_gpu::memory_used(null_gpu::current_device());
  *total = limit;
  *free = taken < limit ? limit - taken : 0;
  return cudaSuccess;
}

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  *attributes = {};
  const std::lock_guard<std::mutex> guard(blocks_lock);
  const Block* block = block_of(address);
  attributes->type = cudaMemoryTypeUnregistered;
  if (block != nullptr) {
    attributes->type = block->kind == Memory::device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
    attributes->device = block->device;
  }
  attributes->devicePointer = attributes->hostPointer = const_cast<void*>(address);
  return cudaSuccess;
}

cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t size, cudaMemcpyKind, cudaStream_t stream) {
  return copy(target, source, size, stream);
}

cudaError_t cudaMemcpyPeerAsync(void* target, int, const void* source, int, size_t size, cudaStream_t stream) {
  return copy(target, source, size, stream);
}

cudaError_t cudaMemcpy(void* target, const void* source, size_t size, cudaMemcpyKind) {
  ++counters.synchronisations;
  if (null_gpu::refused_by_capture("cudaMemcpy")) return cudaErrorStreamCaptureUnsupported;
  return copy(target, source, size, nullptr);
}

cudaError_t cudaMemset(void* target, int value, size_t size) {
  std::memset(target, value, size);
  return cudaSuccess;
}

cudaError_t cudaMemsetAsync(void* target, int value, size_t size, cudaStream_t) {
  std::memset(target, value, size);
  return cudaSuccess;
}

cudaError_t cudaMemcpy2DAsync(void* target, size_t target_pitch, const void* source, size_t source_pitch, size_t width,
                              size_t height, cudaMemcpyKind, cudaStream_t stream) {
  for (size_t row = 0; row < height; ++row) {
    auto* to = static_cast<char*>(target) + row * target_pitch;
    const auto* from = static_cast<const char*>(source) + row * source_pitch;
    const cudaError_t error = copy(to, from, width, stream);
    if (error != cudaSuccess) return error;
  }
  return cudaSuccess;
}

// Variables of kernels, which nothing reads.
cudaError_t cudaGetSymbolAddress(void** address, const void*) {
  static std::array<char, 1 << 16> symbol;
  *address = symbol.data();
  return cudaSuccess;
}

}  // extern "C"
