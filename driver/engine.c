#include "driver/driver.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include "runtime/model/gguf.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char device_words[] = "auto|cpu|cuda|vgpu"; // in the order of enum device

struct engine_options engine_defaults(void) {
  return (struct engine_options){.model = "nano", .page_size = 16, .chunk = 512};
}

const struct option_spec *engine_option_table(struct engine_options *o) {
  static struct option_spec table[11];
  const struct option_spec fresh[] = {
      {'m', "model", OPTION_TEXT, &o->model, "MODEL", "a Hugging Face folder, a .gguf file, or a name; default nano", 0,
       0},
      {0, "device", OPTION_CHOICE, &o->device, device_words,
       "where to compute: auto takes a GPU where there is one; default auto", 0, 0},
      {'t', "threads", OPTION_INT, &o->threads, "N", "processor threads; default one for each processor", 1, 256},
      {0, "precision", OPTION_CHOICE, &o->precision, "fp32|fp64", "arithmetic of the cpu; default fp32", 0, 0},
      {0, "pages", OPTION_CHOICE, &o->pages, "f32|f16", "stored keys and values of the cpu; default f32", 0, 0},
      {0, "page-size", OPTION_INT, &o->page_size, "N", "tokens in a page of the cache; default 16", 1, 4096},
      {0, "chunk", OPTION_INT, &o->chunk, "N", "tokens of a prompt computed at once; default 512", 1, 65536},
      {0, "gemm", OPTION_CHOICE, &o->gemm, "own|cublas",
       "who multiplies a prompt's matrices on a GPU; cublas does not promise the same bits however a text is cut up; "
       "default own",
       0, 0},
      {0, "max-tokens", OPTION_INT, &o->max_tokens, "N", "room of the cache in tokens; default what the work needs", 1,
       1e9},
      {0, NULL, OPTION_FLAG, NULL, NULL, NULL, 0, 0},
  };
  OPTIONS_FILL(table, fresh);
  return table;
}

// Phi-3's checkpoints end at these too, whether or not generation_config.json is there to say so.
static void add_end_ids(struct config *c, const struct tokenizer *t) {
  static const char *const pieces[] = {"<|endoftext|>", "<|end|>", "<|assistant|>", "<|im_end|>"};
  int32_t eos = tokenizer_eos(t);
  for (size_t i = 0; i <= sizeof pieces / sizeof *pieces; i++) {
    int32_t id = i == 0 ? eos : tokenizer_find(t, pieces[i - 1]);
    if (id < 0 || !(i == 0 || tokenizer_is_special(t, id))) continue;
    bool known = false;
    for (int32_t j = 0; j < c->num_end_ids; j++) known |= c->end_ids[j] == id;
    if (!known && c->num_end_ids < CONFIG_MAX_END_IDS) c->end_ids[c->num_end_ids++] = id;
  }
}

// A folder without tokenizer.json is a model all the same, for ids only.
static bool find_tokenizer(const char *path, bool *there, struct err *e) {
  if (file_is_dir(path)) {
    char *file = file_join(path, "tokenizer.json", e);
    if (!file) return false;
    *there = file_exists(file);
    mem_free(file);
    return true;
  }
  struct gguf g;
  if (!gguf_open(&g, path, e)) return false;
  *there = gguf_find(&g, "tokenizer.ggml.model") != NULL;
  gguf_close(&g);
  return true;
}

static bool open_tokenizer(struct engine *en, const char *path, struct err *e) {
  bool there;
  if (!find_tokenizer(path, &there, e)) return false;
  return !there || (en->tokenizer = tokenizer_open(path, e)) != NULL;
}

bool engine_needs_text(const struct engine *en, struct err *e) {
  return en->tokenizer ||
         err_set(e, "%s has no tokenizer%s", en->model.path,
                 file_is_dir(en->model.path) ? ".json, so it knows no text; put one there or give ids with --ids"
                                             : ", so it knows no text; give ids with --ids");
}

bool engine_choose_chat(const struct engine *en, int form, struct err *e) {
  tokenizer_choose_chat(en->tokenizer, (enum chat_format)form);
  return tokenizer_chat_format(en->tokenizer) != CHAT_NONE ||
         err_set(e, "%s has no chat form that is known; name one with --chat-form, or use phi3 generate without --chat",
                 en->model.path);
}

bool engine_open(struct engine *en, const struct engine_options *o, struct err *e) {
  *en = (struct engine){0};
  double start = now_seconds();
  char *path = model_find(o->model, e);
  if (!path) return false;
  bool ok = model_open(&en->model, path, e) && open_tokenizer(en, path, e);
  if (ok && en->tokenizer && tokenizer_vocab_size(en->tokenizer) > en->model.config.vocab_size)
    ok = err_set(e, "%s: the tokenizer has %d pieces, the model's embedding %d rows; the files do not belong together",
                 path, tokenizer_vocab_size(en->tokenizer), en->model.config.vocab_size);
  mem_free(path);
  if (!ok) return engine_close(en), false;
  if (en->tokenizer) add_end_ids(&en->model.config, en->tokenizer);
  en->load_seconds = now_seconds() - start;
  return true;
}

