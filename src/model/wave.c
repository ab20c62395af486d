#include "model/wave.h"

#include <math.h>
#include <stdlib.h>

#include "base/mem.h"

/* ---- wishes ---- */

bool logits_wish_is_valid(const logits_wish *w) {
    if (w->kind == LOGITS_LISTED) return w->sums <= 1 && w->temperature >= 0 && isfinite(w->temperature);
    return w->kind <= LOGITS_ALL && w->sums == 0 && w->temperature == 0;
}

shortlist_wish logits_wish_list(const logits_wish *w) {
    return (shortlist_wish){.temperature = w->temperature, .sums = w->sums};
}

/* ---- making one ---- */

uint32_t wave_most_copies(const wave_limits *limits) { return KV_KINDS * limits->runs; }

uint64_t wave_most_pages(const wave_limits *limits) {
    uint64_t of_a_run = 0;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        of_a_run += kv_paging_most(&limits->paging, kind, limits->positions, limits->chunk);
    return of_a_run * limits->runs;
}

gptoss_status wave_open(const wave_limits *limits, wave *out, gptoss_error *err) {
    wave w = {0};
    gptoss_status status = mem_array(limits->chunk, sizeof *w.tokens, "waves", &w.tokens, err);
    if (status == GPTOSS_OK) status = mem_array(limits->runs, sizeof *w.runs, "waves", &w.runs, err);
    if (status == GPTOSS_OK) status = mem_array(wave_most_copies(limits), sizeof *w.copies, "waves", &w.copies, err);
    if (status == GPTOSS_OK) status = mem_array(wave_most_pages(limits), sizeof *w.pages, "waves", &w.pages, err);
    if (status != GPTOSS_OK) {
        wave_close(&w);
        return status;
    }
    *out = w;
    return GPTOSS_OK;
}

void wave_close(wave *w) {
    free(w->tokens);
    free(w->runs);
    free(w->copies);
    free(w->pages);
    *w = (wave){0};
}

void wave_clear(wave *w) { w->n_tokens = w->n_runs = w->n_copies = w->n_pages = 0; }

void wave_add_run(wave *w, const wave_limits *limits, const uint32_t *ids, uint32_t count, uint32_t position,
                  uint32_t logits_rows, logits_wish wish, const wave_place *place) {
    wave_run run = {.count = count};
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        kv_span seen = kv_paging_seen(&limits->paging, kind, position, count);
        run.pages[kind] = w->n_pages;
        if (kind == KV_WINDOW) run.window_first = seen.begin;
        for (uint32_t i = seen.begin; i < seen.end; i++)
            w->pages[w->n_pages++] = place->pages[kind][i - place->first[kind]];
    }
    for (uint32_t i = 0; i < count; i++) {
        wave_token *t = &w->tokens[w->n_tokens++];
        *t = (wave_token){.id = ids[i], .run = w->n_runs, .position = position + i};
        if (count - i <= logits_rows) t->logits = wish;
    }
    w->runs[w->n_runs++] = run;
}

void wave_add_copy(wave *w, kv_kind kind, uint32_t from, uint32_t to) {
    w->copies[w->n_copies++] = (wave_copy){.kind = kind, .from = from, .to = to};
}

uint32_t wave_logits_rows(const wave *w) {
    uint32_t rows = 0;
    for (uint32_t i = 0; i < w->n_tokens; i++) rows += w->tokens[i].logits.kind != LOGITS_NONE;
    return rows;
}

/* ---- checking one ---- */

/* Whether the tokens from `first` on are those of the run. */
static bool tokens_fit(const wave *w, uint32_t index, uint32_t first, const wave_limits *limits) {
    uint32_t count = w->runs[index].count, position = w->tokens[first].position;
    if (position >= limits->positions || count > limits->positions - position) return false;
    for (uint32_t i = 0; i < count; i++) {
        const wave_token *t = &w->tokens[first + i];
        if (t->id >= limits->n_vocab || t->run != index || t->position != position + i || t->reserved != 0 ||
            !logits_wish_is_valid(&t->logits))
            return false;
    }
    return true;
}

