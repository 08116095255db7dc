// The base room: errors, memory, files, halves, threads, .npy, JSON.
#include "tests/test.h"
#include "runtime/base/file.h"
#include "runtime/base/half.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include "runtime/base/npy.h"
#include "runtime/base/pool.h"
#include <math.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

static struct err e;

static void errors_keep_context(void **state) {
  (void)state;
  assert_false(err_set(&e, "tensor %s: wrong", "x"));
  assert_false(err_context(&e, "file %d", 3));
  assert_string_equal(e.text, "file 3: tensor x: wrong");
  char longest[3000];
  memset(longest, 'a', sizeof longest - 1);
  longest[sizeof longest - 1] = 0;
  err_set(&e, "key '%s'", "a\nb\x1b[31m\x7f");
  assert_string_equal(e.text, "key 'a?b?[31m?'");
  err_context(&e, "%s", "c\td");
  assert_string_equal(e.text, "c?d: key 'a?b?[31m?'");
  err_set(&e, "%s", longest);
  err_context(&e, "%s", longest);
  assert_int_equal(strlen(e.text), sizeof e.text - 1);
}

static void memory_is_zeroed_aligned_and_checked(void **state) {
  (void)state;
  uint8_t *p = mem_alloc(100, 3, "a thing", &e);
  assert_non_null(p);
  assert_int_equal((uintptr_t)p % 64, 0);
  for (int i = 0; i < 300; i++) assert_int_equal(p[i], 0);
  memset(p, 7, 300);
  p = mem_grow(p, 100, 200, 3, "a thing", &e);
  for (int i = 0; i < 600; i++) assert_int_equal(p[i], i < 300 ? 7 : 0);
  mem_free(p);
  assert_null(mem_alloc(SIZE_MAX / 2, 4, "too much", &e));
  assert_true(e.no_memory && strstr(e.text, "too much"));
  mem_fail_from(2);
  void *a = mem_alloc(1, 1, "first", &e), *b = mem_alloc(1, 1, "second", &e);
  mem_fail_from(0);
  assert_true(a && !b);
  mem_free(a);
}

// The definition, in double: the nearest half, ties to the even one.
static uint16_t nearest_half(float f) {
  double best = INFINITY;
  uint16_t answer = 0;
  for (uint32_t h = 0; h < 0x7c00; h++) {
    int exponent = (int)(h >> 10);
    double v = exponent ? ldexp(1024 + (h & 1023), exponent - 25) : ldexp(h & 1023, -24), d = fabs(v - fabs((double)f));
    if (d < best || (d == best && !(h & 1))) best = d, answer = (uint16_t)h;
  }
  return (uint16_t)(answer | (signbit(f) ? 0x8000 : 0));
}

static void halves_convert(void **state) {
  (void)state;
  for (uint32_t h = 0; h < 65536; h++) {
    float f = f16_to_f32((uint16_t)h);
    if ((h & 0x7c00) == 0x7c00 && (h & 1023)) {
      assert_true(isnan(f));
      assert_true(isnan(f16_to_f32(f32_to_f16(f))));
      continue;
    }
    assert_int_equal(f32_to_f16(f), h);
    float b = bf16_to_f32((uint16_t)h);
    if (!isnan(b)) assert_int_equal(f32_to_bf16(b), h);
    else assert_true(isnan(bf16_to_f32(f32_to_bf16(b))));
  }
  uint64_t seed = test_seed();
  for (int i = 0; i < 300; i++) {
    float f = ldexpf((float)test_uniform(&seed) + 1, (int)(test_random(&seed) % 42) - 26);
    if (test_random(&seed) & 1) f = -f;
    if (fabsf(f) < 65504) assert_int_equal(f32_to_f16(f), nearest_half(f));
  }
  for (uint32_t h = 0; h < 0x7bff; h++) { // halfway to the next: to the even one
    float f = (f16_to_f32((uint16_t)h) + f16_to_f32((uint16_t)(h + 1))) / 2;
    assert_int_equal(f32_to_f16(f), h + (h & 1));
    assert_int_equal(f32_to_f16(-f), 0x8000 | (h + (h & 1)));
  }
  for (uint32_t bit = 0; bit < 23; bit++) { // whatever a NaN carries
    assert_true(isnan(f16_to_f32(f32_to_f16(f32_from_bits(0x7f800000u | 1u << bit)))));
    assert_true(isnan(bf16_to_f32(f32_to_bf16(f32_from_bits(0x7f800000u | 1u << bit)))));
  }
  assert_int_equal(f32_to_f16(65519.99f), 0x7bff);
  assert_int_equal(f32_to_f16(65520.0f), 0x7c00);
  assert_int_equal(f32_to_f16(-INFINITY), 0xfc00);
  assert_int_equal(f32_to_f16(0x1p-25f), 0); // a tie, to even
  assert_int_equal(f32_to_f16(0x1.000002p-25f), 1);
  assert_int_equal(f32_to_bf16(f32_from_bits(0x3f808000)), 0x3f80); // ties to even
  assert_int_equal(f32_to_bf16(f32_from_bits(0x3f818000)), 0x3f82);
}

