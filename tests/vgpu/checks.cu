// Planted errors, each with a clean twin. test_checks.c runs them and looks for the finding at the line marked with the kernel's
// name in a comment: "// HERE kernel". checks.ptx is made of this file:
//   nvcc -ptx -lineinfo -arch=sm_75 -o checks.ptx checks.cu      (the .file path cut to its last part)
#include <cstdio>
#include <cassert>

#define K extern "C" __global__ void

// ---- bounds ----
K oob_load(float *y, const float *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i] = x[i + n]; // HERE oob_load
}
K oob_load_clean(float *y, const float *x, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i];
}
K oob_store(float *y, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x;
  y[i - n] = 1; // HERE oob_store
}
K null_store(float *y) {
  y[threadIdx.x] = 1; // HERE null_store
}
K oob_atomic(int *y, int n) {
  atomicAdd(&y[n], 1); // HERE oob_atomic
}
K freed_load(float *y, const float *x) {
  y[threadIdx.x] = x[threadIdx.x]; // HERE freed_load
}
K misaligned(float *y, const char *x) {
  y[threadIdx.x] = *(const float *)(x + 1 + 4 * threadIdx.x); // HERE misaligned
}
__constant__ float table[32] = {1, 2, 3};
K const_store(float *y, float *t) { // t: the address of table
  y[threadIdx.x] = table[threadIdx.x];
  t[threadIdx.x] = 1; // HERE const_store
}
K oob_shared(float *y, int n) {
  extern __shared__ float s[];
  s[threadIdx.x] = 1;
  __syncthreads();
  s[threadIdx.x + n] = 2; // HERE oob_shared
  y[threadIdx.x] = s[0];
}
K oob_shared_clean(float *y, int n) {
  extern __shared__ float s[];
  s[threadIdx.x] = 1;
  __syncthreads();
  y[threadIdx.x] = s[(threadIdx.x + n) % blockDim.x];
}

// ---- never written ----
K uninit_global(float *y, const float *x) {
  y[threadIdx.x] = x[threadIdx.x]; // HERE uninit_global
}
K uninit_shared(float *y) {
  __shared__ float s[64];
  if (threadIdx.x != 5) s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x]; // HERE uninit_shared
}
K uninit_shared_clean(float *y) {
  __shared__ float s[64];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = s[63 - threadIdx.x];
}

// ---- races in shared memory ----
K race_raw(float *y) { // reads what another warp writes
  __shared__ float s[128];
  s[threadIdx.x] = 0;
  __syncthreads();
  s[threadIdx.x] = threadIdx.x + 1; // HERE race_raw write
  y[threadIdx.x] = s[127 - threadIdx.x]; // HERE race_raw
}
K race_raw_clean(float *y) {
  __shared__ float s[128];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  y[threadIdx.x] = s[127 - threadIdx.x];
}
K race_war(float *y) { // writes what others may still read
  __shared__ float s[128];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  float v = s[127 - threadIdx.x];
  s[threadIdx.x] = v + 1; // HERE race_war
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
}
K race_war_clean(float *y) {
  __shared__ float s[128];
  s[threadIdx.x] = threadIdx.x;
  __syncthreads();
  float v = s[127 - threadIdx.x];
  __syncthreads();
  s[threadIdx.x] = v + 1;
  __syncthreads();
  y[threadIdx.x] = s[threadIdx.x];
}
K race_waw(float *y) { // all write one word, and not the same
  __shared__ float s[1];
  s[0] = threadIdx.x; // HERE race_waw
  __syncthreads();
  y[threadIdx.x] = s[0];
}
K race_waw_clean(float *y) { // all write the same
  __shared__ float s[1];
  s[0] = 7;
  __syncthreads();
  y[threadIdx.x] = s[0];
}
K race_warp(float *y) { // lanes of one warp, no __syncwarp between
  __shared__ float s[32];
  s[threadIdx.x] = threadIdx.x;
  y[threadIdx.x] = s[threadIdx.x ^ 1]; // HERE race_warp
}
K race_warp_clean(float *y) {
  __shared__ float s[32];
  s[threadIdx.x] = threadIdx.x;
  __syncwarp();
  y[threadIdx.x] = s[threadIdx.x ^ 1];
}
K race_histogram(int *y, const int *x) { // atomics, then read without a barrier
  __shared__ int h[64];
  h[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&h[63 - (x[threadIdx.x] & 63)], 1);
  y[threadIdx.x] = h[threadIdx.x]; // HERE race_histogram
}
K race_histogram_clean(int *y, const int *x) {
  __shared__ int h[64];
  h[threadIdx.x] = 0;
  __syncthreads();
  atomicAdd(&h[63 - (x[threadIdx.x] & 63)], 1);
  __syncthreads();
  y[threadIdx.x] = h[threadIdx.x];
}
K race_loop(float *y, int n) { // a tile loop that lacks its second barrier
  __shared__ float s[128];
  float sum = 0;
  for (int k = 0; k < n; k++) {
    s[threadIdx.x] = k + threadIdx.x; // HERE race_loop
    __syncthreads();
    sum += s[127 - threadIdx.x];
  }
  y[threadIdx.x] = sum;
}
K race_loop_clean(float *y, int n) {
  __shared__ float s[128];
  float sum = 0;
  for (int k = 0; k < n; k++) {
    s[threadIdx.x] = k + threadIdx.x;
    __syncthreads();
    sum += s[127 - threadIdx.x];
    __syncthreads();
  }
  y[threadIdx.x] = sum;
}

