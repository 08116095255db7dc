// Classic programs that the interpreter must run as a T4 would: compiled by nvcc at several levels, run by test_classic.c, which
// computes every answer in plain C.
#include <cstdio>
#include <cuda_fp16.h>
#include <mma.h>
#include <stdint.h>
#define K extern "C" __global__ void
typedef unsigned u32;

__constant__ int const_table[16] = {3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3};
__device__ unsigned blocks_done;
__device__ float partial[1024];
__device__ int counter, lock_word, guarded;
__device__ int hits[4];

__device__ __forceinline__ float warp_sum(float v) {
  for (int o = 16; o; o /= 2) v += __shfl_down_sync(~0u, v, o);
  return v;
}

// Sum of n integers as floats; the last block adds the blocks' sums in order.
K reduction(const float* in, float* out, int n) {
  __shared__ float part[32];
  __shared__ bool last;
  float s = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) s += in[i];
  s = warp_sum(s);
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = s;
  __syncthreads();
  if (threadIdx.x == 0) {
    float t = 0;
    for (int i = 0; i < blockDim.x / 32; i++) t += part[i];
    partial[blockIdx.x] = t;
    __threadfence();
    last = atomicAdd(&blocks_done, 1) == gridDim.x - 1;
  }
  __syncthreads();
  if (last && threadIdx.x == 0) {
    float t = 0;
    for (int i = 0; i < gridDim.x; i++) t += ((volatile float*)partial)[i];
    *out = t;
    blocks_done = 0;
  }
}

// Inclusive scan of a block in dynamic shared memory (Hillis and Steele).
K scan(const int* in, int* out) {
  extern __shared__ int buf[];
  int t = threadIdx.x, n = blockDim.x;
  buf[t] = in[blockIdx.x * n + t];
  __syncthreads();
  for (int o = 1; o < n; o *= 2) {
    int v = t >= o ? buf[t - o] : 0;
    __syncthreads();
    buf[t] += v;
    __syncthreads();
  }
  out[blockIdx.x * n + t] = buf[t];
}

K transpose(const float* in, float* out, int rows, int cols) {
  __shared__ float tile[32][33];
  int x = blockIdx.x * 32 + threadIdx.x, y = blockIdx.y * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < cols && y + j < rows) tile[threadIdx.y + j][threadIdx.x] = in[(y + j) * cols + x];
  __syncthreads();
  x = blockIdx.y * 32 + threadIdx.x;
  y = blockIdx.x * 32 + threadIdx.y;
  for (int j = 0; j < 32; j += 8)
    if (x < rows && y + j < cols) out[(y + j) * rows + x] = tile[threadIdx.x][threadIdx.y + j];
}

K histogram(const unsigned char* in, u32* out, int n) {
  __shared__ u32 bins[256];
  for (int i = threadIdx.x; i < 256; i += blockDim.x) bins[i] = 0;
  __syncthreads();
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) atomicAdd(&bins[in[i]], 1);
  __syncthreads();
  for (int i = threadIdx.x; i < 256; i += blockDim.x) atomicAdd(&out[i], bins[i]);
}

K bitonic(u32* data) {
  __shared__ u32 s[512];
  int t = threadIdx.x;
  s[t] = data[t];
  s[t + 256] = data[t + 256];
  for (int k = 2; k <= 512; k *= 2)
    for (int j = k / 2; j > 0; j /= 2) {
      __syncthreads();
      int i = 2 * t - (t & (j - 1));
      bool up = (i & k) == 0;
      if ((s[i] > s[i + j]) == up) {
        u32 v = s[i];
        s[i] = s[i + j];
        s[i + j] = v;
      }
    }
  __syncthreads();
  data[t] = s[t];
  data[t + 256] = s[t + 256];
}

