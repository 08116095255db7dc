// Weights on their way to the device: rows of a matrix to fp16 in the order that kernels.h calls packed.
#pragma once
#include "kernels/kernels.h"
#include "runtime/base/pool.h"
#include "runtime/model/model.h"

// Which row of the matrix stands in each packed row: [16 tiles]; -1: zeros.
struct row_order {
  int32_t *rows;
  int32_t tiles;
};

// Feature f in packed row f.
bool row_order_plain(struct row_order *o, int64_t features, struct err *e);
// Rows 0-7 of tile t: gate 8 t + 0..7; rows 8-15: up. The matrix is [2 intermediate, .]: gate, then up.
bool row_order_gate_up(struct row_order *o, int64_t intermediate, struct err *e);
// q, k and v heads with rotation partners in rows r and r + 8 of a tile; `parts` describes the half tiles, [2 tiles].
bool row_order_qkv(struct row_order *o, struct phi3_qkv_part **parts, const struct config *c, struct err *e);
void row_order_free(struct row_order *o);

// What fp16 could not hold, over all weights packed so far.
struct pack_report {
  int64_t values, overflows; // overflows became the largest finite half
  float largest;             // magnitude
};

int64_t packed_halfs(const struct row_order *o, int64_t k);
// Packs the whole matrix into out[packed_halfs]. A value beyond fp16's range is counted and clamped; NaN is an error.
bool pack_matrix(const struct matrix *m, const struct row_order *o, uint16_t *out, struct pool *pool, struct pack_report *report, struct err *e);
// Rows in plain order as fp16 [rows, cols]: the embedding.
bool pack_rows(const struct matrix *m, uint16_t *out, struct pool *pool, struct pack_report *report, struct err *e);