// ---- races between blocks ----
K race_blocks(float *y) { // blocks read what their neighbours write
  int i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x;
  y[i] = y[(i + blockDim.x) % n] + 1; // HERE race_blocks
}
K race_blocks_clean(float *y, const float *x) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, n = gridDim.x * blockDim.x;
  y[i] = x[(i + blockDim.x) % n] + 1;
}
K race_overlap(float *y) { // blocks write one word, each something else
  y[threadIdx.x] = blockIdx.x; // HERE race_overlap
}
K race_overlap_clean(int *y) { // the same flag by all
  y[threadIdx.x] = 1;
}
K race_bytes_clean(unsigned char *y) { // neighbours within a word
  y[blockIdx.x] = blockIdx.x;
}
__device__ unsigned int arrived;
K last_block(float *sum, float *part) { // no fence before the count
  part[blockIdx.x] = blockIdx.x;
  if (atomicAdd(&arrived, 1) != gridDim.x - 1) return;
  float s = 0;
  for (int i = 0; i < gridDim.x; i++) s += part[i]; // HERE last_block
  *sum = s;
}
K last_block_clean(float *sum, float *part) {
  __shared__ bool last;
  if (threadIdx.x < 4) part[4 * blockIdx.x + threadIdx.x] = blockIdx.x;
  __threadfence();
  __syncthreads();
  if (!threadIdx.x) last = atomicAdd(&arrived, 1) == gridDim.x - 1;
  __syncthreads();
  if (!last || threadIdx.x) return;
  float s = 0;
  for (int i = 0; i < 4 * gridDim.x; i++) s += part[i];
  *sum = s;
  arrived = 0;
}

// ---- barriers and warps ----
K barrier_missing(float *y) { // one warp waits where the others never come
  if (threadIdx.x < 32) asm volatile("bar.sync 1, 64;" ::: "memory"); // HERE barrier_missing
  y[threadIdx.x] = 1;
}
K barrier_clean(float *y) {
  if (threadIdx.x < 64) asm volatile("bar.sync 1, 64;" ::: "memory");
  y[threadIdx.x] = 1;
}
K missing_lane(int *y) { // half of the named lanes do not take part
  int v = threadIdx.x;
  if (threadIdx.x & 1) return;
  y[threadIdx.x] = __shfl_sync(0xffffffffu, v, 1); // HERE missing_lane
}
K missing_lane_clean(int *y) {
  int v = threadIdx.x;
  if (threadIdx.x & 1) return;
  y[threadIdx.x] = __shfl_sync(0x55555555u, v, 2);
}
K unnamed_lane(int *y) { // odd lanes take part in what only even ones are named for
  y[threadIdx.x] = __shfl_sync(0x55555555u, (int)threadIdx.x, 0); // HERE unnamed_lane
}

// ---- stops ----
K asserts(const int *x) {
  assert(x[threadIdx.x] != 3); // HERE asserts
}
K traps(int n) {
  if (threadIdx.x == n) asm("trap;"); // HERE traps
}
K prints(int n) {
  if (threadIdx.x < 2) printf("thread %d of %d: %5.2f|%-6s|%lld|%c|%x|%%\n", threadIdx.x, n, 1.5f * threadIdx.x, "ab", 1ll << 40, 'z', 255u);
}
