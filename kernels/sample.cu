// The next id of each row of logits, chosen on the device: greedily, or drawn from what temperature, top-k, top-p and
// min-p leave, as runtime/sampler.h says and with the same random number.
//
// Shapes: struct phi3_sample. Grid (rows), 1024 threads. Nothing is sorted: a token's rank is its distance to the best
// one in fixed point, its weight exp(-distance) as an integer. "The token at which the running sum, best first, passes
// a target" is found by four histograms of 256 bins over the rank's bytes; with weights of 1 that is top-k, with a
// share of all weight top-p, and with the random share of what is left the draw. Integer sums have no order, so two
// runs give the same id.
// Ideal bytes: 4 vocab a row once; it is read again from L2, 4 times a search.
#include "common.cuh"

namespace {

constexpr int THREADS = 1024, BINS = 256;
// 2^26: distances up to 64, where a weight is 0. Logits / temperature nearer to each other than 2^-26 are a tie, which the
// lower id leads: their weights are the same to eight digits.
constexpr float RANK_SCALE = 67108864.0f;
constexpr float WEIGHT_SCALE = 1099511627776.0f; // 2^40: 2^23 tokens' sum fits 64 bits

struct Row {
  const float *logits;
  int32_t vocab;
  float temperature, best; // the largest logit / temperature
};

// Threads' values to the largest one.
__device__ __forceinline__ unsigned long long block_max(unsigned long long v, unsigned long long *shared) {
#pragma unroll
  for (int o = 16; o; o /= 2) v = max(v, __shfl_xor_sync(0xffffffffu, v, o));
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  v = shared[threadIdx.x % 32];
#pragma unroll
  for (int o = 16; o; o /= 2) v = max(v, __shfl_xor_sync(0xffffffffu, v, o));
  __syncthreads();
  return v;
}

// Orders like the float: the larger, the larger. The two zeros are one.
__device__ __forceinline__ uint32_t order_key(float v) {
  const uint32_t u = __float_as_uint(__fadd_rn(v, 0.0f));
  return u & 0x80000000u ? ~u : u | 0x80000000u;
}
__device__ __forceinline__ float order_value(uint32_t k) { return __uint_as_float(k & 0x80000000u ? k & 0x7fffffffu : ~k); }

// 0: the best token. Grows with the distance.
__device__ __forceinline__ uint32_t rank_of(const Row &r, int i) {
  const float distance = __fadd_rn(r.best, -__fdiv_rn(r.logits[i], r.temperature));
  return distance < 63.0f ? (uint32_t)__fmul_rn(distance, RANK_SCALE) : 0xffffffffu;
}
__device__ __forceinline__ unsigned long long weight_of(uint32_t rank) {
  return rank == 0xffffffffu ? 0 : (unsigned long long)__fmul_rn(expf(-__fmul_rn((float)rank, 1 / RANK_SCALE)), WEIGHT_SCALE);
}

struct Found {
  uint32_t rank;
  unsigned long long before; // sum of the ranks below
};

// The first rank at which the sum over ranks up to it exceeds `target`, which must be less than the sum over all ranks
// up to `last`.
template <bool COUNT> __device__ __forceinline__ Found search(const Row &r, uint32_t last, unsigned long long target, unsigned long long *bins, Found *found) {
  Found f = {0, 0};
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int i = threadIdx.x; i < BINS; i += THREADS) bins[i] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < r.vocab; i += THREADS) {
      const uint32_t rank = rank_of(r, i);
      if (rank <= last && (shift == 24 || rank >> (shift + 8) == f.rank >> (shift + 8))) {
        const unsigned long long w = COUNT ? 1 : weight_of(rank);
        if (w) atomicAdd(&bins[rank >> shift & 255], w);
      }
    }
    __syncthreads();
    if (threadIdx.x < 32) { // eight bins a lane
      unsigned long long sum = 0, upto;
      for (int i = 0; i < 8; i++) sum += bins[threadIdx.x * 8 + i];
      upto = sum;
      for (int o = 1; o < 32; o *= 2) {
        const unsigned long long v = __shfl_up_sync(0xffffffffu, upto, o);
        if ((int)threadIdx.x >= o) upto += v;
      }
      unsigned long long before = f.before + upto - sum;
      if (before <= target && target < before + sum) {
        int bin = threadIdx.x * 8;
        while (before + bins[bin] <= target) before += bins[bin++];
        *found = {f.rank | (uint32_t)bin << shift, before};
      }
    }
    __syncthreads();
    f = *found;
    __syncthreads(); // read by all before the next one is written
  }
  return f;
}

