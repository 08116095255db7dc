// A Hugging Face folder whose weights are the input: model.safetensors, or, where a zero byte begins the input, the index of two shards.
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/fuzz_model.h"

static const char config[] = "{\"architectures\":[\"Phi3ForCausalLM\"],\"vocab_size\":3,\"hidden_size\":2,\"intermediate_size\":1,"
                             "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"max_position_embeddings\":8,\"bos_token_id\":null,"
                             "\"eos_token_id\":null,\"pad_token_id\":null,\"tie_word_embeddings\":true}";

#define HEADER(text) {(uint8_t)(sizeof(text) - 1), 0, 0, 0, 0, 0, 0, 0}, text
#define NORMS                                                                                                                  \
  "{\"model.norm.weight\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"                                           \
  "\"model.layers.0.input_layernorm.weight\":{\"dtype\":\"F16\",\"shape\":[2],\"data_offsets\":[8,12]}}"
#define REST                                                                                                                   \
  "{\"a\":{\"dtype\":\"BF16\",\"shape\":[1,2],\"data_offsets\":[0,4]}}"

// Two small shards for an index to name.
static const struct {
  uint8_t length[8];
  char text[sizeof NORMS - 1];
  uint8_t data[12];
} first = {HEADER(NORMS), {0}};
static const struct {
  uint8_t length[8];
  char text[sizeof REST - 1];
  uint8_t data[4];
} second = {HEADER(REST), {0}};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  bool index = size && !data[0];
  const struct memory_file whole[] = {{"m/config.json", config, sizeof config - 1}, {"m/model.safetensors", data, size}};
  const struct memory_file shards[] = {{"m/config.json", config, sizeof config - 1},
                                       {"m/model.safetensors.index.json", data + index, size - index},
                                       {"m/a.safetensors", &first, sizeof first},
                                       {"m/b.safetensors", &second, sizeof second}};
  // A length of zero, which begins with a zero byte too, is an index as well: eight zeros are no safetensors file.
  if (index) memory_files(shards, 4);
  else memory_files(whole, 2);
  fuzz_model("m", "m");
  return 0;
}
