#include "driver/perplexity.h"
#include "runtime/base/mem.h"
#include "runtime/logits.h"
#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

static const char magic[8] = {'P', 'H', 'I', '3', 'B', 'A', 'S', 'E'};

// What a record begins with.
struct record_head {
  double log_sum, tail, loss;
};

static const uint64_t hash_start = 0xcbf29ce484222325u;

// FNV-1a.
static uint64_t hash_bytes(uint64_t h, const void *data, size_t n) {
  const uint8_t *p = data;
  for (size_t i = 0; i < n; i++) h = (h ^ p[i]) * 0x100000001b3u;
  return h;
}

static bool whole(const struct base_header *h) { return h->top == h->vocab; }

int64_t base_record_bytes(const struct base_header *h) {
  return (int64_t)sizeof(struct record_head) + (whole(h) ? 4ll * h->vocab : 8ll * h->top);
}

// --- writing ---

static bool cannot(const struct base_writer *w, struct err *e) {
  return err_set(e, "%s: cannot write: %s", w->path, strerror(errno));
}

static bool put(struct base_writer *w, const void *data, size_t bytes, struct err *e) {
  w->hash = hash_bytes(w->hash, data, bytes);
  return fwrite(data, 1, bytes, w->file) == bytes || cannot(w, e);
}

bool base_create(struct base_writer *w, const char *path, const struct base_header *h, const int32_t *ids,
                 int64_t rows_at_once, struct err *e) {
  size_t len = strlen(path) + 32;
  *w = (struct base_writer){.hash = hash_start, .record_bytes = base_record_bytes(h)};
  if (!(w->path = mem_strdup(path, e))) return false;
  if (!file_is_special(path) && !(w->tmp = mem_alloc(len, 1, "a path", e))) return false;
  if (!(w->records =
            mem_alloc((size_t)rows_at_once, (size_t)w->record_bytes, "a step's records; use a smaller --chunk", e)))
    return false;
  if (w->tmp) snprintf(w->tmp, len, "%s.tmp.%ld", path, (long)getpid());
  if (!(w->file = fopen(w->tmp ? w->tmp : path, "wbe")))
    return err_set(e, "%s: cannot create: %s", path, strerror(errno));
  return put(w, h, sizeof *h, e) && put(w, ids, (size_t)h->tokens * sizeof *ids, e);
}

void base_fill(const struct base_header *h, uint8_t *record, const float *logits, double log_sum, double loss) {
  struct record_head head = {log_sum, 0, loss};
  uint8_t *at = record + sizeof head;
  if (whole(h)) {
    memcpy(at, logits, h->vocab * sizeof *logits);
  } else {
    int32_t *ids = (int32_t *)(void *)at; // the record's ids, four bytes each: its size keeps them aligned
    float *kept = (float *)(void *)(at + h->top * sizeof *ids);
    logits_top(logits, h->vocab, (int32_t)h->top, ids);
    for (uint32_t i = 0; i < h->top; i++) kept[i] = logits[ids[i]];
    // Summed, not taken from 1: a small mass keeps its digits. A tie at the edge counts by its id.
    float edge = kept[h->top - 1];
    for (int32_t i = 0; i < (int32_t)h->vocab; i++)
      if (logits[i] < edge || (logits[i] == edge && i > ids[h->top - 1])) head.tail += exp((double)logits[i] - log_sum);
  }
  memcpy(record, &head, sizeof head);
}

bool base_add(struct base_writer *w, int64_t rows, struct err *e) {
  return put(w, w->records, (size_t)(rows * w->record_bytes), e);
}

bool base_finish(struct base_writer *w, struct err *e) {
  uint64_t hash = w->hash;
  if (!put(w, &hash, sizeof hash, e)) return false;
  FILE *f = w->file;
  w->file = NULL;
  if (fclose(f) != 0 || (w->tmp && rename(w->tmp, w->path) != 0)) return cannot(w, e);
  mem_free(w->tmp);
  w->tmp = NULL;
  return true;
}

