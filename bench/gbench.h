// Google Benchmark as C sees it: cases are registered as functions, run by name filters, and reported as table, JSON or CSV by the library's
// own options (--benchmark_filter, --benchmark_format, --benchmark_out, --benchmark_repetitions, ...). Behind it stands gbench.cc, the only C++.
#pragma once
#include <stdbool.h>
#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

struct gb_state;
// Measures and calls gb_time once, or gb_fail. May be called several times: once a repetition.
typedef void (*gb_function)(struct gb_state *s, void *arg);

// Takes the library's options out of argv. `shown`: the counters of the console's table, NULL-terminated; JSON and CSV have them all.
void gb_init(int *argc, char **argv, const char *const *shown);
// A line of the context that is printed before the table and stands in the JSON.
void gb_context(const char *key, const char *value);
// name, function and its argument. The time is what the function says that it is.
void gb_register(const char *name, gb_function run, void *arg);
// Runs what the filter admits. The number of runs; those that failed, without a time, are counted in *failed.
size_t gb_run(size_t *failed);
void gb_shutdown(void);

void gb_time(struct gb_state *s, double seconds);
void gb_counter(struct gb_state *s, const char *name, double value);
void gb_label(struct gb_state *s, const char *text);
// The case ends without a time: the sentence stands in its place.
void gb_fail(struct gb_state *s, const char *why);

#ifdef __cplusplus
}
#endif
