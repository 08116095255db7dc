#include "tests/failure/command.h"
#include <ftw.h>
#include <jansson.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
} commands[] = {
    {"generate", cmd_generate}, {"chat", cmd_chat},       {"trace", cmd_trace},     {"bench", cmd_bench},
    {"tokenize", cmd_tokenize}, {"inspect", cmd_inspect}, {"compare", cmd_compare}, {"perplexity", cmd_perplexity},
    {"synth", cmd_synth},       {"profile", cmd_profile}};

enum { MAX_WORDS = 32 };

// A stream's place is taken by a file in memory.
struct capture {
  int stream, saved, file;
};

static struct capture out, err;

static void capture_begin(struct capture *c, int stream) {
  *c = (struct capture){stream, dup(stream), memfd_create("output", 0)};
  assert_true(c->saved >= 0 && c->file >= 0 && dup2(c->file, stream) == stream);
}

// What was captured so far goes on in a file of its own.
static void capture_part(struct capture *c) {
  int file = memfd_create("output", 0);
  char part[4096];
  off_t at = 0;
  for (ssize_t n; (n = pread(c->file, part, sizeof part, at)) > 0; at += n)
    if (write(file, part, (size_t)n) != n) abort();
  if (file < 0 || dup2(file, c->stream) != c->stream) abort();
  c->file = file;
}

void command_part(void) {
  capture_part(&out);
  capture_part(&err);
}

static char *capture_end(struct capture *c, size_t *len) {
  struct stat st;
  assert_int_equal(dup2(c->saved, c->stream), c->stream);
  close(c->saved);
  assert_int_equal(fstat(c->file, &st), 0);
  *len = (size_t)st.st_size;
  char *text = malloc(*len + 1);
  assert_non_null(text);
  assert_int_equal(pread(c->file, text, *len, 0), *len);
  text[*len] = 0;
  close(c->file);
  return text;
}

void (*command_running)(bool running);
const char *command_input = "";

// Standard input as it is at the command's start.
static void give_input(void) {
  int file = memfd_create("input", 0);
  size_t len = strlen(command_input);
  assert_true(file >= 0 && write(file, command_input, len) == (ssize_t)len && dup2(file, STDIN_FILENO) == STDIN_FILENO);
  close(file);
  rewind(stdin);
}

struct result command_run(const char *line) {
  static char words[4096];
  char *argv[MAX_WORDS + 1] = {0};
  struct result r = {.code = -1};
  size_t ignored;
  int argc = 0;
  snprintf(words, sizeof words, "%s", line);
  for (char *w = strtok(words, " "); w && argc < MAX_WORDS; w = strtok(NULL, " ")) argv[argc++] = w;
  fflush(stdout);
  give_input();
  capture_begin(&out, STDOUT_FILENO);
  capture_begin(&err, STDERR_FILENO);
  if (command_running) command_running(true);
  for (size_t i = 0; i < sizeof commands / sizeof *commands; i++)
    if (strcmp(commands[i].name, argv[0]) == 0) r.code = commands[i].run(argc, argv);
  if (command_running) command_running(false);
  fflush(stdout);
  clearerr(stdout);
  r.err = capture_end(&err, &ignored);
  r.out = capture_end(&out, &r.out_len);
  return r;
}

void result_free(struct result *r) {
  free(r->out);
  free(r->err);
  *r = (struct result){0};
}

char *bad_failure(const struct result *r, const char *line) {
  char begin[64], *text = NULL;
  const char *end = strchr(r->err, '\n'), *what = NULL;
  snprintf(begin, sizeof begin, "phi3 %.*s: ", (int)strcspn(line, " "), line);
  if (r->code != EXIT_FAILED) what = "the exit code is not 1";
  else if (strncmp(r->err, begin, strlen(begin)) != 0 || strlen(r->err) < strlen(begin) + 10)
    what = "no sentence of the command's";
  else if (!end || end[1]) what = "not one line";
  if (what && asprintf(&text, "%s: code %d, on standard error '%s'", what, r->code, r->err) < 0) abort();
  return text;
}

bool is_json(const char *text, size_t len) {
  json_t *root = json_loadb(text, len, JSON_DECODE_ANY, NULL);
  json_decref(root);
  return root != NULL;
}

static int remove_file(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)st;
  if (at->level) (type == FTW_DP ? rmdir : unlink)(path);
  return 0;
}

static int files;

static int count_file(const char *path, const struct stat *st, int type, struct FTW *at) {
  (void)path;
  (void)st;
  // A folder within counts as well.
  files += type != FTW_DP || at->level > 0;
  return 0;
}

int folder_clear(const char *dir) {
  files = 0;
  nftw(dir, count_file, 8, FTW_DEPTH | FTW_PHYS);
  nftw(dir, remove_file, 8, FTW_DEPTH | FTW_PHYS);
  return files;
}

// A tokenizer of some letters, with the tokens of Phi-3's chat form, in the model's vocabulary of 80.
static const char letters[] =
    "{\"added_tokens\": [{\"id\": 0, \"content\": \"<unk>\", \"special\": true}, {\"id\": 70, \"content\": "
    "\"<|user|>\", \"special\": true},"
    " {\"id\": 71, \"content\": \"<|assistant|>\", \"special\": true, \"rstrip\": true}, {\"id\": 72, \"content\": "
    "\"<|end|>\", \"special\": true}],"
    " \"normalizer\": {\"type\": \"Replace\", \"pattern\": {\"String\": \" \"}, \"content\": \"_\"},"
    " \"pre_tokenizer\": {\"type\": \"Split\", \"pattern\": {\"Regex\": \"_?[a-z]+|.\"}, \"behavior\": \"Isolated\", "
    "\"invert\": false},"
    " \"decoder\": {\"type\": \"Replace\", \"pattern\": {\"String\": \"_\"}, \"content\": \" \"},"
    " \"model\": {\"type\": \"BPE\", \"unk_token\": \"<unk>\", \"vocab\": {\"<unk>\": 0, \"a\": 1, \"b\": 2, \"c\": 3, "
    "\"_\": 4, \"ab\": 5, \"abc\": 6},"
    " \"merges\": [\"a b\", \"ab c\"]}}";

char *talker_make(const char *model) {
  static const char *const linked[] = {"config.json", "model.safetensors"};
  char from[512], to[512], *dir = strdup("/tmp/phi3-talker-XXXXXX"), here[256];
  assert_true(dir && mkdtemp(dir) && getcwd(here, sizeof here));
  for (int i = 0; i < 2; i++) {
    snprintf(from, sizeof from, "%s/%s/%s", here, model, linked[i]);
    snprintf(to, sizeof to, "%s/%s", dir, linked[i]);
    assert_int_equal(symlink(from, to), 0);
  }
  snprintf(to, sizeof to, "%s/tokenizer.json", dir);
  FILE *f = fopen(to, "w");
  assert_true(f && fputs(letters, f) >= 0 && fclose(f) == 0);
  return dir;
}

void talker_remove(char *dir) {
  folder_clear(dir);
  assert_int_equal(rmdir(dir), 0);
  free(dir);
}
