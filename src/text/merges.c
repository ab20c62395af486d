#include "text/merges.h"

#include <stdlib.h>

#include "base/mem.h"
#include "gguf/vocab_map.h"

struct merge_slot {
    uint32_t left, right; /* left UINT32_MAX: free */
    uint32_t result, priority;
};

gptoss_status merges_open(merge_table *table, size_t capacity, gptoss_error *err) {
    size_t slots = 16;
    while (slots / 2 < capacity && slots <= SIZE_MAX / 4) slots *= 2; /* at most half full */
    merge_table made = {.mask = slots - 1, .capacity = capacity, .seed = vocab_map_seed()};
    TRY(mem_array(slots, sizeof *made.slots, "merges", &made.slots, err));
    for (size_t i = 0; i < slots; i++) made.slots[i].left = UINT32_MAX;
    *table = made;
    return GPTOSS_OK;
}

void merges_close(merge_table *table) {
    free(table->slots);
    *table = (merge_table){0};
}

/* The slot that holds the pair, or the free one where it belongs. */
static struct merge_slot *slot_of(const merge_table *table, uint32_t left, uint32_t right) {
    uint64_t hash = vocab_map_mix((uint64_t)left << 32 | right, table->seed);
    for (size_t i = hash & table->mask;; i = (i + 1) & table->mask) {
        struct merge_slot *slot = &table->slots[i];
        if (slot->left == UINT32_MAX || (slot->left == left && slot->right == right)) return slot;
    }
}

void merges_add(merge_table *table, uint32_t left, uint32_t right, uint32_t result, uint32_t priority) {
    struct merge_slot *slot = slot_of(table, left, right);
    if (slot->left != UINT32_MAX || table->used == table->capacity) return;
    table->used++;
    *slot = (struct merge_slot){left, right, result, priority};
}

/* A token being built; symbols form a doubly linked list, each at the index of its first byte. */
struct merge_symbol {
    uint32_t id;
    uint32_t previous, next; /* indices; NONE at the ends */
    uint32_t priority;       /* of joining this with the next; NONE when they do not join */
    uint32_t joined;         /* the token that they would become */
};

#define NONE UINT32_MAX

void merges_free_scratch(merge_scratch *scratch) {
    free(scratch->symbols);
    free(scratch->heap);
    *scratch = (merge_scratch){0};
}

static gptoss_status reserve(merge_scratch *scratch, size_t size, gptoss_error *err) {
    if (size <= scratch->capacity) return GPTOSS_OK;
    size_t capacity = size < 128 ? 128 : size + size / 2;
    TRY(mem_resize(&scratch->symbols, capacity, sizeof *scratch->symbols, "tokens of a long word", err));
    TRY(mem_resize(&scratch->heap, capacity, 2 * sizeof *scratch->heap, "tokens of a long word", err));
    scratch->capacity = capacity;
    return GPTOSS_OK;
}

/* A binary heap of candidates, priority << 32 | index of the left symbol: the least is the next join to make. A
 * candidate whose symbol has gone or has another neighbour by now is stale; it is recognized when it comes out. Each
 * join takes one candidate out and puts at most two in, so 2 * size places are enough. */
typedef struct candidates {
    uint64_t *items;
    size_t count;
} candidates;

static void sift_down(candidates *c, size_t at) {
    uint64_t item = c->items[at];
    for (size_t child; (child = 2 * at + 1) < c->count; at = child) {
        if (child + 1 < c->count && c->items[child + 1] < c->items[child]) child++;
        if (item <= c->items[child]) break;
        c->items[at] = c->items[child];
    }
    c->items[at] = item;
}

static void push(candidates *c, uint64_t item) {
    size_t at = c->count++;
    for (size_t parent; at > 0 && c->items[parent = (at - 1) / 2] > item; at = parent) c->items[at] = c->items[parent];
    c->items[at] = item;
}

static uint64_t pop(candidates *c) {
    uint64_t least = c->items[0];
    c->items[0] = c->items[--c->count];
    if (c->count) sift_down(c, 0);
    return least;
}

/* Looks up what symbol `at` and its next one become. Returns whether they join. */
static bool find_join(const merge_table *table, struct merge_symbol *symbols, uint32_t at) {
    struct merge_symbol *symbol = &symbols[at];
    symbol->priority = NONE;
    if (symbol->next == NONE) return false;
    const struct merge_slot *slot = slot_of(table, symbol->id, symbols[symbol->next].id);
    if (slot->left == UINT32_MAX) return false;
    symbol->priority = slot->priority;
    symbol->joined = slot->result;
    return true;
}

static uint64_t candidate(const struct merge_symbol *symbols, uint32_t at) {
    return (uint64_t)symbols[at].priority << 32 | at;
}

gptoss_status merges_apply(const merge_table *table, const uint32_t byte_ids[256], const uint8_t *bytes, size_t size,
                           merge_scratch *scratch, tokens *out, gptoss_error *err) {
    if (size == 0) return GPTOSS_OK;
    TRY(reserve(scratch, size, err));
    struct merge_symbol *symbols = scratch->symbols;
    candidates open = {.items = scratch->heap};
    uint32_t n = (uint32_t)size;
    for (uint32_t i = 0; i < n; i++) {
        symbols[i].id = byte_ids[bytes[i]];
        symbols[i].previous = i == 0 ? NONE : i - 1;
        symbols[i].next = i + 1 == n ? NONE : i + 1;
    }
    for (uint32_t i = 0; i < n; i++)
        if (find_join(table, symbols, i)) open.items[open.count++] = candidate(symbols, i);
    for (size_t i = open.count / 2; i-- > 0;) sift_down(&open, i);

    while (open.count) {
        uint64_t least = pop(&open);
        uint32_t at = (uint32_t)least;
        struct merge_symbol *symbol = &symbols[at];
        if (symbol->priority != least >> 32) continue; /* stale */
        struct merge_symbol *gone = &symbols[symbol->next];
        symbol->id = symbol->joined;
        symbol->next = gone->next;
        gone->priority = NONE;
        if (symbol->next != NONE) symbols[symbol->next].previous = at;
        if (find_join(table, symbols, at)) push(&open, candidate(symbols, at));
        if (symbol->previous != NONE && find_join(table, symbols, symbol->previous))
            push(&open, candidate(symbols, symbol->previous));
    }
    for (uint32_t i = 0; i != NONE; i = symbols[i].next) TRY(tokens_add(out, symbols[i].id, err));
    return GPTOSS_OK;
}
