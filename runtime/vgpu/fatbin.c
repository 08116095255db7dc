// Fat binaries: see fatbin.h. The container's layout is not documented by NVIDIA; it is as nvcc 11.8 to 13 writes it:
//   header   u32 magic, u16 version, u16 header size, u64 size of what follows
//   entry    u16 kind (1 PTX, 2 ELF), u16, u32 header size, u64 payload size, u32 compressed size, u32, u16 minor, u16 major,
//            u32 architecture, u32, u32, u64 flags, u64, u64 size when decompressed
// A payload is compressed if its flags say so: 0x2000 LZ4, 0x8000 Zstandard.
#include "runtime/vgpu/fatbin.h"
#include "runtime/vgpu/nvinfo.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WRAPPER_MAGIC   0x466243b1u
#define CONTAINER_MAGIC 0xba55ed50u
#define KIND_PTX        1
#define KIND_ELF        2
#define FLAG_LZ4        0x2000u
#define FLAG_ZSTD       0x8000u
#define DEVICE_ARCH     75
#define MAX_PLAIN       ((uint64_t)1 << 30) // no PTX or machine code of a kernel file is larger
#define ZSTD_RATIO      32768u // four bytes may stand for a block of 128 KiB
#define LZ4_RATIO       255u   // a byte of a length for as many

enum { OK = 0, NO_MEMORY = 2, INVALID_IMAGE = 200, NO_BINARY = 209 };

struct entry {
  uint16_t kind;
  uint32_t arch, stored;
  uint64_t flags, size, plain_size;
  const uint8_t *payload;
};