static struct backend *open_backend(const struct model *m, const struct engine_options *o,
                                    const struct backend_options *b, struct err *e) {
  struct err no_gpu;
  bool cpu = o->device == DEVICE_CPU || (o->device == DEVICE_AUTO && (b->fp64 || !gpu_available(&no_gpu)));
  if (cpu && b->gemm == GEMM_CUBLAS) {
    if (o->device == DEVICE_CPU || b->fp64) err_set(e, "--gemm cublas needs a GPU: use --device cuda, or --gemm own");
    else err_set(e, "--gemm cublas needs a GPU: %s; or use --gemm own", no_gpu.text);
    return NULL;
  }
  return cpu ? cpu_backend_open(m, b, e) : gpu_backend_open(m, b, o->device == DEVICE_VGPU, e);
}

// What fp16 could not hold is told, for it changes the model.
static void tell_overflows(const struct backend *b) {
  if (strcmp(b->ops->name, "cpu") == 0) return;
  struct gpu_report r = gpu_backend_report(b);
  if (r.overflows)
    fprintf(stderr, "%lld of %lld weights are beyond fp16's range (up to %g) and became its largest value, 65504\n",
            (long long)r.overflows, (long long)r.weights, (double)r.largest);
}

struct backend *engine_backend(const struct model *m, const struct engine_options *o, int64_t tokens, int32_t sequences,
                               int32_t logits, struct err *e) {
  const struct config *c = &m->config;
  if (tokens > c->max_positions) tokens = c->max_positions;
  int64_t chunk = o->chunk < tokens ? o->chunk : tokens, room = tokens;
  if (o->max_tokens && o->max_tokens < room) room = o->max_tokens;
  int64_t pages = pages_needed(room, (int32_t)o->page_size, c->sliding_window, chunk) * sequences;
  struct backend_options b = {.threads = (int)o->threads,
                              .fp64 = o->precision == 1,
                              .page_type = (enum page_type)o->pages,
                              .page_size = (int32_t)o->page_size,
                              .num_pages = (int32_t)pages,
                              .max_rows = (int32_t)(chunk > sequences ? chunk : sequences),
                              .max_logits = logits > sequences ? logits : sequences,
                              .gemm = (enum gemm)o->gemm,
                              .max_positions = tokens};
  if (pages > INT32_MAX) return err_set(e, "%lld pages are too many; use a larger --page-size", (long long)pages), NULL;
  struct backend *backend = open_backend(m, o, &b, e);
  if (backend) tell_overflows(backend);
  return backend;
}

bool engine_start(struct engine *en, const struct engine_options *o, int64_t tokens, int32_t sequences, int32_t logits,
                  struct err *e) {
  double start = now_seconds();
  struct backend *backend = engine_backend(&en->model, o, tokens, sequences, logits, e);
  if (!backend || !forward_open(&en->forward, backend, e)) return false;
  en->load_seconds += now_seconds() - start;
  return true;
}

bool engine_device(struct engine_options *o, const char *spec, struct err *e) {
  static const char *const devices[] = {"auto", "cpu", "cuda", "vgpu"}; // in the order of enum device
  size_t len = strcspn(spec, ":");
  const char *how = spec[len] ? spec + len + 1 : "";
  o->precision = o->pages = 0;
  for (int i = 0; i <= DEVICE_VGPU; i++) {
    if (strlen(devices[i]) != len || memcmp(devices[i], spec, len) != 0) continue;
    o->device = i;
    if (!spec[len]) return true;
    o->precision = strcmp(how, "fp64") == 0;
    o->pages = strcmp(how, "f16") == 0 ? PAGE_F16 : PAGE_F32;
    if (i == DEVICE_CPU && (o->precision || o->pages == PAGE_F16 || strcmp(how, "fp32") == 0)) return true;
  }
  return err_set(
      e, "there is no device '%s'; there are cpu, cpu:fp64, cpu:f16 (fp32 with fp16 pages), cuda, vgpu and auto", spec);
}

void engine_close(struct engine *en) {
  forward_close(&en->forward);
  if (en->tokenizer) tokenizer_close(en->tokenizer);
  model_close(&en->model);
  *en = (struct engine){0};
}

char *read_all(FILE *f, size_t *len, struct err *e) {
  size_t capacity = 65536, n;
  char *p = mem_alloc(capacity, 1, "the input", e);
  *len = 0;
  while (p && (n = fread(p + *len, 1, capacity - *len - 1, f)) > 0) {
    *len += n;
    if (*len + 1 < capacity) continue;
    char *q = mem_grow(p, *len, capacity * 2, 1, "the input", e);
    if (!q) mem_free(p);
    p = q;
    capacity *= 2;
  }
  if (p && ferror(f)) {
    err_set(e, "cannot read the input");
    mem_free(p);
    return NULL;
  }
  return p;
}

static volatile sig_atomic_t interrupts;

static void on_interrupt(int signal_number) {
  if (interrupts++) _exit(128 + signal_number);
}

bool interrupted(void) { return interrupts > 0; }

void forget_interrupt(void) { interrupts = 0; }

void catch_interrupts(void) {
  struct sigaction a = {.sa_handler = on_interrupt};
  sigaction(SIGINT, &a, NULL);
  sigaction(SIGTERM, &a, NULL);
}