K matmul(const float* a, const float* b, float* c, int n) {
  __shared__ float ta[16][16], tb[16][16];
  int x = threadIdx.x, y = threadIdx.y, col = blockIdx.x * 16 + x, row = blockIdx.y * 16 + y;
  float s = 0;
  for (int k = 0; k < n; k += 16) {
    ta[y][x] = row < n && k + x < n ? a[row * n + k + x] : 0;
    tb[y][x] = col < n && k + y < n ? b[(k + y) * n + col] : 0;
    __syncthreads();
    for (int i = 0; i < 16; i++) s += ta[y][i] * tb[i][x];
    __syncthreads();
  }
  if (row < n && col < n) c[row * n + col] = s;
}

// One warp: C (16 x 16) = A (16 x k) B (k x 16), by wmma; A by rows, B by columns.
K wmma_matmul(const half* a, const half* b, float* c, int k) {
  using namespace nvcuda::wmma;
  fragment<matrix_a, 16, 16, 16, half, row_major> fa;
  fragment<matrix_b, 16, 16, 16, half, col_major> fb;
  fragment<accumulator, 16, 16, 16, float> fc;
  fill_fragment(fc, 0.0f);
  for (int i = 0; i < k; i += 16) {
    load_matrix_sync(fa, a + i, k);
    load_matrix_sync(fb, b + i, k);
    mma_sync(fc, fa, fb, fc);
  }
  for (int i = 0; i < fc.num_elements; i++) fc.x[i] *= 2;
  store_matrix_sync(c, fc, 16, mem_row_major);
}

K wmma_half(const half* a, const half* b, half* c) { // m32n8k16, fp16 sums, B by rows, C by columns
  using namespace nvcuda::wmma;
  fragment<matrix_a, 32, 8, 16, half, col_major> fa;
  fragment<matrix_b, 32, 8, 16, half, row_major> fb;
  fragment<accumulator, 32, 8, 16, half> fc;
  fill_fragment(fc, __float2half(1.0f));
  load_matrix_sync(fa, a, 32);
  load_matrix_sync(fb, b, 8);
  mma_sync(fc, fa, fb, fc);
  store_matrix_sync(c, fc, 32, mem_col_major);
}

K wmma_int(const signed char* a, const signed char* b, int* c) { // m8n32k16
  using namespace nvcuda::wmma;
  fragment<matrix_a, 8, 32, 16, signed char, row_major> fa;
  fragment<matrix_b, 8, 32, 16, signed char, col_major> fb;
  fragment<accumulator, 8, 32, 16, int> fc;
  fill_fragment(fc, 7);
  load_matrix_sync(fa, a, 16);
  load_matrix_sync(fb, b, 16);
  mma_sync(fc, fa, fb, fc);
  store_matrix_sync(c, fc, 32, mem_row_major);
}

// One warp: C (16 x 8) = A (16 x 16, rows) B (16 x 8, rows) by ldmatrix and mma.m16n8k8.
K mma_matmul(const half* a, const half* b, float* c) {
  __shared__ __align__(16) half sa[16 * 16], sb[16 * 8];
  int l = threadIdx.x;
  for (int i = l; i < 256; i += 32) sa[i] = a[i];
  for (int i = l; i < 128; i += 32) sb[i] = b[i];
  __syncwarp();
  float d[4] = {0, 0, 0, 0};
  u32 ra[4], rb[2];
  u32 pa = (u32)__cvta_generic_to_shared(sa + (l % 16) * 16 + l / 16 * 8), pb = (u32)__cvta_generic_to_shared(sb + (l % 16) * 8);
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];" : "=r"(ra[0]), "=r"(ra[1]), "=r"(ra[2]), "=r"(ra[3]) : "r"(pa));
  asm volatile("ldmatrix.sync.aligned.m8n8.x2.trans.shared.b16 {%0,%1}, [%2];" : "=r"(rb[0]), "=r"(rb[1]) : "r"(pb));
  for (int k = 0; k < 2; k++)
    asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
                 : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(ra[2 * k]), "r"(ra[2 * k + 1]), "r"(rb[k]));
  int r = l / 4, q = l % 4 * 2;
  c[r * 8 + q] = d[0];
  c[r * 8 + q + 1] = d[1];
  c[(r + 8) * 8 + q] = d[2];
  c[(r + 8) * 8 + q + 1] = d[3];
}