static int fail(int code, char *why, size_t cap, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static int fail(int code, char *why, size_t cap, const char *fmt, ...) {
  va_list ap;
  va_start(ap, fmt);
  vsnprintf(why, cap, fmt, ap);
  va_end(ap);
  return code;
}

static uint16_t u16(const uint8_t *p) { return (uint16_t)(p[0] | p[1] << 8); }
static uint32_t u32(const uint8_t *p) { return u16(p) | (uint32_t)u16(p + 2) << 16; }
static uint64_t u64(const uint8_t *p) { return u32(p) | (uint64_t)u32(p + 4) << 32; }

// Reads the entry at p, with n bytes up to the container's end. Returns its whole length, 0 when it is malformed.
static uint64_t read_entry(const uint8_t *p, uint64_t n, struct entry *e) {
  if (n < 64) return 0;
  uint32_t head = u32(p + 4);
  *e = (struct entry){.kind = u16(p), .size = u64(p + 8), .stored = u32(p + 16), .arch = u32(p + 28), .flags = u64(p + 40)};
  if (head < 48 || head > n || e->size > n - head) return 0;
  bool packed = e->flags & (FLAG_LZ4 | FLAG_ZSTD);
  if (packed && (head < 64 || e->stored > e->size)) return 0;
  e->plain_size = packed ? u64(p + 56) : e->size;
  e->payload = p + head;
  return head + e->size;
}

// The entry's payload in fresh memory, NUL after it. NULL: *code says why.
static char *unpack(const struct entry *e, size_t *len, int *code) {
  uint64_t most = e->flags & FLAG_ZSTD ? (uint64_t)e->stored * ZSTD_RATIO : e->flags & FLAG_LZ4 ? (uint64_t)e->stored * LZ4_RATIO : e->size;
  *code = INVALID_IMAGE;
  if (e->plain_size > MAX_PLAIN || e->plain_size > most) return NULL; // a small file cannot ask for much memory
  char *out = malloc(e->plain_size + 1);
  if (!out) {
    *code = NO_MEMORY;
    return NULL;
  }
  long n = (long)e->plain_size;
  if (e->flags & FLAG_ZSTD) n = vg_zstd(e->payload, e->stored, (uint8_t *)out, e->plain_size);
  else if (e->flags & FLAG_LZ4) n = vg_lz4_block(e->payload, e->stored, (uint8_t *)out, e->plain_size);
  else memcpy(out, e->payload, e->plain_size);
  if (n < 0) {
    free(out);
    return NULL;
  }
  out[n] = 0;
  *len = (size_t)n;
  return out;
}

struct choice {
  struct entry ptx, elf;
  bool has_ptx, has_elf;
  uint32_t newest; // PTX architecture seen that is too new, 0: none
  unsigned entries;
};

static void consider(struct choice *c, const struct entry *e) {
  c->entries++;
  if (e->kind == KIND_ELF && e->arch == DEVICE_ARCH && !c->has_elf) c->elf = *e, c->has_elf = true;
  if (e->kind != KIND_PTX) return;
  if (e->arch > DEVICE_ARCH) {
    if (e->arch > c->newest) c->newest = e->arch;
  } else if (!c->has_ptx || e->arch > c->ptx.arch) {
    c->ptx = *e, c->has_ptx = true;
  }
}

// Walks one container. Returns its length, 0 when it is malformed. n: bytes that there are; UINT64_MAX: unknown.
static uint64_t read_container(const uint8_t *p, uint64_t n, struct choice *c) {
  if (n < 16 || u32(p) != CONTAINER_MAGIC) return 0;
  uint64_t head = u16(p + 6), size = u64(p + 8);
  if (head < 16 || size > UINT64_MAX / 2 || head > n || size > n - head) return 0;
  for (uint64_t at = 0; at < size;) {
    struct entry e;
    uint64_t len = read_entry(p + head + at, size - at, &e);
    if (!len) return 0;
    consider(c, &e);
    at += len;
  }
  return head + size;
}

static int open_container(const uint8_t *p, uint64_t n, struct vg_image *out, char *why, size_t cap) {
  struct choice c = {0};
  uint64_t at = read_container(p, n, &c);
  if (!at) return fail(INVALID_IMAGE, why, cap, "the fat binary's headers contradict its size");
  while (n != UINT64_MAX && n - at >= 16 && u32(p + at) == CONTAINER_MAGIC) {
    uint64_t len = read_container(p + at, n - at, &c);
    if (!len) return fail(INVALID_IMAGE, why, cap, "the fat binary's headers contradict its size");
    at += len;
  }
  if (!c.has_ptx && c.newest)
    return fail(NO_BINARY, why, cap, "the fat binary's PTX is for sm_%u, the device is sm_75; compile with -gencode arch=compute_75,code=[sm_75,compute_75]", c.newest);
  if (!c.has_ptx)
    return fail(NO_BINARY, why, cap, "the fat binary has machine code only and the virtual GPU runs PTX; compile with -gencode arch=compute_75,code=[sm_75,compute_75]");
  int code;
  out->ptx = unpack(&c.ptx, &out->ptx_len, &code);
  if (!out->ptx) return fail(code, why, cap, code == NO_MEMORY ? "not enough memory for the PTX" : "the fat binary's compressed PTX is damaged");
  size_t len = strlen(out->ptx); // nvcc pads with zeros
  if (len < out->ptx_len) out->ptx_len = len;
  size_t elf_len;
  char *elf = c.has_elf ? unpack(&c.elf, &elf_len, &code) : NULL;
  if (elf) vg_nvinfo((const uint8_t *)elf, elf_len, &out->info, &out->num_info); // missing figures are estimated
  free(elf);
  return OK;
}

static int open_text(const char *p, size_t size, struct vg_image *out, char *why, size_t cap) {
  size_t n = size ? strnlen(p, size) : strlen(p);
  for (size_t i = 0; i < n && i < 64; i++)
    if ((unsigned char)p[i] < 9 || (unsigned char)p[i] > 126) return fail(INVALID_IMAGE, why, cap, "the image is neither PTX, a fat binary nor a cubin");
  if (!n) return fail(INVALID_IMAGE, why, cap, "the image is empty");
  out->ptx = malloc(n + 1);
  if (!out->ptx) return fail(NO_MEMORY, why, cap, "not enough memory for the PTX");
  memcpy(out->ptx, p, n);
  out->ptx[n] = 0;
  out->ptx_len = n;
  return OK;
}

int vg_image_open(const void *data, size_t size, struct vg_image *out, char *why, size_t cap) {
  const uint8_t *p = data;
  memset(out, 0, sizeof *out);
  why[0] = 0;
  if (size && size < 4) return fail(INVALID_IMAGE, why, cap, "the image has %zu bytes", size);
  // Without a size the first byte that ends a text ends the look: magics have no zero byte.
  bool four = size || (p[0] && p[1] && p[2] && p[3]);
  uint32_t magic = four ? u32(p) : 0;
  if (magic == WRAPPER_MAGIC) {
    if (size && size < 16) return fail(INVALID_IMAGE, why, cap, "the fat binary's wrapper is cut short");
    uint64_t inner = u64(p + 8); // an address in this process
    if (!inner) return fail(INVALID_IMAGE, why, cap, "the fat binary's wrapper is empty");
    return open_container((const uint8_t *)(uintptr_t)inner, UINT64_MAX, out, why, cap);
  }
  if (magic == CONTAINER_MAGIC) return open_container(p, size ? size : UINT64_MAX, out, why, cap);
  if (magic == 0x464c457f)
    return fail(NO_BINARY, why, cap, "the image is machine code (a cubin) and the virtual GPU runs PTX; compile with nvcc -ptx or -fatbin");
  return open_text((const char *)p, size, out, why, cap);
}

void vg_image_free(struct vg_image *img) {
  free(img->ptx);
  free(img->info);
  memset(img, 0, sizeof *img);
}
