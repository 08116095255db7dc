// config.json, a zero byte, generation_config.json (none where it is empty).
#include "tests/fuzz/fuzz.h"
#include "runtime/model/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  struct fuzz_part config = fuzz_take(&data, &size);
  const struct memory_file files[] = {{"m/config.json", config.data, config.size}, {"m/generation_config.json", data, size}};
  struct config c;
  struct err e = {0};
  memory_files(files, size ? 2 : 1);
  if (!config_read_json(&c, "m", &e)) {
    fuzz_check_error(e.text, "m/");
    return 0;
  }
  // What the forward pass takes for granted.
  fuzz_check(c.num_kv_heads > 0 && c.num_heads % c.num_kv_heads == 0 && c.head_dim > 0 && c.head_dim <= CONFIG_MAX_HEAD_DIM);
  fuzz_check(c.rotary_dim > 0 && c.rotary_dim <= c.head_dim && c.rotary_dim % 2 == 0 && c.rms_eps > 0);
  fuzz_check(c.num_end_ids <= CONFIG_MAX_END_IDS && (c.rope == ROPE_PLAIN || (c.short_factor && c.long_factor)));
  for (int32_t i = 0; i < c.num_end_ids; i++) fuzz_check(c.end_ids[i] >= 0 && c.end_ids[i] < c.vocab_size);
  config_free(&c);
  return 0;
}
