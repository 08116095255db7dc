// How a warp's addresses become sectors, wavefronts and transactions.
#include "runtime/vgpu/counters.h"
#include <string.h>

enum { LANES = 32, BANKS = 32, MAX_WORDS = 8 };

// All lanes, side by side: the common case, whose counts need no search.
static bool side_by_side(uint32_t mask, const uint64_t *addr, unsigned bytes) {
  if (mask != UINT32_MAX) return false;
  uint64_t off = 0;
  for (unsigned i = 1; i < LANES; i++) off |= addr[i] ^ (addr[0] + (uint64_t)i * bytes);
  return !off;
}

// Puts a sector into the sorted list if it is not there. Lanes mostly come in order, so the search starts at the end.
static unsigned place(uint64_t *sectors, uint32_t *extra, unsigned *n, uint64_t sector) {
  unsigned i = *n;
  while (i && sectors[i - 1] > sector) i--;
  if (i && sectors[i - 1] == sector) return i - 1;
  memmove(sectors + i + 1, sectors + i, (*n - i) * sizeof *sectors);
  memmove(extra + i + 1, extra + i, (*n - i) * sizeof *extra);
  sectors[i] = sector;
  extra[i] = 0;
  ++*n;
  return i;
}

unsigned vgpu_sectors(uint32_t mask, const uint64_t *addr, unsigned bytes, uint64_t *sectors, uint32_t *written) {
  unsigned n = 0;
  if (bytes > 64) bytes = 64;
  if (bytes <= 32 && addr[0] % 32 == 0 && side_by_side(mask, addr, bytes)) {
    for (; n < bytes; n++) sectors[n] = addr[0] / 32 + n, written[n] = UINT32_MAX;
    return n;
  }
  for (unsigned lane = 0; lane < LANES; lane++) {
    if (!(mask >> lane & 1)) continue;
    for (unsigned done = 0; done < bytes;) {
      uint64_t at = addr[lane] + done;
      unsigned from = (unsigned)(at % 32), take = 32 - from < bytes - done ? 32 - from : bytes - done;
      unsigned i = place(sectors, written, &n, at / 32);
      written[i] |= (take == 32 ? UINT32_MAX : (1u << take) - 1) << from;
      done += take;
    }
  }
  return n;
}

// The words of one group of lanes: passes over the banks, words new to the warp counted in *fresh.
struct words {
  uint64_t word[LANES * MAX_WORDS];
  unsigned n;
};

static bool seen(const struct words *w, uint64_t word) {
  for (unsigned i = w->n; i-- > 0;)
    if (w->word[i] == word) return true;
  return false;
}

static unsigned group_passes(uint32_t mask, const uint64_t *addr, unsigned bytes, unsigned first, unsigned lanes,
                             struct words *before) {
  struct words own = {.n = 0};
  unsigned depth[BANKS] = {0}, passes = 0;
  bool fresh = false;
  for (unsigned lane = first; lane < first + lanes; lane++) {
    if (!(mask >> lane & 1)) continue;
    for (uint64_t word = addr[lane] / 4; word <= (addr[lane] + bytes - 1) / 4; word++) {
      if (seen(&own, word) || own.n == LANES * MAX_WORDS) continue;
      own.word[own.n++] = word;
      fresh = fresh || !seen(before, word);
      unsigned d = ++depth[word % BANKS];
      if (d > passes) passes = d;
    }
  }
  if (!fresh) return 0;
  *before = own;
  return passes;
}

unsigned vgpu_shared_wavefronts(uint32_t mask, const uint64_t *addr, unsigned bytes) {
  if (bytes > 16) bytes = 16;
  unsigned lanes = bytes <= 4 ? 32 : bytes <= 8 ? 16 : 8, passes = 0;
  if (bytes >= 4 && side_by_side(mask, addr, bytes)) return LANES / lanes;
  struct words before = {.n = 0};
  for (unsigned first = 0; first < LANES; first += lanes) passes += group_passes(mask, addr, bytes, first, lanes, &before);
  return passes;
}

unsigned vgpu_shared_ideal(uint32_t mask, const uint64_t *addr, unsigned bytes) {
  if (bytes >= 4 && bytes <= 16 && side_by_side(mask, addr, bytes)) return bytes / 4;
  struct words all = {.n = 0};
  for (unsigned lane = 0; lane < LANES; lane++) {
    if (!(mask >> lane & 1)) continue;
    for (uint64_t word = addr[lane] / 4; word <= (addr[lane] + bytes - 1) / 4; word++)
      if (all.n < LANES * MAX_WORDS && !seen(&all, word)) all.word[all.n++] = word;
  }
  return (all.n + BANKS - 1) / BANKS;
}

unsigned vgpu_ldmatrix_wavefronts(uint32_t mask, const uint64_t *addr, unsigned matrices) {
  unsigned passes = 0;
  for (unsigned m = 0; m < matrices && m < 4; m++) {
    struct words none = {.n = 0};
    passes += group_passes(mask, addr, 16, 8 * m, 8, &none);
  }
  return passes;
}

unsigned vgpu_atomic_transactions(uint32_t mask, const uint64_t *addr, unsigned bytes, uint64_t *sectors, uint32_t *repeat) {
  unsigned n = 0;
  (void)bytes; // an atomic is aligned and lies in one sector
  for (unsigned lane = 0; lane < LANES; lane++) {
    if (!(mask >> lane & 1)) continue;
    unsigned same = 1;
    for (unsigned other = 0; other < lane; other++) same += (mask >> other & 1) && addr[other] == addr[lane];
    unsigned i = place(sectors, repeat, &n, addr[lane] / 32);
    if (same > repeat[i]) repeat[i] = same;
  }
  return n;
}
