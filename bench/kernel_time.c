#include "bench/kernel_bench.h"
#include "runtime/base/mem.h"
#include "runtime/generate.h"
#include <stdlib.h>

static bool launch_again(struct bench_device *d, const struct kernel_case *c, void *work, struct err *e) {
  if (c->kernel == KERNEL_COUNT) return c->family->launch(d, work, e);
  for (int32_t i = 0; i < d->num_launches; i++)
    if (d->launches[i].kernel == c->kernel && !recorded_launch_again(&d->gpu, &d->launches[i], e)) return false;
  return true;
}

struct events {
  cu_event start, end;
};

static bool one_run(struct bench_device *d, const struct kernel_case *c, void *work, const struct events *v, unsigned word, double *seconds, struct err *e) {
  const struct cuda *cuda = &d->gpu.cuda;
  float ms = 0;
  if (d->kind == ON_CPU) {
    double start = now_seconds();
    bool done = c->family->launch(d, work, e);
    *seconds = now_seconds() - start;
    return done;
  }
  if (!d->warm && !cuda_check(cuda, cuda->set_words(d->flush.p, word, d->flush.bytes / 4, d->gpu.stream), "emptying L2", e)) return false;
  bool ok = cuda_check(cuda, cuda->event_record(v->start, d->gpu.stream), "timing", e) && launch_again(d, c, work, e) &&
            cuda_check(cuda, cuda->event_record(v->end, d->gpu.stream), "timing", e) && cuda_check(cuda, cuda->event_wait(v->end), c->name, e) &&
            cuda_check(cuda, cuda->event_elapsed(&ms, v->start, v->end), "timing", e);
  *seconds = 1e-3 * (double)ms;
  return ok;
}

static int by_value(const void *a, const void *b) {
  double x = *(const double *)a, y = *(const double *)b;
  return (x > y) - (x < y);
}

static void summarize(struct measurement *m, double *seconds, int64_t n) {
  qsort(seconds, (size_t)n, sizeof *seconds, by_value);
  m->runs = n;
  m->seconds = (seconds[(n - 1) / 2] + seconds[n / 2]) / 2;
  m->low = seconds[n / 10];
  m->high = seconds[n - 1 - n / 10];
}

// Until the clocks have risen: by time, and at least a few runs.
static bool warm_up(struct bench_device *d, const struct kernel_case *c, void *work, const struct events *v, struct err *e) {
  int least = d->kind == ON_CPU ? 1 : 3;
  double spent = 0, one;
  for (int i = 0; i < 10000 && (i < least || spent < 0.05); i++, spent += one)
    if (!one_run(d, c, work, v, 0, &one, e)) return false;
  return true;
}

static bool open_events(struct bench_device *d, struct events *v, struct err *e) {
  const struct cuda *cuda = &d->gpu.cuda;
  return d->kind == ON_CPU || (cuda_check(cuda, cuda->event_create(&v->start, 0), "an event", e) && cuda_check(cuda, cuda->event_create(&v->end, 0), "an event", e));
}

// The CPU's operations take long: a few runs, or a second of them, are enough.
static bool enough(const struct bench_device *d, int64_t runs, double spent) { return runs == d->samples || (d->kind == ON_CPU && runs >= 3 && spent > 1); }

bool time_runs(struct bench_device *d, const struct kernel_case *c, void *work, struct measurement *m, struct err *e) {
  struct events v = {0};
  double *seconds = mem_alloc((size_t)d->samples, sizeof *seconds, "the runs' times", e), spent = 0;
  bool ok = seconds && open_events(d, &v, e) && warm_up(d, c, work, &v, e);
  int64_t runs = 0;
  for (; ok && !enough(d, runs, spent); runs++)
    if ((ok = one_run(d, c, work, &v, (unsigned)runs, &seconds[runs], e))) spent += seconds[runs];
  if (ok) summarize(m, seconds, runs);
  if (v.start) d->gpu.cuda.event_destroy(v.start);
  if (v.end) d->gpu.cuda.event_destroy(v.end);
  mem_free(seconds);
  return ok;
}
