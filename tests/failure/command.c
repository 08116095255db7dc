#include "tests/failure/command.h"
#include <dirent.h>
#include <jansson.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct {
  const char *name;
  int (*run)(int argc, char **argv);
} commands[] = {{"generate", cmd_generate}, {"chat", cmd_chat},         {"trace", cmd_trace},
                {"bench", cmd_bench},       {"tokenize", cmd_tokenize}, {"inspect", cmd_inspect},
                {"compare", cmd_compare},   {"perplexity", cmd_perplexity}};

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

struct result command_run(const char *line) {
  static char words[4096];
  char *argv[MAX_WORDS + 1] = {0};
  struct result r = {.code = -1};
  size_t ignored;
  int argc = 0;
  snprintf(words, sizeof words, "%s", line);
  for (char *w = strtok(words, " "); w && argc < MAX_WORDS; w = strtok(NULL, " ")) argv[argc++] = w;
  fflush(stdout);
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
  else if (strncmp(r->err, begin, strlen(begin)) != 0 || strlen(r->err) < strlen(begin) + 10) what = "no sentence of the command's";
  else if (!end || end[1]) what = "not one line";
  if (what && asprintf(&text, "%s: code %d, on standard error '%s'", what, r->code, r->err) < 0) abort();
  return text;
}

bool is_json(const char *text, size_t len) {
  json_t *root = json_loadb(text, len, JSON_DECODE_ANY, NULL);
  json_decref(root);
  return root != NULL;
}

int folder_clear(const char *dir) {
  int n = 0;
  DIR *d = opendir(dir);
  assert_non_null(d);
  for (struct dirent *f; (f = readdir(d));)
    if (f->d_name[0] != '.') n += unlinkat(dirfd(d), f->d_name, 0) == 0;
  closedir(d);
  return n;
}
