// kernel_bench: every kernel at Phi-3-mini's shapes, checked against fp64 and then timed: by a GPU's events, or estimated for a T4 by the virtual GPU.
#include "bench/kernel_report.h"
#include "runtime/base/mem.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXIT_OK, EXIT_FAILED, EXIT_USAGE };

static const char help[] =
    "Usage: kernel_bench [options] [options of Google Benchmark]\n\n"
    "Runs every kernel at Phi-3-mini's shapes, compares its outputs with fp64, and gives a time only for a result that is right.\n\n"
    "Options:\n"
    "  --device cpu|cuda|vgpu  the CPU backend's operations; a GPU by its events, with cuBLAS beside our projections; or the virtual T4, whose\n"
    "                          times are estimates. Default: a GPU where there is one, else vgpu\n"
    "  --published             only the cases of results/t4-kernels.json\n"
    "  --list                  the cases' names, and nothing else\n"
    "  --json FILE             everything known of each case: shape, ideal work, error, time, and on vgpu all counters\n"
    "  --memory t4|t4_eff|both vgpu: memory at 320 GB/s on paper, at 256, or both (the first is the time); default both\n"
    "  --blocks N              vgpu: blocks of a grid that the model replays at most, three waves or more (counts and check are of all); default 0,\n"
    "                          what 64 million warp instructions hold\n"
    "  --samples N             cpu, cuda: timed runs, of which the median is the time; default 30\n"
    "  --warm                  cuda: leave in L2 what is there; without it L2 is emptied before each run\n"
    "  --seed N                of the random inputs; default 1\n"
    "  -h, --help              this text\n"
    "  --benchmark_filter=RE, --benchmark_format=console|json|csv, --benchmark_out=FILE, --benchmark_repetitions=N, ...\n"
    "                          of Google Benchmark; names are those of --list with the device before and more behind\n\n"
    "Examples:\n"
    "  kernel_bench --device vgpu --published --json results/t4-kernels.json\n"
    "  kernel_bench --device cuda --benchmark_filter=gate_up --benchmark_repetitions=5\n"
    "  kernel_bench --device vgpu --benchmark_filter='attention_prefill_96/' --benchmark_format=csv\n\n"
    "Exit codes: 0 success, 1 a case failed, 2 wrong usage.\n";

struct options {
  int device; // -1: a GPU where there is one
  bool published, list, warm;
  const char *json, *memory;
  uint64_t blocks, samples, seed;
};

static int usage_error(const char *fmt, const char *what) {
  fprintf(stderr, "kernel_bench: ");
  fprintf(stderr, fmt, what);
  fprintf(stderr, "; see kernel_bench --help\n");
  return EXIT_USAGE;
}

static int failure(const struct err *e) {
  fprintf(stderr, "kernel_bench: %s\n", e->text);
  return EXIT_FAILED;
}

static int word_index(const char *const *words, const char *word) {
  for (int i = 0; words[i]; i++)
    if (strcmp(words[i], word) == 0) return i;
  return -1;
}

static bool parse_number(const char *text, uint64_t least, uint64_t *out) {
  char *end;
  errno = 0;
  *out = strtoull(text, &end, 10);
  return end != text && !*end && !errno && text[0] != '-' && *out >= least;
}

// One option with a value; NULL: there is none of that name. Else what the value must be, or "" when it is.
static const char *set_value(struct options *o, const char *name, const char *value) {
  static const char *const memories[] = {"t4", "t4_eff", "both", NULL};
  if (strcmp(name, "--device") == 0) return (o->device = word_index(device_words, value)) >= 0 ? "" : "--device takes cpu, cuda or vgpu, not '%s'";
  if (strcmp(name, "--memory") == 0) return o->memory = value, word_index(memories, value) >= 0 ? "" : "--memory takes t4, t4_eff or both, not '%s'";
  if (strcmp(name, "--json") == 0) return o->json = value, "";
  if (strcmp(name, "--blocks") == 0) return parse_number(value, 0, &o->blocks) ? "" : "--blocks takes a whole number, not '%s'";
  if (strcmp(name, "--seed") == 0) return parse_number(value, 0, &o->seed) ? "" : "--seed takes a whole number, not '%s'";
  if (strcmp(name, "--samples") == 0) return parse_number(value, 1, &o->samples) && o->samples <= 1000000 ? "" : "--samples takes a whole number from 1 to 1000000, not '%s'";
  return NULL;
}

static bool set_flag(struct options *o, const char *name) {
  bool *flag = strcmp(name, "--published") == 0 ? &o->published : strcmp(name, "--list") == 0 ? &o->list : strcmp(name, "--warm") == 0 ? &o->warm : NULL;
  if (flag) *flag = true;
  return flag != NULL;
}

// Google Benchmark would answer with its own.
static bool wants_help(int argc, char **argv) {
  for (int i = 1; i < argc; i++)
    if (strcmp(argv[i], "-h") == 0 || strcmp(argv[i], "--help") == 0) return true;
  return false;
}