void base_drop(struct base_writer *w) {
  if (w->file) fclose(w->file);
  if (w->tmp) unlink(w->tmp);
  mem_free(w->path);
  mem_free(w->tmp);
  mem_free(w->records);
  *w = (struct base_writer){0};
}

// --- reading ---

static bool check_head(const struct base_reader *r, const char *path, struct err *e) {
  const struct base_header *h = &r->head;
  enum { MOST = 1 << 24 };
  if (r->file.size < sizeof *h || memcmp(h->magic, magic, sizeof magic) != 0)
    return err_set(e, "%s is no base file; phi3 perplexity --save-base makes one", path);
  if (h->version != BASE_VERSION)
    return err_set(e, "%s is a base file of version %u, this program reads version %d; save it again", path, h->version,
                   BASE_VERSION);
  bool sane = h->vocab >= 1 && h->vocab <= MOST && h->top >= 1 && h->top <= h->vocab && h->tokens >= 2 &&
              h->tokens <= INT32_MAX && h->rows >= 1 && h->rows < h->tokens && h->window >= 2 && h->stride >= 1 &&
              h->stride <= h->window && memchr(h->model, 0, sizeof h->model) && memchr(h->device, 0, sizeof h->device);
  return sane || err_set(e, "%s: the header is damaged; save it again", path);
}

// A distribution as struct base_header says: ids that are there and no two the same, largest first, nothing left out above the smallest,
// and masses that are a whole but for rounding. Then what is computed from it is a number. seen[id]: the last row that has the id, from 1.
static bool check_record(const struct base_reader *r, int64_t row, uint32_t *seen) {
  const double slack = 1e-6;
  const uint8_t *at = r->records + row * r->record_bytes;
  const struct base_header *h = &r->head;
  struct record_head head;
  memcpy(&head, at, sizeof head);
  if (!isfinite(head.log_sum) || !(head.tail >= 0 && head.tail <= 1) || !(head.loss >= 0)) return false;
  const uint8_t *ids = at + sizeof head, *logits = whole(h) ? ids : ids + 4ll * h->top;
  double mass = 0, p = INFINITY;
  for (uint32_t i = 0; i < h->top; i++) {
    int32_t id = (int32_t)i;
    float v;
    if (!whole(h)) memcpy(&id, ids + 4ll * i, sizeof id);
    memcpy(&v, logits + 4ll * i, sizeof v);
    if (id < 0 || id >= (int32_t)h->vocab || seen[id] > row || !(v < INFINITY)) return false;
    double before = p;
    mass += p = exp((double)v - head.log_sum);
    if (!whole(h) && p > before) return false;
    seen[id] = (uint32_t)row + 1;
  }
  return head.tail <= (h->vocab - h->top) * p * (1 + slack) && fabs(mass + head.tail - 1) <= slack;
}

static bool check_records(const struct base_reader *r, const char *path, struct err *e) {
  uint32_t *seen = mem_alloc(r->head.vocab, sizeof *seen, "the base file's check", e);
  int64_t row = 0;
  if (!seen) return false;
  while (row < r->head.rows && check_record(r, row, seen)) row++;
  mem_free(seen);
  return row == r->head.rows ||
         err_set(e, "%s: the distribution of token %lld is none; save it again", path, (long long)row);
}

static bool check_rest(struct base_reader *r, const char *path, struct err *e) {
  const struct base_header *h = &r->head;
  size_t body =
      sizeof *h + (size_t)h->tokens * 4 + (size_t)h->rows * (size_t)r->record_bytes; // below 2^31 x 2^27 bytes
  uint64_t hash;
  if (r->file.size != body + sizeof hash)
    return err_set(e, "%s has %zu bytes, expected %zu: it is not complete; save it again", path, r->file.size,
                   body + sizeof hash);
  memcpy(&hash, r->file.data + body, sizeof hash);
  if (hash != hash_bytes(hash_start, r->file.data, body))
    return err_set(e, "%s is damaged: its checksum is another; save it again", path);
  return check_records(r, path, e);
}