static void count_items(void *ctx, int64_t begin, int64_t end, int thread) {
  atomic_int *seen = ctx;
  assert_true(thread >= 0);
  for (int64_t i = begin; i < end; i++) atomic_fetch_add(&seen[i], 1);
}

static void pools_do_each_item_once(void **state) {
  (void)state;
  static atomic_int seen[1000];
  for (int threads = 1; threads <= 7; threads += 3) {
    struct pool *p = pool_open(threads, &e);
    assert_non_null(p);
    for (int round = 0; round < 200; round++) {
      int64_t n = round * 5;
      memset(seen, 0, sizeof seen);
      pool_for(p, n, 1 + round % 9, count_items, seen);
      for (int64_t i = 0; i < 1000; i++) assert_int_equal(atomic_load(&seen[i]), i < n);
    }
    pool_close(p);
  }
}

struct slow {
  atomic_int done, busy[4], shared; // shared: two pieces at a time had the same thread's number
};

// A worker takes longer than the caller, which then waits for it.
static void slow_piece(void *ctx, int64_t begin, int64_t end, int thread) {
  struct slow *s = ctx;
  if (atomic_exchange(&s->busy[thread], 1)) atomic_store(&s->shared, 1);
  usleep(thread ? 3000 : 500);
  atomic_store(&s->busy[thread], 0);
  atomic_fetch_add(&s->done, (int)(end - begin));
}

static void a_loop_ends_with_its_last_piece(void **state) {
  (void)state;
  struct pool *p = pool_open(4, &e);
  assert_non_null(p);
  for (int round = 0; round < 20; round++) {
    struct slow s = {0};
    int pieces = round % 2 ? 8 : 4; // a thread's are counted together: of four, one by one
    pool_for(p, pieces, 1, slow_piece, &s);
    assert_int_equal(atomic_load(&s.done), pieces);
    assert_int_equal(atomic_load(&s.shared), 0);
  }
  pool_close(p);
}

// Pieces that take no time: threads meet at the same ones.
static void no_piece_is_taken_twice(void **state) {
  (void)state;
  enum { PIECES = 20000 };
  static atomic_int seen[PIECES];
  struct pool *p = pool_open(4, &e);
  assert_non_null(p);
  for (int round = 1; round <= 100; round++) {
    pool_for(p, PIECES, 1, count_items, seen);
    for (int64_t i = 0; i < PIECES; i++)
      if (atomic_load(&seen[i]) != round)
        fail_msg("round %d: piece %lld ran %d times", round, (long long)i, atomic_load(&seen[i]) - round + 1);
  }
  pool_close(p);
}

static void files_are_whole_or_absent(void **state) {
  (void)state;
  char dir[] = "/tmp/phi3-base-XXXXXX", sub[64], path[80];
  assert_non_null(mkdtemp(dir));
  snprintf(sub, sizeof sub, "%s/a/b", dir);
  snprintf(path, sizeof path, "%s/x", sub);
  assert_ok(file_make_dir(sub, &e));
  assert_ok(file_make_dir(sub, &e));
  assert_ok(file_write(path, "hello", 5, &e));
  struct file f;
  assert_ok(file_map(&f, path, &e));
  assert_int_equal(f.size, 5);
  assert_memory_equal(f.data, "hello", 5);
  file_unmap(&f);
  assert_ok(file_write(path, "", 0, &e));
  assert_ok(file_map(&f, path, &e));
  assert_int_equal(f.size, 0);
  file_unmap(&f);
  assert_fails(file_map(&f, sub, &e), "not a regular file");
  assert_fails(file_map(&f, "/nowhere/x", &e), "/nowhere/x");
  assert_fails(file_write("/nowhere/x", "a", 1, &e), "/nowhere/x");
  assert_fails(file_write("/dev/full", "a", 1, &e), "/dev/full"); // written to, not replaced
  assert_ok(file_write("/dev/null", "a", 1, &e));
  assert_ok(file_can_write(NULL, &e));
  assert_ok(file_can_write(path, &e)); // which leaves the file that is there as it is
  assert_ok(file_can_write("/dev/null", &e));
  assert_true(file_exists(path));
  snprintf(path, sizeof path, "%s/y", sub);
  assert_ok(file_can_write(path, &e));
  assert_false(file_exists(path));
  assert_fails(file_can_write("/nowhere/x", &e), "/nowhere/x: cannot create");
  assert_fails(file_can_write(sub, &e), "is a folder");
  snprintf(path, sizeof path, "%s/x", sub);
  assert_fails(file_map(&f, "/dev/null", &e), "not a regular file");
  unlink(path);
  assert_int_equal(mkfifo(path, 0600), 0); // nobody writes to it, and nobody waits for that
  assert_fails(file_map(&f, path, &e), "not a regular file");
  assert_fails(file_make_dir(path, &e), path);
  unlink(path);
  char clean[96];
  snprintf(clean, sizeof clean, "rm -r %s", dir);
  assert_int_equal(system(clean), 0); // and no temporary file kept it from being the only one
}

