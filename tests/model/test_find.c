// Where models are looked for.
#include "tests/test.h"
#include "runtime/base/file.h"
#include "runtime/base/mem.h"
#include "runtime/model/model.h"
#include "tests/model/make_files.h"
#include <unistd.h>

static struct err e;
static char *dir;

static int set_up(void **state) {
  (void)state;
  dir = temp_dir();
  setenv("PHI3_MODELS", dir, 1);
  return 0;
}

static int tear_down(void **state) {
  (void)state;
  unsetenv("PHI3_MODELS");
  temp_dir_remove(dir);
  return 0;
}

static void make(const char *name) {
  char *path = path_in(dir, name), *slash = strrchr(path, '/');
  *slash = 0;
  assert_ok(file_make_dir(path, &e));
  *slash = '/';
  write_text(path, "x");
  free(path);
}

static void finds(const char *name, const char *expected) {
  char *path = path_in(dir, expected), *found;
  assert_ok(found = model_find(name, &e));
  assert_string_equal(found, path);
  mem_free(found);
  free(path);
}

static void names_are_looked_up_in_the_models_folder(void **state) {
  (void)state;
  make("a/config.json");
  make("a/a.gguf");
  finds("a", "a"); // the folder with a configuration
  make("b/some file.gguf");
  make("b/notes.txt");
  finds("b", "b/some file.gguf");
  make("c.gguf");
  finds("c", "c.gguf");
  finds("c.gguf", "c.gguf");
  make("d/one.gguf");
  make("d/two.gguf");
  assert_fails(model_find("d", &e), "several .gguf files");
  make("f/notes.txt");
  assert_fails(model_find("f", &e), "holds neither config.json nor a .gguf file");
}

static void paths_are_themselves(void **state) {
  (void)state;
  make("sub/b/m.gguf");
  make("sub/c/config.json");
  char *b = path_in(dir, "sub/b"), *c = path_in(dir, "sub/c"), *file = path_in(dir, "sub/b/m.gguf"),
       *gone = path_in(dir, "sub/x");
  finds(b, "sub/b/m.gguf");
  finds(c, "sub/c");
  finds(file, "sub/b/m.gguf");
  assert_fails(model_find(gone, &e), "neither a path nor");
  assert_fails(model_find("", &e), "empty");
  free(b);
  free(c);
  free(file);
  free(gone);
}

static void absent_models_say_how_to_get_them(void **state) {
  (void)state;
  assert_fails(model_find("smollm2", &e), "scripts/get_model.sh smollm2");
  assert_fails(model_find("phi-3-mini-4k-instruct", &e), "scripts/get_model.sh phi-3-mini-4k-instruct");
  assert_fails(model_find("unknown", &e), "known names are nano, smollm2");
  assert_fails(model_find("../b", &e), "neither a path nor");
  unsetenv("PHI3_MODELS");
  char *home = getenv("HOME") ? strdup(getenv("HOME")) : NULL;
  setenv("HOME", "/nowhere", 1);
  assert_fails(model_find("smollm2", &e), "/nowhere/.cache/phi3");
  if (home) setenv("HOME", home, 1);
  free(home);
}

static void failed_allocations_are_reported(void **state) {
  (void)state;
  make("b/m.gguf");
  long k = 1;
  for (char *found = NULL; !found; k++) {
    mem_fail_from(k);
    e = (struct err){0};
    found = model_find("b", &e);
    mem_fail_from(0);
    if (!found) assert_true(e.no_memory);
    mem_free(found);
  }
  assert_true(k > 2);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(names_are_looked_up_in_the_models_folder, set_up, tear_down),
      cmocka_unit_test_setup_teardown(paths_are_themselves, set_up, tear_down),
      cmocka_unit_test_setup_teardown(absent_models_say_how_to_get_them, set_up, tear_down),
      cmocka_unit_test_setup_teardown(failed_allocations_are_reported, set_up, tear_down),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
