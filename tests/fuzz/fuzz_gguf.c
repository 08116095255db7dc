// A GGUF file: the model in it is opened and every number read; the tokenizer in it is opened and used.
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_model.h"
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  const struct memory_file file = {"m.gguf", data, size};
  memory_files(&file, 1);
  fuzz_model("m.gguf", "m.gguf");
  if (size >= 4 && data[0] == 'G') fuzz_tokenizer("m.gguf", (struct fuzz_part){0}); // else it is read as JSON, which has its own target
  return 0;
}