static void npy_round_trips(void **state) {
  (void)state;
  char path[] = "/tmp/phi3-npy-XXXXXX";
  close(mkstemp(path));
  float x[6] = {1, -2, 3.5f, 0, 1e-30f, 7};
  assert_ok(npy_write(path, "f4", 2, (int64_t[]){2, 3}, x, &e));
  struct npy a;
  assert_ok(npy_read(&a, path, &e));
  assert_int_equal(a.dims, 2);
  assert_int_equal(a.shape[0], 2);
  assert_int_equal(a.shape[1], 3);
  assert_memory_equal(a.data, x, sizeof x);
  npy_free(&a);
  assert_ok(npy_write(path, "i8", 1, (int64_t[]){0}, NULL, &e));
  assert_ok(npy_read(&a, path, &e));
  assert_int_equal(npy_count(&a), 0);
  npy_free(&a);
  assert_ok(file_write(path, "\x93NUMPY\x01\x00\x02\x00{}", 12, &e));
  assert_fails(npy_read(&a, path, &e), path);
  npy_free(&a);
  // A shape of 2^65 + 1 elements: the product wraps around to the one that is there.
  static const char huge[] = "\x93NUMPY\x01\x00\x4e\x00"
                             "{'descr': '<f4', 'fortran_order': False, 'shape': (11806113, 409891, 7623851)}abcd";
  assert_ok(file_write(path, huge, sizeof huge - 1, &e));
  assert_fails(npy_read(&a, path, &e), "does not fit");
  npy_free(&a);
  unlink(path);
}

static void json_errors_name_the_line(void **state) {
  (void)state;
  assert_null(json_read_memory("{\n\"a\": 1,\n\"a\": 2}", 17, "x.json", &e));
  assert_true(strstr(e.text, "x.json: line 3") != NULL);
  assert_null(json_read_memory("", 0, "x.json", &e));
  json_t *ok = json_read_memory("[1]", 3, "x.json", &e);
  assert_non_null(ok);
  json_decref(ok);
  for (long k = 1; k < 100; k++) {
    mem_fail_from(k);
    json_t *r = json_read_memory("{\"a\": [1, 2, \"x\"]}", 18, "x.json", &e);
    mem_fail_from(0);
    if (!r) continue;
    json_decref(r);
    assert_true(k > 1);
    return;
  }
  fail_msg("never succeeded");
}

// Python writes them: 10^30 is the greatest length of a tokenizer that has none.
static void json_integers_may_be_wide(void **state) {
  (void)state;
  static const char text[] = // a long name first: without memory for a long number Jansson 2.14 ends the program
      "{\"a name that makes room for all numbers\": null, \"a\": 1000000000000000019884624838656, \"b\": "
      "[9223372036854775807,9223372036854775808,-9223372036854775809],"
      "\"c 99999999999999999999 \\\" 99999999999999999999 \\\\\": \"99999999999999999999\", \"d\": "
      "99999999999999999999.5,"
      "\"e\":99999999999999999999e1}";
  for (long k = 1; k < 100; k++) {
    mem_fail_from(k);
    json_t *r = json_read_memory(text, sizeof text - 1, "x.json", &e);
    mem_fail_from(0);
    if (!r) {
      assert_non_null(strstr(e.text, "memory"));
      continue;
    }
    const json_t *b = json_object_get(r, "b");
    assert_true(json_real_value(json_object_get(r, "a")) == 1e30);
    assert_true(json_integer_value(json_array_get(b, 0)) == INT64_MAX);
    assert_true(json_real_value(json_array_get(b, 1)) == 0x1p63 && json_real_value(json_array_get(b, 2)) == -0x1p63);
    assert_string_equal(json_string_value(json_object_get(r, "c 99999999999999999999 \" 99999999999999999999 \\")),
                        "99999999999999999999");
    assert_true(json_real_value(json_object_get(r, "d")) == 99999999999999999999.5);
    assert_true(json_real_value(json_object_get(r, "e")) == 99999999999999999999e1);
    json_decref(r);
    assert_null(json_read_memory("[1e999, 99999999999999999999]", 29, "x.json", &e));
    assert_non_null(strstr(e.text, "overflow"));
    return;
  }
  fail_msg("never succeeded");
}

int main(void) {
  const struct CMUnitTest tests[] = {cmocka_unit_test(errors_keep_context),
                                     cmocka_unit_test(memory_is_zeroed_aligned_and_checked),
                                     cmocka_unit_test(halves_convert),
                                     cmocka_unit_test(pools_do_each_item_once),
                                     cmocka_unit_test(a_loop_ends_with_its_last_piece),
                                     cmocka_unit_test(no_piece_is_taken_twice),
                                     cmocka_unit_test(files_are_whole_or_absent),
                                     cmocka_unit_test(npy_round_trips),
                                     cmocka_unit_test(json_errors_name_the_line),
                                     cmocka_unit_test(json_integers_may_be_wide)};
  return cmocka_run_group_tests(tests, NULL, NULL);
}
