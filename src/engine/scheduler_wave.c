/* Waves: who travels in the next one, and what is done with what comes back. */
#include <string.h>

#include "base/clock.h"
#include "engine/scheduler_internal.h"

/* ---- who travels ---- */

static bool is_reading(const job *j) { return j->sequence.position < j->n_prompt; }

/* Whether the next token of an answer can be sent off. */
static bool can_go_on(const job *j) {
    const scheduler_request *r = &j->request;
    if (is_reading(j) || j->sequence.position == j->n_tokens) return false;
    return !r->has_room || r->has_room(r->context);
}

static uint32_t tokens_left(const scheduler *s) { return s->config.chunk - s->wave.n_tokens; }

static uint32_t rows_left(const scheduler *s) { return pipeline_logits_rows(s->pipeline) - wave_logits_rows(&s->wave); }

static gptoss_status add(scheduler *s, job *j, uint32_t count, uint32_t rows, gptoss_error *err) {
    const kv_reclaim reclaim = {prefix_cache_reclaim, s->cache};
    if (!sequence_extend(&j->sequence, &s->limits, s->pool, count, reclaim))
        return error_set(err, GPTOSS_INTERNAL, "no KV pages for request %llu, which were set aside for it",
                         (unsigned long long)j->id);
    booking *b = &s->bookings[s->submitted % s->depth];
    b->seats[b->count++] = (seat){j, j->sequence.position, count, rows};
    sequence_add_run(&j->sequence, &s->limits, &s->wave, j->tokens + j->sequence.position, count, rows,
                     rows > 0 ? job_wish(j) : (logits_wish){0});
    return GPTOSS_OK;
}

/* The next tokens of answers. They are spread over several waves, so that all stages have work. */
static gptoss_status add_answers(scheduler *s, uint32_t answers, gptoss_error *err) {
    uint32_t waves = pipeline_spread(s->pipeline), most = (answers + waves - 1) / waves, turn = s->next_answer;
    for (uint32_t i = 0; i < s->n_running && most > 0; i++) {
        uint32_t index = (turn + i) % s->n_running;
        job *j = s->running[index];
        if (!can_go_on(j)) continue;
        if (tokens_left(s) == 0 || rows_left(s) == 0) break;
        TRY(add(s, j, 1, 1, err));
        s->next_answer = index + 1;
        most--;
    }
    return GPTOSS_OK;
}

/* How many tokens of its prompt a job sends within a budget, and how many of these want logits. */
static uint32_t prompt_part(const scheduler *s, const job *j, uint32_t budget, uint32_t *rows) {
    uint32_t left = j->n_prompt - j->sequence.position, free = rows_left(s), count = left < budget ? left : budget;
    if (j->request.on_logits) {
        *rows = count < free ? count : free;
        return *rows;
    }
    *rows = count == left && j->request.max_tokens > 0;
    if (*rows <= free) return count;
    *rows = 0;
    return count - 1; /* the last one takes another wave */
}

/* Parts of prompts. The request whose turn it is gets all that is left of the wave, and the next ones what it leaves.
 */
static gptoss_status add_prompts(scheduler *s, uint32_t budget, gptoss_error *err) {
    uint32_t turn = s->next_prompt;
    bool passed = false, waits;
    if (budget > tokens_left(s)) budget = tokens_left(s);
    for (uint32_t i = 0; i < s->n_running && budget > 0; i++) {
        uint32_t index = (turn + i) % s->n_running, rows;
        job *j = s->running[index];
        if (!is_reading(j)) continue;
        TRY(scheduler_begin(s, index, &waits, err));
        if (waits) continue;
        uint32_t count = prompt_part(s, j, budget, &rows);
        if (count == 0) continue;
        TRY(add(s, j, count, rows, err));
        if (!passed) s->next_prompt = index + 1;
        passed = true;
        budget -= count;
    }
    return GPTOSS_OK;
}

/* ---- sending ---- */

/* Resume points of a prompt lie where its pages are all there: within the run that was just sent. */
static void remember_prompt(scheduler *s, job *j, uint32_t sent) {
    uint32_t position = j->sequence.position;
    for (uint32_t i = 0; i < j->n_marks; i++)
        if (j->marks[i] > position && j->marks[i] <= position + sent)
            prefix_cache_add(s->cache, j->tokens, j->marks[i], &j->sequence);
}

gptoss_status scheduler_send(scheduler *s, bool *sent, gptoss_error *err) {
    booking *b = &s->bookings[s->submitted % s->depth];
    uint32_t answers = 0;
    wave_clear(&s->wave);
    b->count = 0;
    for (uint32_t i = 0; i < s->n_running; i++) answers += !is_reading(s->running[i]);
    uint32_t budget = answers > 0 ? s->config.shared_chunk : s->config.chunk;
    bool prompts_first = s->submitted % 2; /* when there is not room for all, neither waits for ever */
    if (prompts_first) TRY(add_prompts(s, budget, err));
    TRY(add_answers(s, answers, err));
    if (!prompts_first) TRY(add_prompts(s, budget, err));
    *sent = b->count > 0;
    if (b->count == 0) return GPTOSS_OK;
    TRY(pipeline_submit(s->pipeline, &s->wave, err));
    s->submitted++;
    s->stats.waves++;
    for (uint32_t i = 0; i < b->count; i++) {
        job *j = b->seats[i].job;
        remember_prompt(s, j, b->seats[i].count);
        sequence_advance(&j->sequence, &s->limits, s->pool, b->seats[i].count);
    }
    return GPTOSS_OK;
}

/* ---- what comes back ---- */

/* A message ended just before: the next prompt may hold it, but not what comes now. */
static void remember_message(scheduler *s, job *j) {
    uint32_t start = j->request.message_start;
    if (!j->cached || start == 0 || j->tokens[j->n_tokens - 1] != start || j->messages == JOB_MESSAGES) return;
    prefix_cache_add(s->cache, j->tokens, j->sequence.position, &j->sequence);
    j->messages++;
}

/* rows: of the wave; those of the seat begin at `first`. */
static void take_results(scheduler *s, const seat *at, const logits_row *rows, uint32_t first) {
    job *j = at->job;
    const scheduler_request *r = &j->request;
    uint32_t done = at->position + at->count, last = first + at->rows - 1;
    bool in_prompt = at->position < j->n_prompt, ended = false;
    scheduler_end end = SCHEDULER_LENGTH;
    gptoss_error why = {0};
    if (r->on_logits && at->rows > 0) r->on_logits(r->context, done - at->rows, at->rows, rows[first].logits);
    if (in_prompt && r->on_progress) r->on_progress(r->context, done);
    if (done < j->n_prompt) return;
    if (in_prompt) j->read = clock_seconds();
    if (r->max_tokens == 0) {
        ended = true;
    } else if (job_choose(j, s->pipeline, last, &rows[last], &ended, &end, &why) != GPTOSS_OK) {
        ended = true;
        end = SCHEDULER_FAILED;
    } else {
        s->stats.generated_tokens++;
        remember_message(s, j);
    }
    if (ended) scheduler_retire(s, j, end, &why);
}

gptoss_status scheduler_collect(scheduler *s, gptoss_error *err) {
    const logits_row *rows;
    booking *b = &s->bookings[s->collected++ % s->depth];
    TRY(pipeline_collect(s->pipeline, &rows, err));
    for (uint32_t i = 0, first = 0; i < b->count; first += b->seats[i++].rows)
        if (b->seats[i].job) take_results(s, &b->seats[i], rows, first);
    return GPTOSS_OK;
}
