// The figures of `phi3 bench` as CSV and as Markdown.
#include "driver/bench.h"
#include "driver/text.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Text that grows in memory, so that a file is written whole or not at all.
struct page {
  FILE *f;
  char *text;
  size_t size;
};

static bool page_open(struct page *p, struct err *e) {
  *p = (struct page){0};
  return (p->f = open_memstream(&p->text, &p->size)) != NULL || err_no_memory(e, 0, "a table");
}

static bool page_write(struct page *p, const char *path, struct err *e) {
  bool ok = !ferror(p->f);
  ok = fclose(p->f) == 0 && ok;
  ok = ok ? file_write(path, p->text, p->size, e) : err_no_memory(e, p->size, "a table");
  free(p->text);
  return ok;
}

static void put_quoted(FILE *f, const char *text) {
  fputc('"', f);
  for (; *text; text++) {
    if (*text == '"') fputc('"', f);
    fputc(*text, f);
  }
  fputc('"', f);
}

static void put_number(FILE *f, double v) {
  if (isfinite(v)) fprintf(f, ",%.9g", v);
  else fputc(',', f);
}

static void csv_row(FILE *f, const struct bench *b, const struct point *p, const struct timing *t, const char *kind,
                    const char *memory) {
  if (!t->runs) return;
  struct summary s = timing_seconds(t), first = timing_first(t);
  bool cached = t == &p->cached;
  put_quoted(f, b->subject.name);
  fprintf(f, ",%s,%s,%s,%s,%lld,%lld,%lld,%lld", b->subject.device, b->estimator ? "estimate" : "measured", memory,
          kind, (long long)p->batch, (long long)p->prompt_tokens, (long long)p->new_tokens, (long long)t->runs);
  put_number(f, s.mean);
  put_number(f, s.sd);
  put_number(f, first.mean);
  put_number(f, t->tokens > 1 ? timing_quantile(t, 0.5) : NAN);
  put_number(f, t->tokens > 1 ? timing_quantile(t, 0.95) : NAN);
  put_number(f, timing_rate(t) * (double)p->batch);
  put_number(f, cached ? point_bandwidth(b, p) : NAN);
  put_number(f, cached && b->subject.roof > 0 ? point_share(b, p) : NAN);
  put_number(f, timing_joules(t) / (double)(p->batch * t->tokens));
  fputc('\n', f);
}

static void csv_point(FILE *f, const struct bench *b, const struct point *p) {
  const char *memory = b->estimator ? estimate_memory[0] : "";
  csv_row(f, b, p, &p->cached, "cached", memory);
  csv_row(f, b, p, &p->uncached, "uncached", memory);
  csv_row(f, b, p, &p->paper_cached, "cached", estimate_memory[1]);
  csv_row(f, b, p, &p->paper_uncached, "uncached", estimate_memory[1]);
}

bool bench_write_csv(const struct bench *b, const char *path, struct err *e) {
  struct page page;
  if (!page_open(&page, e)) return false;
  fprintf(page.f, "model,device,how,memory,kind,batch,prompt_tokens,new_tokens,runs,mean_seconds,sd_seconds,first_"
                  "token_seconds,token_seconds_p50,token_seconds_p95,"
                  "tokens_per_second,bytes_per_second,share_of_roof,joules_per_token\n");
  csv_point(page.f, b, &b->main);
  for (int64_t i = 0; i < b->num_sweep; i++) csv_point(page.f, b, &b->sweep[i]);
  return page_write(&page, path, e);
}

static void markdown_row(FILE *f, const struct bench *b, const struct point *p) {
  char text[TIME_TEXT], other[TIME_TEXT], first[TEXT_QUANTITY], half[TEXT_QUANTITY], most[TEXT_QUANTITY];
  const struct timing *t = &p->cached;
  fprintf(f, "| %lld | %lld | %lld |", (long long)p->prompt_tokens, (long long)p->new_tokens, (long long)p->batch);
  if (p->skipped) {
    fprintf(f, " left out: %s | | | | | | | |\n", p->skipped);
    return;
  }
  double rate = timing_rate(t) * (double)p->batch, gb = 1e-9 * point_bandwidth(b, p);
  fprintf(f, " %s | %s |", time_text(timing_seconds(t), text),
          p->uncached.runs ? time_text(timing_seconds(&p->uncached), other) : "");
  if (p->uncached.runs) fprintf(f, " %.3g |", timing_seconds(&p->uncached).mean / timing_seconds(t).mean);
  else fprintf(f, " |");
  fprintf(f, " %s | %s / %s | %.*f | %.*f |", text_seconds(timing_first(t).mean, first),
          text_seconds(timing_quantile(t, 0.5), half), text_seconds(timing_quantile(t, 0.95), most),
          text_decimals(rate), rate, text_decimals(gb), gb);
  if (b->subject.roof > 0) fprintf(f, " %.0f %% |\n", 100 * point_share(b, p));
  else fprintf(f, " |\n");
}

bool bench_write_markdown(const struct bench *b, const char *path, struct err *e) {
  struct page page;
  if (!page_open(&page, e)) return false;
  FILE *f = page.f;
  fprintf(f, "## %s: with the key-value cache and without%s\n\n", b->subject.name, b->estimator ? " (estimate)" : "");
  if (b->estimator)
    fprintf(f, "**Estimate** of a Tesla T4 by the virtual GPU, memory at %.0f GB/s (%s); nothing was timed.\n",
            1e-9 * estimate_bytes_per_second[0], estimate_memory[0]);
  else
    fprintf(f, "%s%s%s, %d cores, %s; mean ± standard deviation.\n", b->subject.card, b->subject.card[0] ? "; " : "",
            b->machine.cpu, b->machine.cores, b->machine.os);
  fprintf(f, "phi3 " PHI3_VERSION ", commit %s: `%s`\n\n", phi3_commit, b->command_line);
  fprintf(f,
          "| prompt | new | batch | cached | uncached | times | first token | token p50 / p95 | tokens/s | GB/s read | "
          "%s |\n",
          b->subject.roof > 0 ? b->subject.roof_text : "of the roof");
  fprintf(f, "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
  markdown_row(f, b, &b->main);
  for (int64_t i = 0; i < b->num_sweep; i++) markdown_row(f, b, &b->sweep[i]);
  return page_write(&page, path, e);
}