__device__ __noinline__ int fibonacci(int n) { return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2); }
K recursion(int* out) { out[threadIdx.x] = fibonacci(threadIdx.x % 12); }

__device__ __noinline__ int twice(int x) { return 2 * x; }
__device__ __noinline__ int square(int x) { return x * x; }
__device__ int (*functions[2])(int) = {twice, square};
K pointers(int* out) { out[threadIdx.x] = functions[threadIdx.x % 2](threadIdx.x + 1); }

struct pair { int key[3]; double value; };
__device__ __noinline__ pair swap_pair(pair p, int k) { p.key[k % 3] += k; p.value *= 0.5; return p; }
K structs(pair p, double* out) {
  pair q = swap_pair(p, threadIdx.x);
  out[threadIdx.x] = q.key[threadIdx.x % 3] + q.value;
}

K print(int n) {
  if (threadIdx.x == 1) printf("n=%d x=%.3f %s %c %llx\n", n, n * 0.5, "text", 'c', 0x123456789abcull);
}

K table(int* out) { out[threadIdx.x] = const_table[(threadIdx.x * 7) & 15]; }

K votes(const int* in, u32* out) {
  int v = in[threadIdx.x], w = threadIdx.x / 32, l = threadIdx.x % 32;
  u32 ballot = __ballot_sync(~0u, v > 2), same = __match_any_sync(~0u, v);
  int all, any = __any_sync(~0u, v == 7);
  u32 agree = __match_all_sync(~0u, w, &all);
  u32 low = 0;
  if (l < 20) low = __ballot_sync(0xfffff, v & 1);
  out[threadIdx.x * 4] = ballot;
  out[threadIdx.x * 4 + 1] = same;
  out[threadIdx.x * 4 + 2] = low;
  out[threadIdx.x * 4 + 3] = any | all << 1 | (agree == ~0u) << 2 | __all_sync(~0u, v < 100) << 3;
}

K doubles(const double* in, double* out) {
  double x = in[threadIdx.x];
  out[threadIdx.x * 4] = sqrt(x) + 1.0 / x;
  out[threadIdx.x * 4 + 1] = fma(x, x, -1.0);
  out[threadIdx.x * 4 + 2] = sin(x);
  out[threadIdx.x * 4 + 3] = exp(-x) * log(x);
}

K singles(const float* in, float* out) { // the CUDA math library's own code, through many instructions
  float x = in[threadIdx.x];
  out[threadIdx.x * 8] = sqrtf(x) / (x + 1);
  out[threadIdx.x * 8 + 1] = expf(-x);
  out[threadIdx.x * 8 + 2] = logf(x);
  out[threadIdx.x * 8 + 3] = sinf(x * 1000);
  out[threadIdx.x * 8 + 4] = powf(x, 1.7f);
  out[threadIdx.x * 8 + 5] = tanhf(x - 2);
  out[threadIdx.x * 8 + 6] = fmodf(x * 100, 3.3f);
  out[threadIdx.x * 8 + 7] = rintf(x * 10) + floorf(x) + __int2float_rd(-7);
}

// Divergence: nested loops of different lengths, breaks, continues, an early return, a switch.
K divergence(int* out, int n) {
  int i = blockIdx.x * blockDim.x + threadIdx.x, s = 0;
  if (i >= n) return;
  for (int a = 0; a < i % 17; a++) {
    if (a == 11) break;
    if (a % 3 == i % 3) continue;
    for (int b = a; b < i % 7 + a; b++) s += a * b + 1;
  }
  switch (i % 9) {
  case 0: s += 5; break;
  case 1: s -= 7; // fall through
  case 2: s *= 3; break;
  case 3: s ^= 0x55; break;
  case 4: s <<= 2; break;
  case 5: s = -s; break;
  case 6: s += i; break;
  default: s += 1000;
  }
  if (i % 2) {
    while (s > 10 && (s & 1) == 0) s /= 2;
  } else if (i % 5 == 0) {
    s = s % 13 + 1;
  }
  out[i] = s;
}

