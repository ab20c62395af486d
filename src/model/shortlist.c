#include "model/shortlist.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* What is less likely than e^-50 of the likeliest adds less to a sum than its rounding, over any vocabulary. */
static const double NOTHING = -50;

static bool goes_before(shortlist_entry a, shortlist_entry b) {
    return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

static int in_order(const void *a, const void *b) {
    const shortlist_entry *x = a, *y = b;
    return goes_before(*x, *y) ? -1 : goes_before(*y, *x);
}

/* ---- the likeliest ---- */

/* heap[count]: no entry goes before its children, so that the last in order is at the top. Moves the one at `at` down
 * to where it belongs. */
static void sink(shortlist_entry *heap, uint32_t count, uint32_t at) {
    for (;;) {
        uint32_t last = at, child = 2 * at + 1;
        if (child < count && goes_before(heap[last], heap[child])) last = child;
        if (child + 1 < count && goes_before(heap[last], heap[child + 1])) last = child + 1;
        if (last == at) return;
        shortlist_entry moved = heap[at];
        heap[at] = heap[last];
        heap[last] = moved;
        at = last;
    }
}

static bool is_damaged(float logit) { return !(logit < INFINITY); }

static void mark_damaged(shortlist *l, shortlist_entry found) {
    l->damaged = 1;
    l->count = 1;
    l->entries[0] = found;
}

/* Later tokens replace earlier ones only when they are likelier. */
static void find_likeliest(const float *logits, uint32_t first, uint32_t count, shortlist *l) {
    shortlist_entry *heap = l->entries;
    l->count = count < SHORTLIST_MOST ? count : SHORTLIST_MOST;
    for (uint32_t i = 0; i < l->count; i++) {
        heap[i] = (shortlist_entry){first + i, logits[i]};
        if (is_damaged(logits[i])) {
            mark_damaged(l, heap[i]);
            return;
        }
    }
    for (uint32_t i = l->count / 2; i-- > 0;) sink(heap, l->count, i);
    for (uint32_t i = l->count; i < count; i++) {
        if (logits[i] <= heap[0].logit) continue; /* not so of NaN */
        heap[0] = (shortlist_entry){first + i, logits[i]};
        if (is_damaged(logits[i])) {
            mark_damaged(l, heap[0]);
            return;
        }
        sink(heap, l->count, 0);
    }
    qsort(heap, l->count, sizeof *heap, in_order);
}

/* ---- the sums ---- */

static double most_of(const shortlist *l) { return (double)l->entries[0].logit; }

static void add_up(const float *logits, uint32_t count, shortlist *l) {
    double most = most_of(l), sum = 0, weighted = 0;
    for (uint32_t i = 0; i < count; i++) {
        double shifted = (double)logits[i] - most;
        if (!(shifted > NOTHING)) continue;
        double e = exp(shifted);
        sum += e;
        weighted += e * shifted;
    }
    l->sum = sum;
    l->weighted = weighted;
}

static double mass_of(const float *logits, uint32_t count, double most, double temperature) {
    double mass = 0;
    for (uint32_t i = 0; i < count; i++) {
        double shifted = ((double)logits[i] - most) / temperature;
        if (shifted > NOTHING) mass += exp(shifted);
    }
    return mass;
}

void shortlist_make(const float *logits, uint32_t first, uint32_t count, shortlist_wish wish, shortlist *out) {
    memset(out, 0, sizeof *out);
    if (count == 0) return;
    find_likeliest(logits, first, count, out);
    if (out->damaged || out->entries[0].logit == -INFINITY) return;
    if (wish.sums) add_up(logits, count, out);
    if (wish.temperature > 0)
        out->mass =
            wish.sums && wish.temperature == 1 ? out->sum : mass_of(logits, count, most_of(out), wish.temperature);
}

/* ---- merging ---- */

static void merge_entries(shortlist *into, const shortlist *other) {
    shortlist_entry merged[SHORTLIST_MOST];
    uint32_t a = 0, b = 0, count = 0;
    while (count < SHORTLIST_MOST && (a < into->count || b < other->count)) {
        bool take = b == other->count || (a < into->count && goes_before(into->entries[a], other->entries[b]));
        merged[count++] = take ? into->entries[a++] : other->entries[b++];
    }
    memcpy(into->entries, merged, count * sizeof *merged);
    into->count = count;
}

/* The sums, relative to `most` instead of entries[0].logit. */
static void rebase(shortlist *l, double most, shortlist_wish wish) {
    double shift = most_of(l) - most;
    if (l->count == 0 || shift == 0 || most == -INFINITY) return;
    if (l->entries[0].logit == -INFINITY) return; /* its sums are 0 */
    double factor = exp(shift);
    l->weighted = factor > 0 ? factor * (l->weighted + shift * l->sum) : 0;
    l->sum *= factor;
    if (wish.temperature > 0) l->mass *= exp(shift / wish.temperature);
}

void shortlist_merge(shortlist *into, const shortlist *added, shortlist_wish wish) {
    if (into->damaged || added->count == 0) return;
    if (added->damaged || into->count == 0) {
        *into = *added;
        return;
    }
    shortlist other = *added;
    double most = fmax(most_of(into), most_of(&other));
    rebase(into, most, wish);
    rebase(&other, most, wish);
    into->sum += other.sum;
    into->weighted += other.weighted;
    into->mass += other.mass;
    merge_entries(into, &other);
}

/* ---- checking ---- */

bool shortlist_is_valid(const shortlist *l, uint32_t first, uint32_t count) {
    uint32_t most = count < SHORTLIST_MOST ? count : SHORTLIST_MOST;
    if (l->damaged > 1 || l->count != (l->damaged ? 1 : most)) return false;
    for (uint32_t i = 0; i < l->count; i++) {
        const shortlist_entry *e = &l->entries[i];
        if (e->token < first || e->token - first >= count || is_damaged(e->logit) != (l->damaged == 1)) return false;
        if (i > 0 && !goes_before(e[-1], *e)) return false;
    }
    return isfinite(l->sum) && isfinite(l->weighted) && isfinite(l->mass);
}
