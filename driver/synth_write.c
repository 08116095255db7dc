// A random checkpoint on its way to the disk: tensor after tensor, a few megabytes at a time.
#include "driver/synth.h"
#include "driver/text.h"
#include "runtime/base/file.h"
#include "runtime/base/json.h"
#include "runtime/base/mem.h"
#include "runtime/base/pool.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

enum { PIECE = 1 << 22, GRAIN = 1 << 16, BAR = 30 }; // elements of a write; of a thread's part; columns

struct writer {
  const struct synth_job *job;
  struct synth_tensor *tensors;
  int64_t count;
  int32_t *shard_of; // [count]
  int32_t shards;
  int64_t bytes, done; // of all tensors
  char *tmp;           // the folder until it is complete
  struct pool *pool;
  uint8_t *buffer; // PIECE elements
  double start, shown;
  bool visible;
};

static int64_t element_bytes(const struct writer *w) { return dtype_info(w->job->type)->block_bytes; }

static int64_t tensor_bytes(const struct writer *w, int64_t i) {
  return synth_elements(&w->tensors[i]) * element_bytes(w);
}

// Files are filled in order; a tensor larger than a file has one of its own.
static bool plan(struct writer *w, struct err *e) {
  if (!(w->tensors = synth_tensors(w->job->config, &w->count, e))) return false;
  if (!(w->shard_of = mem_alloc((size_t)w->count, sizeof *w->shard_of, "the list of files", e))) return false;
  int64_t filled = 0;
  for (int64_t i = 0; i < w->count; i++) {
    int64_t n = tensor_bytes(w, i);
    if (filled > 0 && n > w->job->shard_bytes - filled) w->shards++, filled = 0;
    w->shard_of[i] = w->shards;
    filled += n;
    w->bytes += n;
  }
  w->shards++;
  return true;
}

static void shard_name(const struct writer *w, int32_t shard, char out[64]) {
  if (w->shards == 1) snprintf(out, 64, "model.safetensors");
  else snprintf(out, 64, "model-%05d-of-%05d.safetensors", shard + 1, w->shards);
}

// The folder that `path` will lie in: a new string.
static char *parent_of(const char *path, struct err *e) {
  char *p = mem_strdup(path, e);
  if (!p) return NULL;
  size_t n = strlen(p);
  while (n > 0 && p[n - 1] != '/') n--;
  while (n > 1 && p[n - 1] == '/') n--;
  strcpy(p + n, n ? "" : ".");
  return p;
}

static bool check_room(const struct writer *w, struct err *e) {
  enum { MARGIN = 1 << 20 }; // headers, configuration, tokenizer
  char *parent = parent_of(w->job->out, e), need[TEXT_QUANTITY], free_text[TEXT_QUANTITY], missing[TEXT_QUANTITY];
  if (!parent) return false;
  struct statvfs fs;
  bool ok = true;
  if (statvfs(parent, &fs) != 0)
    ok = err_set(e, "%s: cannot be written to: %s; make that folder first", parent, strerror(errno));
  else {
    uint64_t room = (uint64_t)fs.f_bavail * fs.f_frsize, bytes = (uint64_t)w->bytes + MARGIN;
    if (bytes > room)
      ok = err_set(
          e, "%s needs %s and %s has %s free: %s are missing; free some, write elsewhere, or ask for fewer --layers",
          w->job->out, text_bytes((int64_t)bytes, need), parent, text_bytes((int64_t)room, free_text),
          text_bytes((int64_t)(bytes - room), missing));
  }
  mem_free(parent);
  return ok;
}

static bool check_tokenizer(const char *path, const struct config *c, struct err *e) {
  struct tokenizer *t = tokenizer_open(path, e);
  if (!t) return false;
  int32_t n = tokenizer_vocab_size(t);
  tokenizer_close(t);
  return n <= c->vocab_size ||
         err_set(e, "%s: has %d pieces, the shape's embedding %d rows; raise --vocab or give another tokenizer", path,
                 n, c->vocab_size);
}

// Nothing has the name but, perhaps, an empty folder, over which the finished one is renamed.
static bool name_is_free(const char *out) {
  DIR *d = opendir(out);
  struct stat st;
  if (!d) return lstat(out, &st) != 0;
  bool empty = true;
  for (struct dirent *entry; (entry = readdir(d));)
    empty &= strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
  closedir(d);
  return empty;
}

