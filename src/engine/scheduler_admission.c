/* Who gets in, and what of each prompt is known already. */
#include <string.h>

#include "base/clock.h"
#include "engine/scheduler_internal.h"

enum { WORTH = 16 }; /* tokens that are not read again, from which on something is done to save it */

/* ---- getting in ---- */

/* Whether all that run, and this job when it goes on behind the match, can get all full pages that they can need. Pages
 * that the prefix cache alone keeps can be had. */
static bool has_room(const scheduler *s, const job *j, prefix_match match) {
    uint64_t needed = kv_pool_running(s->pool, KV_FULL) + prefix_cache_awakened(s->cache, match);
    for (uint32_t i = 0; i < s->n_running; i++)
        if (s->running[i] != j) needed += s->running[i]->full_pages - s->running[i]->sequence.count[KV_FULL];
    needed += j->full_pages - (match.positions >> s->limits.paging.page_bits[KV_FULL]);
    return needed <= kv_pool_pages(s->pool, KV_FULL);
}

/* Gives the job its place; false when there is none yet. */
static bool find_room(scheduler *s, job *j) {
    prefix_match match = {0};
    if (j->cached) match = prefix_cache_find(s->cache, j->tokens, j->n_prompt);
    if (match.positions > 0 && (!has_room(s, j, match) || !prefix_cache_resume(s->cache, match, &j->sequence)))
        match.positions = 0; /* a cold start needs no page beside its own */
    if (match.positions == 0 && !has_room(s, j, match)) return false;
    j->known = match.positions;
    return true;
}

static void begin_running(scheduler *s, job *j) {
    pthread_mutex_lock(&s->lock);
    s->first = j->next;
    if (!s->first) s->last = &s->first;
    s->n_waiting--;
    s->running[s->n_running++] = j;
    pthread_mutex_unlock(&s->lock);
    j->next = NULL;
    j->admitted = clock_seconds();
}

/* In the order in which they came: one that needs many pages is not overtaken for ever. */
void scheduler_admit(scheduler *s) {
    while (s->n_running < s->most_running) {
        pthread_mutex_lock(&s->lock);
        job *j = s->first; /* stays there: this thread alone takes jobs out */
        pthread_mutex_unlock(&s->lock);
        if (!j) return;
        if (s->config.resume_points == 0) j->cached = false;
        if (!find_room(s, j)) return;
        begin_running(s, j);
    }
}

/* ---- the beginning of a prompt ---- */

/* Whether one that came earlier will soon have read more of what both begin with than is known of it. Nobody waits in a
 * circle, since nobody waits for one that came later. */
static bool is_led(const scheduler *s, uint32_t index) {
    const job *j = s->running[index];
    for (uint32_t i = 0; i < index; i++) {
        const job *leader = s->running[i];
        for (uint32_t n = 0; n < leader->n_marks && leader->cached; n++) {
            uint32_t mark = leader->marks[n];
            if (mark > leader->sequence.position && mark >= j->known + WORTH && mark < j->n_prompt &&
                memcmp(leader->tokens, j->tokens, mark * sizeof *j->tokens) == 0)
                return true;
        }
    }
    return false;
}

/* Others may have read on since it got in. */
static gptoss_status take_what_is_known(scheduler *s, job *j, gptoss_error *err) {
    prefix_match match = prefix_cache_find(s->cache, j->tokens, j->n_prompt);
    if (match.positions >= j->known + WORTH && has_room(s, j, match)) {
        sequence_clear(&j->sequence, s->pool);
        if (!prefix_cache_resume(s->cache, match, &j->sequence))
            return error_set(err, GPTOSS_INTERNAL, "no KV page for request %llu to go on behind what is known",
                             (unsigned long long)j->id);
        j->known = match.positions;
    }
    if (match.shared >= j->known + WORTH && match.shared + 1 < j->n_prompt) j->marks[j->n_marks++] = match.shared;
    for (uint32_t i = 0; i < j->n_marks; i++)
        if (j->marks[i] <= j->known) prefix_cache_touch(s->cache, j->tokens, j->marks[i]);
    return GPTOSS_OK;
}

gptoss_status scheduler_begin(scheduler *s, uint32_t index, bool *waits, gptoss_error *err) {
    job *j = s->running[index];
    *waits = !j->begun && j->cached && is_led(s, index);
    if (j->begun || *waits) return GPTOSS_OK;
    if (j->cached) {
        TRY(take_what_is_known(s, j, err));
        s->stats.cache_hits += j->known > 0;
        s->stats.cache_misses += j->known == 0;
    }
    j->begun = true;
    s->stats.prompt_tokens += j->n_prompt;
    s->stats.cached_tokens += j->known;
    if (j->known > 0 && j->request.on_progress) j->request.on_progress(j->request.context, j->known);
    return GPTOSS_OK;
}