bool base_open(struct base_reader *r, const char *path, struct err *e) {
  *r = (struct base_reader){0};
  if (!file_map(&r->file, path, e)) return false;
  if (r->file.size >= sizeof r->head) memcpy(&r->head, r->file.data, sizeof r->head);
  if (!check_head(r, path, e)) return false;
  r->record_bytes = base_record_bytes(&r->head);
  r->ids = r->file.data + sizeof r->head;
  r->records = r->ids + r->head.tokens * 4;
  return check_rest(r, path, e);
}

void base_close(struct base_reader *r) {
  if (r->file.path) file_unmap(&r->file);
  *r = (struct base_reader){0};
}

int32_t base_id(const struct base_reader *r, int64_t token) {
  int32_t id;
  memcpy(&id, r->ids + token * 4, sizeof id);
  return id;
}

// --- comparing ---

// All logits are kept: no bound is needed.
static void compare_whole(const uint8_t *kept, const float *logits, int64_t vocab, struct score *s) {
  double p_sum = -INFINITY, q_sum = logits_log_sum(logits, vocab), most = -INFINITY, sum = 0, d = 0;
  float p, best = -INFINITY;
  int64_t p_top = 0;
  int32_t q_top;
  logits_top(logits, vocab, 1, &q_top);
  for (int64_t i = 0; i < vocab; i++) {
    memcpy(&p, kept + 4 * i, sizeof p);
    if (p > best) best = p, p_top = i;
  }
  most = (double)best;
  for (int64_t i = 0; i < vocab; i++) {
    memcpy(&p, kept + 4 * i, sizeof p);
    sum += exp((double)p - most);
  }
  p_sum = most + log(sum);
  for (int64_t i = 0; i < vocab; i++) {
    memcpy(&p, kept + 4 * i, sizeof p);
    double log_p = (double)p - p_sum;
    if (log_p > -INFINITY) d += exp(log_p) * (log_p - ((double)logits[i] - q_sum));
  }
  s->divergence = d;
  s->same_top = p_top == q_top;
}

// See struct base_header. What is kept is struck out of the logits, by an infinity that no other one is.
static void compare_top(const struct base_reader *r, const struct record_head *head, const uint8_t *kept, float *logits,
                        int64_t vocab, struct score *s) {
  uint32_t top = r->head.top;
  double q_sum = logits_log_sum(logits, vocab), d = 0, rest = 0, least = 0, log_p = 0;
  int32_t q_top, id;
  float p;
  logits_top(logits, vocab, 1, &q_top);
  for (uint32_t i = 0; i < top; i++) {
    memcpy(&id, kept + 4ll * i, sizeof id);
    memcpy(&p, kept + 4ll * (top + i), sizeof p);
    log_p = (double)p - head->log_sum;
    if (log_p > -INFINITY) d += exp(log_p) * (log_p - ((double)logits[id] - q_sum));
    if (i == 0) s->same_top = id == q_top;
    logits[id] = INFINITY;
  }
  for (int64_t i = 0; i < vocab; i++) {
    if (logits[i] == INFINITY) continue;
    double log_q = (double)logits[i] - q_sum;
    rest += exp(log_q);
    least = fmin(least, log_q);
  }
  if (head->tail > 0) {
    double estimate = head->tail * log(head->tail / rest);
    d += estimate;
    s->bound = head->tail * (log_p - least) - estimate;
  }
  s->divergence = d;
}

void base_compare(const struct base_reader *r, int64_t row, float *logits, int64_t vocab, struct score *s) {
  const uint8_t *at = r->records + row * r->record_bytes;
  struct record_head head;
  memcpy(&head, at, sizeof head);
  s->base_loss = head.loss;
  if (whole(&r->head)) compare_whole(at + sizeof head, logits, vocab, s);
  else compare_top(r, &head, at + sizeof head, logits, vocab, s);
}
