/* nodes.h: what is known of the machines that shall run a model: measured here, or told by a file.
 *
 * A nodes file is JSON:
 *
 *   {"nodes": [{"name": "front", "memory": "16G", "cores": 4, "read_gb_s": 20},
 *              {"name": "office", "count": 3, "memory": "8G"}],
 *    "link": {"latency_us": 150, "gbit_s": 1}}
 *
 * Only "memory" must be there: bytes, or text with K, M, G (powers of 1024). */
#ifndef PLAN_NODES_H
#define PLAN_NODES_H

#include <stddef.h>

#include "plan/placement.h"

enum { NODES_MOST = 1024 };

typedef struct node_facts {
    char name[48];                      /* printable */
    uint64_t memory;                    /* bytes, the system's share included */
    uint32_t cores;                     /* that compute for this rank */
    double read_rate;                   /* of weights: bytes a second that all of them read together */
    double layer_seconds, wake_seconds; /* see plan_node */
    bool is_assumed;                    /* nobody measured the rate */
    plan_link link;                     /* to the next node; the last one's to node 0 */
} node_facts;

/* What is assumed where nothing is said: 4 cores, 8 GB/s for each up to 20 GB/s in all; Gigabit Ethernet. */
node_facts node_facts_default(void);
double node_assumed_rate(uint32_t cores);

/* `text` need not end in NUL. *out: [*count], 1 to NODES_MOST, owned by the caller. GPTOSS_BAD_INPUT tells which node
 * and key is wrong. */
gptoss_status nodes_parse(const char *text, size_t size, node_facts **out, uint32_t *count, gptoss_error *err);

/* "16G", "500M", "123456" to bytes; false when it is none, or 0, or more than 2^50. */
bool nodes_read_bytes(const char *text, uint64_t *out);

/* For placement_find: with the whole file, and of the memory what a model may have. */
plan_node node_for_plan(const node_facts *facts);

#endif
