// Attention over pages against a softmax in double, and against itself in other groups and other pages, to the bit.
#include "tests/cpu/cpu_test.h"
#include "runtime/base/half.h"
#include "runtime/cache/pages.h"
#include <math.h>

static uint64_t seed;
static struct attention_scratch scratch; // as the backend allocates it: zero at first

// Keys and values of one head at positions [0, length), and queries of `group` heads at each position.
struct problem {
  int32_t dim, length, group, window;
  float scale, *q, *k, *v; // [length, group, dim], [length, dim]
};

// The same laid out in pages, in any order.
struct paged {
  int32_t page_size, num_pages, *table;
  bool f16;
  char *keys, *values;
  int64_t page_bytes;
};

enum shape { PLAIN, OUTLIERS, DOMINANT };

static void problem_open(struct problem *p, int32_t dim, int32_t length, int32_t group, int32_t window,
                         enum shape shape) {
  *p = (struct problem){dim, length, group, window, (float)(1 / sqrt(dim)), NULL, NULL, NULL};
  int64_t nq = (int64_t)length * group * dim, n = (int64_t)length * dim;
  p->q = malloc((size_t)nq * sizeof *p->q);
  p->k = malloc((size_t)n * sizeof *p->k);
  p->v = malloc((size_t)n * sizeof *p->v);
  assert_true(p->q && p->k && p->v);
  for (int64_t i = 0; i < nq; i++) p->q[i] = random_value(&seed, shape == OUTLIERS);
  // Rounded to fp16, so that both kinds of page hold the same numbers.
  for (int64_t i = 0; i < n; i++) {
    float key = random_value(&seed, false) * (shape == DOMINANT && i / dim == length / 3 ? 100 : 1);
    p->k[i] = f16_to_f32(f32_to_f16(key));
    p->v[i] = f16_to_f32(f32_to_f16(random_value(&seed, shape == OUTLIERS)));
  }
}

static void problem_close(struct problem *p) {
  free(p->q);
  free(p->k);
  free(p->v);
}

static void put(char *base, int64_t index, bool f16, float value) {
  uint16_t h = f32_to_f16(value);
  if (f16) memcpy(base + 2 * index, &h, 2);
  else memcpy(base + 4 * index, &value, 4);
}

// What holds no token is NaN; pages that no query from position `first` on sees are not there.
static void paged_open(struct paged *g, const struct problem *p, int32_t page_size, bool f16, int32_t first) {
  int32_t blocks = (p->length + page_size - 1) / page_size;
  int64_t page = (int64_t)page_size * p->dim, total = (blocks + 1) * page;
  *g = (struct paged){page_size,
                      blocks + 1,
                      malloc((size_t)blocks * 4),
                      f16,
                      malloc((size_t)total * 4),
                      malloc((size_t)total * 4),
                      page * (f16 ? 2 : 4)};
  assert_true(g->table && g->keys && g->values);
  for (int64_t i = 0; i < total; i++) put(g->keys, i, f16, NAN), put(g->values, i, f16, NAN);
  for (int32_t i = 0; i < blocks; i++) { // a random order
    int32_t j = (int32_t)(test_random(&seed) % (uint64_t)(i + 1));
    g->table[i] = g->table[j];
    g->table[j] = i + 1;
  }
  for (int32_t t = 0; t < p->length; t++)
    for (int32_t d = 0; d < p->dim; d++) {
      int64_t base = g->table[t / page_size] * page, slot = t % page_size;
      put(g->keys, base + d * page_size + slot, f16, p->k[t * p->dim + d]);
      put(g->values, base + slot * p->dim + d, f16, p->v[t * p->dim + d]);
    }
  for (int32_t i = 0; p->window && (i + 1) * page_size <= first - p->window + 1; i++) g->table[i] = PAGE_NONE;
}

static void paged_close(struct paged *g) {
  free(g->table);
  free(g->keys);
  free(g->values);
}