// The n-th token (from 0) of a rank, by ascending id. A chunk of ids at a time: how many of this rank stand before each
// thread's.
__device__ __forceinline__ void nth_of_rank(const Row &r, uint32_t rank, unsigned long long n, int32_t *id) {
  for (int begin = 0; begin < r.vocab; begin += THREADS) {
    const int i = begin + threadIdx.x;
    const bool here = i < r.vocab && rank_of(r, i) == rank;
    const int count = __syncthreads_count(here);
    if (n < (unsigned long long)count) { // few of them: those before are counted anew
      if (here) {
        unsigned long long before = 0;
        for (int j = begin; j < i; j++) before += rank_of(r, j) == rank;
        if (before == n) *id = i;
      }
      return;
    }
    n -= count;
  }
}

// Sum of the weights of ranks up to `last`.
__device__ __forceinline__ unsigned long long total_weight(const Row &r, uint32_t last, unsigned long long *sum) {
  if (threadIdx.x == 0) *sum = 0;
  __syncthreads();
  unsigned long long mine = 0;
  for (int i = threadIdx.x; i < r.vocab; i += THREADS) {
    const uint32_t rank = rank_of(r, i);
    if (rank <= last) mine += weight_of(rank);
  }
#pragma unroll
  for (int o = 16; o; o /= 2) mine += __shfl_xor_sync(0xffffffffu, mine, o);
  if (threadIdx.x % 32 == 0) atomicAdd(sum, mine);
  __syncthreads();
  mine = *sum;
  __syncthreads();
  return mine;
}

// v times a share in [0, 1].
__device__ __forceinline__ unsigned long long share(unsigned long long v, float s) { return (unsigned long long)__dmul_rn((double)v, (double)s); }

} // namespace

PHI3_KERNEL __launch_bounds__(THREADS) phi3_sample_rows(phi3_sample p) {
  __shared__ unsigned long long bins[BINS], sum;
  __shared__ Found found;
  __shared__ int bad;
  const int row = blockIdx.x;
  const float *logits = p.logits + (int64_t)row * p.vocab;
  if (threadIdx.x == 0) bad = 0;
  __syncthreads();
  unsigned long long best = 0; // the value, then the lower id
  for (int i = threadIdx.x; i < p.vocab; i += THREADS) {
    const float v = logits[i];
    if (!(v < INFINITY)) bad = 1; // or NaN
    best = max(best, (unsigned long long)order_key(v) << 32 | (0xffffffffu - (uint32_t)i));
  }
  best = block_max(best, bins);
  const float largest = order_value((uint32_t)(best >> 32));
  int32_t *id = p.ids + row;
  if (bad || largest == -INFINITY) {
    if (threadIdx.x == 0) *id = -1;
    return;
  }
  if (p.temperature <= 0 || __fdiv_rn(largest, p.temperature) == INFINITY) {
    if (threadIdx.x == 0) *id = (int32_t)(0xffffffffu - (uint32_t)best);
    return;
  }
  const Row r = {logits, p.vocab, p.temperature, __fdiv_rn(largest, p.temperature)};
  uint32_t last = 0xfffffffeu; // of the ranks that are left; what weighs nothing cannot be drawn
  if (p.top_k > 0 && p.top_k < p.vocab) last = min(last, search<true>(r, 0xffffffffu, p.top_k - 1, bins, &found).rank);
  unsigned long long total = total_weight(r, last, &sum), ties = ~0ull; // of the last rank that are left
  if (p.top_p < 1) {
    // The fewest whose sum reaches top_p: those up to the one at which the sum passes the largest smaller value.
    unsigned long long reach = share(total, p.top_p);
    reach = reach ? reach - 1 : 0;
    const Found f = search<false>(r, last, min(reach, total - 1), bins, &found);
    last = f.rank;
    ties = (reach - f.before) / weight_of(f.rank) + 1;
    total = f.before + ties * weight_of(f.rank);
  }
  if (p.min_p > 0) {
    const unsigned long long least = share(weight_of(0), p.min_p);
    uint32_t lo = 0, hi = last; // the last rank that weighs as much: weights fall with the rank
    while (lo < hi) {
      const uint32_t middle = lo + (hi - lo + 1) / 2;
      if (weight_of(middle) >= least) lo = middle;
      else hi = middle - 1;
    }
    if (lo < last) {
      last = lo;
      total = total_weight(r, last, &sum);
    }
  }
  const unsigned long long target = __umul64hi(p.random[row], total);
  const Found f = search<false>(r, last, target, bins, &found);
  nth_of_rank(r, f.rank, (target - f.before) / weight_of(f.rank), id);
}