static bool make_folder(struct writer *w, struct err *e) {
  const char *out = w->job->out;
  size_t n = strlen(out), room = n + 32;
  while (n > 1 && out[n - 1] == '/') n--;
  if (!name_is_free(out)) return err_set(e, "%s is there already; remove it or choose another name", out);
  if (!(w->tmp = mem_alloc(room, 1, "a path", e))) return false;
  snprintf(w->tmp, room, "%.*s.tmp.%ld", (int)n, out, (long)getpid());
  if (mkdir(w->tmp, 0777) == 0) return true;
  err_set(e, "%s: cannot make the folder: %s", w->tmp, strerror(errno));
  mem_free(w->tmp);
  w->tmp = NULL;
  return false;
}

static void remove_folder(const char *path) {
  DIR *d = opendir(path);
  for (struct dirent *entry; d && (entry = readdir(d));) unlinkat(dirfd(d), entry->d_name, 0);
  if (d) closedir(d);
  rmdir(path);
}

static void show(struct writer *w, bool last) {
  char done[TEXT_QUANTITY], all[TEXT_QUANTITY];
  double now = now_seconds();
  if (!w->visible || (!last && (now - w->start < 0.5 || now - w->shown < 0.1))) return;
  if (last) {
    if (w->shown > 0) fprintf(stderr, "\r\033[K");
    return;
  }
  double share = (double)w->done / (double)w->bytes;
  fprintf(stderr, "\r\033[Kwriting [");
  for (int i = 0; i < BAR; i++) fputc(i < share * BAR ? '#' : ' ', stderr);
  fprintf(stderr, "] %s of %s, %.0f s left", text_bytes(w->done, done), text_bytes(w->bytes, all),
          (now - w->start) * (1 - share) / share);
  w->shown = now;
}

struct fill {
  const struct synth_values *values;
  int64_t begin, end, bytes; // of the piece; of an element
  uint8_t *to;
};

static void fill_part(void *ctx, int64_t begin, int64_t end, int thread) {
  const struct fill *f = ctx;
  (void)thread;
  for (int64_t i = begin; i < end; i++) {
    int64_t from = f->begin + i * GRAIN, to = from + GRAIN < f->end ? from + GRAIN : f->end;
    synth_values_fill(f->values, from, to, f->to + i * GRAIN * f->bytes);
  }
}

static bool write_bytes(int fd, const void *data, size_t n, const char *name, struct err *e) {
  for (const uint8_t *p = data; n;) {
    ssize_t k = write(fd, p, n);
    if (k < 0 && errno == EINTR) continue;
    if (k <= 0) return err_set(e, "%s: cannot write: %s; nothing is left of it", name, strerror(errno));
    p += k;
    n -= (size_t)k;
  }
  return true;
}

static bool write_tensor(struct writer *w, int fd, int64_t i, const char *name, struct err *e) {
  struct synth_values v;
  int64_t n = synth_elements(&w->tensors[i]);
  synth_values_init(&v, &w->tensors[i], w->job->type, w->job->seed);
  for (int64_t at = 0; at < n; at += PIECE) {
    if (interrupted()) return err_set(e, "interrupted");
    struct fill f = {&v, at, at + PIECE < n ? at + PIECE : n, element_bytes(w), w->buffer};
    pool_for(w->pool, (f.end - f.begin + GRAIN - 1) / GRAIN, 1, fill_part, &f);
    int64_t bytes = (f.end - f.begin) * f.bytes;
    if (!write_bytes(fd, w->buffer, (size_t)bytes, name, e)) return false;
    w->done += bytes;
    show(w, false);
  }
  return true;
}

// The length and the JSON of a safetensors file, padded with spaces to a multiple of eight bytes.
static bool write_header(struct writer *w, int fd, int32_t shard, const char *name, struct err *e) {
  json_t *root = json_pack("{s:{s:s}}", "__metadata__", "format", "pt");
  int64_t at = 0;
  for (int64_t i = 0; root && i < w->count; i++) {
    const struct synth_tensor *t = &w->tensors[i];
    if (w->shard_of[i] != shard) continue;
    json_t *shape =
        t->rows ? json_pack("[I, I]", (json_int_t)t->rows, (json_int_t)t->cols) : json_pack("[I]", (json_int_t)t->cols);
    json_int_t begin = at, end = at += tensor_bytes(w, i);
    json_object_set_new(root, t->name,
                        json_pack("{s:s, s:o, s:[I, I]}", "dtype", dtype_info(w->job->type)->name, "shape", shape,
                                  "data_offsets", begin, end));
  }
  char *text = root ? json_dumps(root, JSON_COMPACT) : NULL;
  json_decref(root);
  if (!text) return err_no_memory(e, 0, "a file's header");
  static const char spaces[8] = "       ";
  size_t n = strlen(text), pad = (8 - n % 8) % 8;
  uint64_t length = n + pad;
  bool ok = write_bytes(fd, &length, sizeof length, name, e) && write_bytes(fd, text, n, name, e) &&
            write_bytes(fd, spaces, pad, name, e);
  mem_raw_free(text);
  return ok;
}

