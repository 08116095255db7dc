#include "bench/gbench.h"
#include <benchmark/benchmark.h>
#include <cstdlib>
#include <cstring>
#include <set>
#include <string>
#include <vector>

struct gb_state {
  benchmark::State *state;
  bool done; // has its time, or its failure
};

static std::set<std::string> shown;
static bool console = true;
static size_t failures;

// The table with some of the counters: all of them would not fit any line.
class FewCounters : public benchmark::ConsoleReporter {
public:
  using benchmark::ConsoleReporter::ConsoleReporter;
  void ReportRuns(const std::vector<Run> &runs) override {
    std::vector<Run> few = runs;
    for (Run &run : few)
      for (auto i = run.counters.begin(); i != run.counters.end();) i = shown.count(i->first) ? std::next(i) : run.counters.erase(i);
    benchmark::ConsoleReporter::ReportRuns(few);
  }
};

// The library does not tell which format was asked for.
static bool wants_console(int argc, char **argv) {
  static const char option[] = "--benchmark_format=";
  const char *format = std::getenv("BENCHMARK_FORMAT");
  for (int i = 1; i < argc; i++)
    if (!std::strncmp(argv[i], option, sizeof option - 1)) format = argv[i] + sizeof option - 1;
  return !format || !std::strcmp(format, "console");
}

void gb_init(int *argc, char **argv, const char *const *counters) {
  for (; *counters; counters++) shown.insert(*counters);
  console = wants_console(*argc, argv);
  benchmark::Initialize(argc, argv);
}

void gb_context(const char *key, const char *value) { benchmark::AddCustomContext(key, value); }

void gb_register(const char *name, gb_function run, void *arg) {
  auto body = [run, arg](benchmark::State &state) {
    gb_state s = {&state, false};
    run(&s, arg);
    if (!s.done) gb_fail(&s, "the case gave no time");
  };
  benchmark::RegisterBenchmark(name, body)->Iterations(1)->UseManualTime()->Unit(benchmark::kMicrosecond);
}

size_t gb_run(size_t *failed) {
  FewCounters table(benchmark::ConsoleReporter::OO_Tabular);
  size_t runs = benchmark::RunSpecifiedBenchmarks(console ? &table : nullptr);
  *failed = failures;
  return runs;
}

void gb_shutdown(void) { benchmark::Shutdown(); }

void gb_time(gb_state *s, double seconds) {
  s->done = true;
  while (s->state->KeepRunning()) s->state->SetIterationTime(seconds);
}

void gb_counter(gb_state *s, const char *name, double value) { s->state->counters[name] = value; }

void gb_label(gb_state *s, const char *text) { s->state->SetLabel(text); }

void gb_fail(gb_state *s, const char *why) {
  s->done = true;
  failures++;
  s->state->SkipWithError(why);
  while (s->state->KeepRunning()) continue;
}
