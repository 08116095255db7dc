// tokenizer.json, a zero byte, tokenizer_config.json (none where it is empty), a zero byte, a text.
#include "tests/fuzz/fuzz_tokenizer.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_part json = fuzz_take(&data, &size), config = fuzz_take(&data, &size);
  const struct memory_file files[] = {{"m/tokenizer.json", json.data, json.size}, {"m/tokenizer_config.json", config.data, config.size}};
  memory_files(files, config.size ? 2 : 1);
  fuzz_tokenizer("m", (struct fuzz_part){data, size});
  return 0;
}