static bool write_shard(struct writer *w, int32_t shard, struct err *e) {
  char name[64];
  shard_name(w, shard, name);
  char *path = file_join(w->tmp, name, e);
  if (!path) return false;
  int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  bool ok = fd >= 0 || err_set(e, "%s: cannot create: %s", path, strerror(errno));
  ok = ok && write_header(w, fd, shard, path, e);
  for (int64_t i = 0; ok && i < w->count; i++)
    if (w->shard_of[i] == shard) ok = write_tensor(w, fd, i, path, e);
  if (fd >= 0 && close(fd) != 0 && ok) ok = err_set(e, "%s: cannot write: %s", path, strerror(errno));
  mem_free(path);
  return ok;
}

static bool write_index(const struct writer *w, struct err *e) {
  json_t *map = json_object();
  char file[64];
  for (int64_t i = 0; i < w->count; i++) {
    shard_name(w, w->shard_of[i], file);
    json_object_set_new(map, w->tensors[i].name, json_string(file));
  }
  json_t *root = json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)w->bytes, "weight_map", map);
  char *path = file_join(w->tmp, "model.safetensors.index.json", e);
  bool ok = path && (root ? json_write_file(path, root, e) : err_no_memory(e, 0, "the index"));
  mem_free(path);
  json_decref(root);
  return ok;
}

static bool copy_file(const char *from, const char *dir, const char *name, struct err *e) {
  struct file f;
  if (!file_map(&f, from, e)) return false;
  char *to = file_join(dir, name, e);
  bool ok = to && file_write(to, f.data, f.size, e);
  mem_free(to);
  file_unmap(&f);
  return ok;
}

// tokenizer.json, and what stands beside it to say how it is used.
static bool copy_tokenizer(const struct writer *w, struct err *e) {
  static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
  const char *from = w->job->tokenizer;
  if (!from) return true;
  if (!file_is_dir(from)) return copy_file(from, w->tmp, names[0], e);
  bool ok = true;
  for (int i = 0; ok && i < 2; i++) {
    char *path = file_join(from, names[i], e);
    ok = path && ((i > 0 && !file_exists(path)) || copy_file(path, w->tmp, names[i], e));
    mem_free(path);
  }
  return ok;
}

static bool write_all(struct writer *w, struct err *e) {
  char *config = file_join(w->tmp, "config.json", e);
  bool ok = config && synth_write_config(w->job->config, w->job->type, config, e) && copy_tokenizer(w, e);
  mem_free(config);
  for (int32_t i = 0; ok && i < w->shards; i++) ok = write_shard(w, i, e);
  return ok && (w->shards == 1 || write_index(w, e));
}

static bool prepare(struct writer *w, struct err *e) {
  const struct synth_job *job = w->job;
  if (job->tokenizer && !check_tokenizer(job->tokenizer, job->config, e)) return false;
  return plan(w, e) && check_room(w, e) && (w->pool = pool_open(job->threads, e)) &&
         (w->buffer = mem_alloc(PIECE, (size_t)element_bytes(w), "a piece of a tensor", e)) && make_folder(w, e);
}

bool synth_write(const struct synth_job *job, struct synth_result *r, struct err *e) {
  struct writer w = {.job = job, .start = now_seconds(), .visible = isatty(STDERR_FILENO)};
  bool ok = prepare(&w, e) && write_all(&w, e);
  show(&w, true);
  if (ok && rename(w.tmp, job->out) != 0)
    ok = err_set(e, "%s: cannot be given its name: %s", job->out, strerror(errno));
  if (!ok && w.tmp) remove_folder(w.tmp);
  *r = (struct synth_result){w.bytes / element_bytes(&w), w.bytes, w.shards, now_seconds() - w.start};
  pool_close(w.pool);
  mem_free(w.buffer);
  mem_free(w.tmp);
  mem_free(w.shard_of);
  mem_free(w.tensors);
  return ok;
}
