// Streams, events, captures and graphs. All work is done when a call returns, so nothing ever has to be waited for.
#include "null_gpu.h"

#include <cuda_runtime_api.h>

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <utility>

using null_gpu::counters;

// The event that the runtime's opaque type stands for.
struct CUevent_st {
  std::chrono::steady_clock::time_point recorded;
};

namespace {

// One capture at a time: that is how torch captures.
std::atomic<cudaStream_t> captured{nullptr};
std::atomic<bool> broken{false};  // the capture met a call that CUDA refuses
std::atomic<unsigned long long> captures{0};

// Addresses that stand for objects nobody looks into.
cudaStream_t new_stream() {
  static std::atomic<std::uintptr_t> next{4096};
  return reinterpret_cast<cudaStream_t>(next.fetch_add(64));
}

char a_graph;
char an_executable_graph;

cudaGraph_t graph() { return reinterpret_cast<cudaGraph_t>(&a_graph); }

cudaError_t instantiate(cudaGraphExec_t* executable) {
  *executable = reinterpret_cast<cudaGraphExec_t>(&an_executable_graph);
  return cudaSuccess;
}

cudaStreamCaptureStatus status_of(cudaStream_t stream) {
  const cudaStream_t current = captured;
  if (current == nullptr || current != stream) return cudaStreamCaptureStatusNone;
  return broken ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
}

cudaError_t begin_capture(cudaStream_t stream) {
  // The default stream cannot be captured.
  if (stream == nullptr) return cudaErrorStreamCaptureUnsupported;
  cudaStream_t none = nullptr;
  if (!captured.compare_exchange_strong(none, stream)) return cudaErrorIllegalState;
  broken = false;
  ++captures;
  return cudaSuccess;
}

thread_local cudaStreamCaptureMode capture_mode = cudaStreamCaptureModeGlobal;

cudaError_t synchronised(bool refused) {
  ++counters.synchronisations;
  return refused ? cudaErrorStreamCaptureUnsupported : cudaSuccess;
}

cudaError_t record(cudaEvent_t event) {
  event->recorded = std::chrono::steady_clock::now();
  return cudaSuccess;
}

}  // namespace

namespace null_gpu {

bool refused_by_capture(const char* call, const void* stream) {
  const bool elsewhere = stream != captured.load();
  return !(elsewhere && capture_mode == cudaStreamCaptureModeRelaxed) && refused_by_capture(call);
}

bool refused_by_capture(const char* call) {
  if (captured.load() == nullptr) return false;
  broken = true;
  ++counters.capture_violations;
  std::fprintf(stderr, "null GPU: %s during the capture of a graph\n", call);
  return true;
}

}  // namespace null_gpu

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* stream) {
  *stream = new_stream();
  return cudaSuccess;
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned) { return cudaStreamCreate(stream); }

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int) { return cudaStreamCreate(stream); }

cudaError_t cudaStreamGetPriority(cudaStream_t, int* priority) {
  *priority = 0;
  return cudaSuccess;
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  *least = 0;
  *greatest = -5;
  return cudaSuccess;
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  return synchronised(null_gpu::refused_by_capture("cudaStreamSynchronize", stream));
}

cudaError_t cudaDeviceSynchronize() { return synchronised(null_gpu::refused_by_capture("cudaDeviceSynchronize")); }

cudaError_t cudaEventSynchronize(cudaEvent_t) {
  return synchronised(null_gpu::refused_by_capture("cudaEventSynchronize"));
}

cudaError_t cudaEventCreate(cudaEvent_t* event) {
  *event = new CUevent_st{};
  return cudaSuccess;
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) { return cudaEventCreate(event); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  delete event;
  return cudaSuccess;
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t) { return record(event); }

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t, unsigned) { return record(event); }

// The host's time between two events: launches take time, kernels take none.
cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  *milliseconds = std::chrono::duration<float, std::milli>(end->recorded - start->recorded).count();
  return cudaSuccess;
}

cudaError_t cudaStreamBeginCapture(cudaStream_t stream, cudaStreamCaptureMode) { return begin_capture(stream); }

cudaError_t cudaStreamBeginCaptureToGraph(cudaStream_t stream, cudaGraph_t, const cudaGraphNode_t*,
                                          const cudaGraphEdgeData*, size_t, cudaStreamCaptureMode) {
  return begin_capture(stream);
}

cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t* result) {
  if (captured.load() != stream || stream == nullptr) return cudaErrorIllegalState;
  captured = nullptr;
  *result = broken ? nullptr : graph();
  return broken ? cudaErrorStreamCaptureInvalidated : cudaSuccess;
}

cudaError_t cudaStreamIsCapturing(cudaStream_t stream, cudaStreamCaptureStatus* status) {
  *status = status_of(stream);
  return cudaSuccess;
}

cudaError_t cudaStreamGetCaptureInfo(cudaStream_t stream, cudaStreamCaptureStatus* status, unsigned long long* id,
                                     cudaGraph_t* result, const cudaGraphNode_t** dependencies,
                                     const cudaGraphEdgeData** edges, size_t* count) {
  *status = status_of(stream);
  if (id != nullptr) *id = captures;
  if (result != nullptr) *result = graph();
  if (dependencies != nullptr) *dependencies = nullptr;
  if (edges != nullptr) *edges = nullptr;
  if (count != nullptr) *count = 0;
  return cudaSuccess;
}

cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(*mode, capture_mode);
  return cudaSuccess;
}

cudaError_t cudaGraphInstantiate(cudaGraphExec_t* executable, cudaGraph_t, unsigned long long) {
  return instantiate(executable);
}

cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t, unsigned long long) {
  return instantiate(executable);
}

cudaError_t cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) {
  ++counters.graph_launches;
  return cudaSuccess;
}

// torch warns of graphs without nodes.
cudaError_t cudaGraphGetNodes(cudaGraph_t, cudaGraphNode_t*, size_t* count) {
  *count = 1;
  return cudaSuccess;
}

}  // extern "C"