// A lock taken by every thread, lanes of one warp among them.
K spin_lock(int* total) {
  bool done = false;
  while (!done) {
    if (atomicCAS(&lock_word, 0, 1) == 0) {
      __threadfence();
      *(volatile int*)&guarded = *(volatile int*)&guarded + 1;
      __threadfence();
      atomicExch(&lock_word, 0);
      done = true;
    }
  }
  if (atomicAdd(&counter, 1) == gridDim.x * blockDim.x - 1) {
    *total = *(volatile int*)&guarded;
    guarded = counter = 0;
  }
}

// A lock as it is written for independent thread scheduling: the loser spins until the winner has let go.
K spin_wait(int* total) {
  while (atomicCAS(&lock_word, 0, 1) != 0) {}
  __threadfence();
  *(volatile int*)&guarded = *(volatile int*)&guarded + 1;
  __threadfence();
  atomicExch(&lock_word, 0);
  if (atomicAdd(&counter, 1) == gridDim.x * blockDim.x - 1) {
    *total = *(volatile int*)&guarded;
    guarded = counter = 0;
  }
}

// All blocks meet, by hand.
__device__ unsigned arrived;
K grid_barrier(int* data) {
  if (threadIdx.x == 0) {
    data[blockIdx.x] = blockIdx.x + 1;
    __threadfence();
    atomicAdd(&arrived, 1);
    while (*(volatile unsigned*)&arrived < gridDim.x) {}
    __threadfence();
  }
  __syncthreads();
  int s = 0;
  if (threadIdx.x == 0) {
    for (int i = 0; i < gridDim.x; i++) s += ((volatile int*)data)[i];
    data[gridDim.x + blockIdx.x] = s;
  }
}

// Barriers of parts of a block: two groups of warps hand a value to and fro; barrier reductions.
K barriers(int* out) {
  __shared__ int box[128];
  int t = threadIdx.x;
  if (t < 64) {
    box[t] = t * 3;
    asm volatile("bar.arrive 1, 128;" ::: "memory");
    asm volatile("bar.sync 2, 64;" ::: "memory");
    out[t] = box[63 - t];
  } else {
    asm volatile("bar.sync 1, 128;" ::: "memory");
    out[t] = box[t - 64] + 1;
  }
  int odd = __syncthreads_count(t % 2), any = __syncthreads_or(t == 77), every = __syncthreads_and(t < 128);
  out[128 + t] = odd + any * 1000 + every * 10000;
}

// Lanes hand values within a diverged warp.
K warp_sync(int* out) {
  __shared__ volatile int box[32];
  int l = threadIdx.x;
  if (l < 16) {
    box[l] = l + 100;
    __syncwarp();
    out[l] = box[l + 16];
  } else {
    box[l] = l + 200;
    __syncwarp();
    out[l] = box[l - 16];
  }
}

K local_arrays(int* out, int k) {
  int a[20];
  short h[10];
  for (int i = 0; i < 20; i++) a[i] = i * threadIdx.x;
  for (int i = 0; i < 10; i++) h[i] = (short)(i - k);
  a[k % 20] += 5;
  int s = 0;
  for (int i = 0; i < 20; i++) s += a[(i * k) % 20] - h[i % 10];
  out[threadIdx.x] = s;
}

K atomics(int* out, float* f, unsigned long long* q) {
  int t = blockIdx.x * blockDim.x + threadIdx.x;
  atomicMin(&out[0], t - 5);
  atomicMax(&out[1], t * 3);
  atomicOr((u32*)&out[2], 1u << (t % 31));
  atomicAnd((u32*)&out[3], ~(1u << (t % 7)));
  atomicXor((u32*)&out[4], t);
  atomicInc((u32*)&out[5], 99);
  atomicDec((u32*)&out[6], 1000);
  atomicSub(&out[7], 2);
  atomicAdd(f, 1.0f);
  atomicAdd(q, 3ull);
  atomicAdd((double*)(q + 1), 0.5);
  atomicAdd((half2*)(q + 2), __floats2half2_rn(1, 2));
  atomicMax((long long*)(q + 3), (long long)t - 1000);
}
