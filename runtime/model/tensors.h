// The tensors of a model's files while they are being collected: common to safetensors and GGUF.
#pragma once
#include "runtime/model/model.h"

struct found_tensor {
  size_t name; // offset of its NUL-terminated name in tensor_list.names
  enum dtype type;
  int32_t dims;
  int64_t rows, cols;
  uint64_t begin, end; // bytes of the file
  int32_t file;
};

struct tensor_list {
  struct found_tensor *items;
  int64_t count, capacity;
  char *names;
  size_t names_size, names_capacity;
};

// Adds `t`, whose name is the `len` bytes at `name`; t->begin and t->end are still to be checked.
bool tensor_list_add(struct tensor_list *l, const char *name, size_t len, const struct found_tensor *t, struct err *e);
void tensor_list_free(struct tensor_list *l);
const char *tensor_list_name(const struct tensor_list *l, int64_t i);

// The tensors from index `first` on are those of one file. They must fill its data section, which begins at `start`, in
// some order without overlap, each at the next multiple of `align` (from `start`) after the one before, and end inside
// the file.
bool tensor_list_check_layout(const struct tensor_list *l, int64_t first, const struct file *f, uint64_t start,
                              uint64_t align, struct err *e);
// Moves the list to m->tensors, sorted by name, with pointers into m->files. The same name twice is an error.
bool tensor_list_finish(struct tensor_list *l, struct model *m, struct err *e);

// The file that `t` lies in.
const char *tensor_file(const struct model *m, const struct tensor *t);

// The loaders: fill m->files and `l`, and m->config for a GGUF file.
bool safetensors_read_folder(struct model *m, const char *dir, struct tensor_list *l, struct err *e);
bool gguf_read_model(struct model *m, const char *path, struct tensor_list *l, struct err *e);