/* Whether the run's pages are the next ones from *at on, and exist. */
static bool pages_fit(const wave *w, const wave_run *run, uint32_t position, const wave_limits *limits, uint32_t *at) {
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        kv_span seen = kv_paging_seen(&limits->paging, kind, position, run->count);
        uint32_t count = seen.end - seen.begin;
        if (run->pages[kind] != *at || count > w->n_pages - *at) return false;
        if (kind == KV_WINDOW && run->window_first != seen.begin) return false;
        for (uint32_t i = 0; i < count; i++)
            if (w->pages[*at + i] >= limits->paging.pages[kind]) return false;
        *at += count;
    }
    return true;
}

static bool counts_fit(const wave *w, const wave_limits *limits) {
    return w->n_tokens >= 1 && w->n_tokens <= limits->chunk && w->n_runs <= limits->runs && w->n_runs <= w->n_tokens &&
           w->n_copies <= wave_most_copies(limits) && w->n_pages <= wave_most_pages(limits);
}

static bool is_well_formed(const wave *w, const wave_limits *limits) {
    uint32_t token = 0, page = 0;
    if (!counts_fit(w, limits)) return false;
    for (uint32_t i = 0; i < w->n_runs; i++) {
        const wave_run *run = &w->runs[i];
        if (run->count < 1 || run->count > w->n_tokens - token || !tokens_fit(w, i, token, limits) ||
            !pages_fit(w, run, w->tokens[token].position, limits, &page))
            return false;
        token += run->count;
    }
    return token == w->n_tokens && page == w->n_pages;
}

/* A visit to one page of a run; false ends the walk. */
typedef bool visit(void *context, uint32_t run, uint32_t *mark, bool stored);

static uint32_t *mark_of(uint32_t *marks, const kv_paging *paging, uint32_t kind, uint32_t page) {
    return marks + page + (kind == KV_WINDOW ? paging->pages[KV_FULL] : 0);
}

/* All pages of all runs of a well-formed wave; `stored`: tokens are stored in it. */
static bool walk(const wave *w, const kv_paging *paging, uint32_t *marks, visit *v, void *context) {
    uint32_t token = 0;
    for (uint32_t r = 0; r < w->n_runs; token += w->runs[r++].count) {
        uint32_t position = w->tokens[token].position, count = w->runs[r].count;
        for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
            kv_span seen = kv_paging_seen(paging, kind, position, count);
            uint32_t from = kv_paging_stored(paging, kind, position, count).begin;
            const uint32_t *pages = w->pages + w->runs[r].pages[kind];
            for (uint32_t i = seen.begin; i < seen.end; i++)
                if (!v(context, r, mark_of(marks, paging, kind, pages[i - seen.begin]), i >= from)) return false;
        }
    }
    return true;
}

static bool mark_stored(void *sound, uint32_t run, uint32_t *mark, bool stored) {
    if (!stored) return true;
    if (*mark != 0) *(bool *)sound = false;
    *mark = run + 1;
    return true;
}

/* A page that is only seen must be stored in by nobody. */
static bool is_not_marked(void *context, uint32_t run, uint32_t *mark, bool stored) {
    (void)context, (void)run;
    return stored || *mark == 0;
}

static bool unmark(void *context, uint32_t run, uint32_t *mark, bool stored) {
    (void)context, (void)run, (void)stored;
    *mark = 0;
    return true;
}

static bool copies_fit(const wave *w, const kv_paging *paging, uint32_t *marks) {
    for (uint32_t i = 0; i < w->n_copies; i++) {
        const wave_copy *c = &w->copies[i];
        if (c->kind >= KV_KINDS || c->from >= paging->pages[c->kind] || c->to >= paging->pages[c->kind] ||
            c->from == c->to || c->reserved != 0)
            return false;
        uint32_t *mark = mark_of(marks, paging, c->kind, c->to);
        if (*mark == 0 || *mark == UINT32_MAX) return false;
        *mark = UINT32_MAX; /* a second copy to it is one too many */
    }
    return true;
}

bool wave_is_valid(const wave *w, const wave_limits *limits, uint32_t *marks) {
    if (!is_well_formed(w, limits)) return false;
    bool sound = true;
    walk(w, &limits->paging, marks, mark_stored, &sound);
    sound = sound && walk(w, &limits->paging, marks, is_not_marked, NULL) && copies_fit(w, &limits->paging, marks);
    walk(w, &limits->paging, marks, unmark, NULL);
    return sound;
}