// Pairs [first, first + count) of the (position, head) pairs into out[count, dim].
static void run(const struct cpu_kernels *kernels, const struct problem *p, const struct paged *g, int32_t first,
                int32_t count, float *out) {
  struct attention_task t = {.cache = {g->keys, g->values, g->page_bytes, g->page_size, p->dim, g->f16, g->table},
                             .num_pairs = count,
                             .window = p->window,
                             .scale = p->scale};
  for (int32_t i = 0; i < count; i++) {
    t.q[i] = p->q + (int64_t)(first + i) * p->dim;
    t.out[i] = out + (int64_t)i * p->dim;
    t.position[i] = (first + i) / p->group;
  }
  kernels->attention(&t, &scratch);
}

// Expected values and how far off rounding may be, for one pair.
static void reference(const struct problem *p, int32_t pair, double *out, double *bound) {
  int32_t last = pair / p->group, first = p->window && last >= p->window ? last - p->window + 1 : 0;
  double *s = malloc((size_t)p->length * sizeof *s), max = -INFINITY, total = 0, wrong = 0;
  for (int32_t j = first; j <= last; j++) {
    double size = 0;
    s[j] = 0;
    for (int32_t d = 0; d < p->dim; d++) {
      double product = (double)p->q[(int64_t)pair * p->dim + d] * p->k[(int64_t)j * p->dim + d];
      s[j] += product;
      size += fabs(product);
    }
    s[j] *= (double)p->scale;
    wrong = fmax(wrong, ((p->dim + 3) * size * (double)p->scale + fabs(s[j])) *
                            EPS); // of a score: its chain, scaling, shifting
    max = fmax(max, s[j]);
  }
  for (int32_t d = 0; d < p->dim; d++) out[d] = bound[d] = 0;
  for (int32_t j = first; j <= last; j++) {
    double e = exp(s[j] - max);
    total += e;
    for (int32_t d = 0; d < p->dim; d++) {
      out[d] += e * p->v[(int64_t)j * p->dim + d];
      bound[d] += e * fabs((double)p->v[(int64_t)j * p->dim + d]);
    }
  }
  // Weights are off by twice the score's error above and below the line, two ulps of exp in each of a tile's and the
  // keys' chain.
  double tiles = (last - first) / ATTENTION_KEYS + 2;
  for (int32_t d = 0; d < p->dim; d++) {
    out[d] /= total;
    bound[d] *= (2 * expm1(2 * wrong) + ((last - first + 1) + 8 * tiles + 12) * EPS) / total;
    bound[d] += 1e-30;
  }
  free(s);
}

static void check(int32_t dim, int32_t length, int32_t group, int32_t window, enum shape shape) {
  struct problem p;
  const struct cpu_kernels *kernels;
  problem_open(&p, dim, length, group, window, shape);
  int32_t pairs = length * group;
  double *expected = malloc((size_t)(pairs * dim) * sizeof(double)),
         *bound = malloc((size_t)(pairs * dim) * sizeof(double));
  for (int32_t i = 0; i < pairs; i++) reference(&p, i, expected + (int64_t)i * dim, bound + (int64_t)i * dim);
  for (int n = 0; (kernels = isa_next(&n));) {
    struct guarded first;
    guarded_open(&first, (int64_t)pairs * dim);
    for (int round = 0; round < 4; round++) { // pair by pair over fp32 pages, then in groups over other pages
      struct guarded out;
      struct paged pages;
      guarded_open(&out, (int64_t)pairs * dim);
      static const int32_t sizes[] = {64, 16, 5, 1};
      paged_open(&pages, &p, sizes[round], round % 2 == 1, 0);
      for (int32_t i = 0, count; i < pairs; i += count) {
        count = round == 0 ? 1 : round == 1 ? ATTENTION_ROWS : 1 + (int32_t)(test_random(&seed) % ATTENTION_ROWS);
        if (count > pairs - i) count = pairs - i;
        run(kernels, &p, &pages, i, count, out.data + (int64_t)i * dim);
      }
      guarded_check(&out, "attention");
      if (round == 0) {
        double wrong = 0, size = 0;
        memcpy(first.data, out.data, (size_t)(pairs * dim) * sizeof(float));
        for (int64_t i = 0; i < (int64_t)pairs * dim; i++) {
          fail_unless_close(out.data[i], expected[i], bound[i], kernels->isa, i);
          wrong += (out.data[i] - expected[i]) * (out.data[i] - expected[i]);
          size += expected[i] * expected[i];
        }
        if (shape == PLAIN) fail_unless_close(sqrt(wrong / size), 0, 1e-6, "relative error of attention", dim);
      }
      fail_unless_same(first.data, out.data, (int64_t)pairs * dim, "attention in other groups and pages");
      paged_close(&pages);
      guarded_close(&out);
    }
    guarded_close(&first);
  }
  free(expected);
  free(bound);
  problem_close(&p);
}

