// Everything behind an SM's L1: the network, the L2 slices, the memory channels. Advanced one core cycle at a time.
//
// A request is one sector of 32 bytes. Requests leave an SM in order, one a cycle; each slice takes one a cycle; replies go
// the other way alike.
#ifndef VGPU_T4_MEM_H
#define VGPU_T4_MEM_H

#include "runtime/vgpu/t4_table.h"
#include <stdint.h>

enum t4_request_kind { T4_READ, T4_WRITE, T4_ATOMIC };

struct t4_request {
  struct t4_request *next; // in the queue it stands in
  uint64_t ready;          // not to be served before this cycle
  uint32_t sector, mask;
  uint16_t sm;
  uint8_t kind;
  bool bypass;             // not to be put in L1 (atomics)
  void *owner;             // the SM's
};

struct t4_queue {
  struct t4_request *head, *tail;
  uint32_t length;
};

struct t4_mem_stats {
  uint64_t l2_accesses, l2_misses, l2_reads, l2_read_hits;
  uint64_t dram_read_sectors, dram_write_sectors; // those of dirty lines put out included
  uint64_t dram_busy;     // command clocks in which data moved, all channels
  uint64_t dram_clocks;   // command clocks that passed
  uint64_t row_misses;
  uint64_t busiest_atomics; // served by the slice that served most
};

struct t4_mem;
struct t4_mem *t4_mem_open(const struct t4_table *t); // NULL: no memory
void t4_mem_close(struct t4_mem *m);

struct t4_request *t4_request_new(struct t4_mem *m); // NULL: no memory
void t4_request_done(struct t4_mem *m, struct t4_request *r);

void t4_queue_push(struct t4_queue *q, struct t4_request *r);
struct t4_request *t4_queue_pop(struct t4_queue *q);

// One cycle. out[i]: what SM i wants to send; in[i]: replies handed to it in this cycle or before.
void t4_mem_step(struct t4_mem *m, uint64_t now, struct t4_queue *out, struct t4_queue *in);
// Earliest cycle >= now in which t4_mem_step has something to do, UINT64_MAX when all is quiet.
uint64_t t4_mem_next(const struct t4_mem *m, uint64_t now);
const struct t4_mem_stats *t4_mem_stats(const struct t4_mem *m);

// t4_dram.c: one channel.
struct t4_dram_request {
  uint32_t sector;
  uint32_t row;
  uint8_t bank;
  bool write;
  struct t4_dram_request *next;
  uint64_t ready; // reads: the clock at which the data is there
  uint64_t age;
};

struct t4_dram_bank {
  struct t4_dram_request *head, *tail; // waiting, oldest first
  struct t4_dram_request *current;     // chosen, waits for its row or its turn
  uint32_t row;
  bool open;
  uint64_t column_ok, precharge_ok, activate_ok;
};

struct t4_channel {
  struct t4_dram_bank banks[16];
  uint32_t waiting;            // requests in the banks
  uint32_t queued, chosen;     // banks with a queue; with a current request (bits)
  uint64_t bus_ok, activate_ok, read_ok, write_ok;
  uint64_t group_ok[4];
  uint32_t turn;               // bank looked at first
  bool writing;
  struct t4_dram_request *done, *done_tail; // reads on their way back, in order
};

// Hands a request to the channel (the caller keeps waiting below t4_table.dram_queue).
void t4_dram_push(struct t4_channel *c, struct t4_dram_request *r);
// One command clock. A write that has been sent is returned through *finished.
void t4_dram_step(struct t4_channel *c, const struct t4_table *t, uint64_t clock, struct t4_mem_stats *s,
                  struct t4_dram_request **finished);

#endif