// -1 to go on, else the exit code.
static int parse(struct options *o, int argc, char **argv) {
  for (int i = 1; i < argc; i++) {
    if (set_flag(o, argv[i])) continue;
    char *equals = strchr(argv[i], '='), name[32];
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - argv[i]) : (int)strlen(argv[i]), argv[i]);
    const char *value = equals ? equals + 1 : i + 1 < argc ? argv[i + 1] : "", *wrong = set_value(o, name, value);
    if (!wrong) return usage_error("there is no option '%s'", argv[i]);
    if (!equals && ++i == argc) return usage_error("%s needs a value", name);
    if (*wrong) return usage_error(wrong, value);
  }
  return -1;
}

struct run {
  struct bench_device *device;
  struct kernel_report *report;
  uint64_t seed;
};

struct registered {
  struct run *run;
  const struct kernel_case *c;
};

static void run_case(struct gb_state *s, void *arg) {
  const struct registered *r = arg;
  struct measurement m;
  struct err e = {0};
  if (!case_measure(r->run->device, r->c, r->run->seed, &m, &e)) {
    gb_fail(s, e.text);
    return;
  }
  report_counters(s, r->run->device, &m);
  if (r->run->report && !report_add(r->run->report, r->run->device, r->c, &m, &e)) gb_fail(s, e.text);
  measurement_free(&m);
}

// The cases of a device. The registry is walked in any case: a kernel without one is a failure.
static bool make_cases(struct case_list *l, enum device_kind kind, bool cublas, struct err *e) {
  if (!case_list_fill(l, kind == ON_CUDA && cublas, e)) return false;
  if (kind != ON_CPU) return true;
  case_list_free(l);
  return cpu_cases(l, e);
}

static int list(const struct options *o, struct err *e) {
  struct case_list l = {0};
  if (!make_cases(&l, (enum device_kind)o->device, true, e)) return failure(e);
  for (size_t i = 0; i < l.count; i++)
    if (l.cases[i].published || !o->published) printf("%s\n", l.cases[i].name);
  case_list_free(&l);
  return EXIT_OK;
}

static struct registered *register_cases(const struct case_list *l, struct run *run, bool published, struct err *e) {
  struct registered *all = mem_alloc(l->count, sizeof *all, "the cases", e);
  for (size_t i = 0; i < l->count && all; i++) {
    char name[CASE_NAME + 32];
    all[i] = (struct registered){run, &l->cases[i]};
    snprintf(name, sizeof name, "%s/%s", run->device->kind == ON_VGPU ? "T4_estimate" : device_words[run->device->kind], l->cases[i].name);
    if (l->cases[i].published || !published) gb_register(name, run_case, &all[i]);
  }
  return all;
}

static bool run_cases(const struct options *o, const struct case_list *l, struct bench_device *d, struct kernel_report *report, struct err *e) {
  struct run run = {d, o->json ? report : NULL, o->seed};
  struct registered *all = register_cases(l, &run, o->published, e);
  size_t failures = 0;
  char text[400];
  if (!all) return false;
  report_context(d);
  size_t runs = gb_run(&failures);
  card_watch_stop(&d->card);
  if (d->kind == ON_CUDA) fprintf(stderr, "card after: %s\n", card_text(&d->card, &d->card.after, text, sizeof text));
  mem_free(all);
  if (runs == 0) return err_set(e, "no case has a name that --benchmark_filter admits; --list shows them");
  if (failures) return err_set(e, "%zu of the runs failed%s", failures, o->json ? "; the JSON was not written" : "");
  return !o->json || report_write(report, o->json, e);
}

static bool run_all(const struct options *o, struct kernel_report *report, struct err *e) {
  struct case_list cases = {0};
  struct bench_device d = {.kind = (enum device_kind)o->device, .configs = strcmp(o->memory, "both") == 0 ? "t4 t4_eff" : o->memory, .sample = o->blocks, .warm = o->warm,
                           .samples = (int64_t)o->samples};
  bool ok = device_open(&d, e) && make_cases(&cases, d.kind, d.cublas.handle != NULL, e) && run_cases(o, &cases, &d, report, e);
  case_list_free(&cases);
  device_close(&d);
  return ok;
}

int main(int argc, char **argv) {
  struct options o = {.device = -1, .memory = "both", .blocks = 0, .samples = 30, .seed = 1};
  struct err e = {0}, no_gpu;
  struct kernel_report report = {0};
  if (wants_help(argc, argv)) return fputs(help, stdout), EXIT_OK;
  if (!report_open(&report, argc, argv, &e)) return failure(&e);
  gb_init(&argc, argv, report_shown);
  int code = parse(&o, argc, argv);
  if (o.device < 0) o.device = code < 0 && gpu_available(&no_gpu) ? ON_CUDA : ON_VGPU;
  if (code < 0) code = o.list ? list(&o, &e) : run_all(&o, &report, &e) ? EXIT_OK : failure(&e);
  report_close(&report);
  gb_shutdown();
  return code;
}