static void softmax_is_exact_to_rounding_in_any_groups_and_pages(void **state) {
  static const int32_t dims[] = {2, 8, 24, 32, 64, 80, 96, 128}, lengths[] = {1, 2, 17, 63, 64, 65, 127, 130};
  (void)state;
  for (int i = 0; i < 8; i++)
    for (int j = 0; j < 8; j++)
      check(dims[i], lengths[j], 1 + (i + j) % 3, (int32_t[]){0, 0, 1, 7, 64, 65, 100}[(i + 3 * j) % 7],
            (enum shape)((i + j) % 3));
  check(96, 400, 1, 129, PLAIN);
  check(64, 300, 8, 0, PLAIN);
}

// The last queries of a long sequence, whose pages behind the window are gone: edges around 2047 and 2048.
static void windows_are_exact_and_evicted_pages_unread(void **state) {
  const struct cpu_kernels *kernels;
  (void)state;
  for (int32_t window = 2046; window <= 2049; window++) {
    struct problem p;
    struct paged pages;
    double expected[96], bound[96];
    float out[20 * 96];
    problem_open(&p, 96, 2200, 1, window, PLAIN);
    paged_open(&pages, &p, 16, false, 2180);
    assert_int_equal(pages.table[0], PAGE_NONE);
    for (int n = 0; (kernels = isa_next(&n));) {
      run(kernels, &p, &pages, 2180, 20, out);
      for (int32_t i = 0; i < 20; i++) {
        reference(&p, 2180 + i, expected, bound);
        for (int d = 0; d < 96; d++) fail_unless_close(out[i * 96 + d], expected[d], bound[d], kernels->isa, d);
      }
    }
    paged_close(&pages);
    problem_close(&p);
  }
}

// Only the key at the window's edge differs: a query sees it or does not, to the bit.
static void the_window_ends_where_it_says(void **state) {
  const struct cpu_kernels *kernels;
  (void)state;
  struct problem p;
  problem_open(&p, 32, 200, 1, 70, PLAIN);
  for (int n = 0; (kernels = isa_next(&n));)
    for (int32_t query = 150; query < 154; query++)
      for (int32_t distance = 68; distance <= 71; distance++) {
        struct paged pages;
        float before[32], after[32];
        paged_open(&pages, &p, 16, false, 0);
        run(kernels, &p, &pages, query, 1, before);
        int32_t key = query - distance;
        for (int d = 0; d < 32; d++)
          put(pages.values, ((int64_t)pages.table[key / 16] * 16 + key % 16) * 32 + d, false, 1e3f);
        run(kernels, &p, &pages, query, 1, after);
        assert_int_equal(memcmp(before, after, sizeof before) != 0, distance < 70);
        paged_close(&pages);
      }
  problem_close(&p);
}

// A NaN in a later token's value must not reach the queries before it, though they share its tile.
static void the_future_stays_unseen(void **state) {
  const struct cpu_kernels *kernels;
  struct problem p;
  (void)state;
  problem_open(&p, 40, 60, 1, 0, PLAIN);
  for (int d = 0; d < 40; d++) p.k[33 * 40 + d] = p.v[33 * 40 + d] = NAN;
  for (int n = 0; (kernels = isa_next(&n));) {
    struct paged pages;
    float out[48 * 40];
    paged_open(&pages, &p, 16, false, 0);
    run(kernels, &p, &pages, 0, 48, out);
    for (int i = 0; i < 48 * 40; i++) assert_int_equal(isnan(out[i]) != 0, i / 40 >= 33);
    paged_close(&pages);
  }
  problem_close(&p);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(softmax_is_exact_to_rounding_in_any_groups_and_pages),
      cmocka_unit_test(windows_are_exact_and_evicted_pages_unread),
      cmocka_unit_test(the_window_ends_where_it_says),
      cmocka_unit_test(the_future_stays_unseen),
  };
  seed = test_seed();
  return cmocka_run_group_tests(tests, NULL, NULL);
}
