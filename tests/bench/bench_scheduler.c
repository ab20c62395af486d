/* Requests through the scheduler: tokens a second of all answers together, how long a token of an answer waits, and
 * what a long prompt that comes in between does to that; then the second turn of a chat, with and without the prefix
 * cache.
 *
 *     mpirun -np N bench_scheduler MODEL.gguf [STREAMS [TOKENS [PROMPT [THREADS]]]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "engine/scheduler.h"
#include "random.h"

enum { CHUNK = 128, TURN = 16 };

typedef struct numbers {
    uint32_t streams, tokens, prompt, threads;
} numbers;

struct chat;

/* What one answer saw. */
typedef struct speaker {
    double last, longest; /* seconds: of the last token; between two */
    uint32_t *ids;        /* its tokens, or NULL */
    struct chat *chat;    /* goes on when it has ended; or NULL */
    scheduler_result result;
} speaker;

/* The turn after one. */
typedef struct chat {
    scheduler *scheduler;
    speaker *next;
    const uint32_t *ids;
    uint32_t count;
} chat;

static bool take_token(void *context, const scheduler_token *t) {
    speaker *s = context;
    double now = clock_seconds();
    if (t->step > 0 && now - s->last > s->longest) s->longest = now - s->last;
    s->last = now;
    if (s->ids) s->ids[t->step] = t->token;
    return true;
}

static void submit(scheduler *s, speaker *who, const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens);

static void take_end(void *context, const scheduler_result *result) {
    speaker *s = context;
    s->result = *result;
    if (!s->chat) return;
    submit(s->chat->scheduler, s->chat->next, s->chat->ids, s->chat->count, 1);
    scheduler_finish(s->chat->scheduler);
}

static void submit(scheduler *s, speaker *who, const uint32_t *prompt, uint32_t n_prompt, uint32_t max_tokens) {
    gptoss_error err = {0};
    uint64_t id;
    const scheduler_request r = {.prompt = prompt,
                                 .n_prompt = n_prompt,
                                 .max_tokens = max_tokens,
                                 .sampling = sampler_defaults(),
                                 .context = who,
                                 .on_token = take_token,
                                 .on_end = take_end};
    if (scheduler_submit(s, &r, &id, &err) != GPTOSS_OK) fprintf(stderr, "%s\n", err.text);
}

static scheduler *open_scheduler(engine *e, uint32_t streams, uint32_t points) {
    scheduler *s = NULL;
    gptoss_error err = {0};
    const scheduler_config config = {.waiting = streams + 1, .resume_points = points};
    if (scheduler_open(e->pipeline, &config, &s, &err) != GPTOSS_OK) exit(1);
    return s;
}

static double run_all(scheduler *s) {
    gptoss_error err = {0};
    double start = clock_seconds();
    if (scheduler_run(s, &err) != GPTOSS_OK) fprintf(stderr, "%s\n", err.text);
    return clock_seconds() - start;
}

static void measure(engine *e, const numbers *n, uint32_t streams, const uint32_t *ids, bool reader) {
    speaker *all = calloc(streams + 1, sizeof *all);
    scheduler *s = open_scheduler(e, streams, 0);
    for (uint32_t i = 0; i < streams; i++) submit(s, &all[i], ids + i, 1, n->tokens);
    if (reader) submit(s, &all[streams], ids, n->prompt, 1);
    scheduler_finish(s);
    double seconds = run_all(s), longest = 0, mean = 0;
    for (uint32_t i = 0; i < streams; i++) {
        if (all[i].longest > longest) longest = all[i].longest;
        mean += all[i].result.generation_seconds / (n->tokens - 1) / streams;
    }
    printf("%2u streams%-28s %7.2f tokens/s; a token takes %.0f ms, at most %.0f ms", streams,
           reader ? ", while a prompt is read:" : ":", streams * n->tokens / seconds, mean * 1e3, longest * 1e3);
    if (reader) printf("; the prompt of %u tokens took %.1f s", n->prompt, all[streams].result.prompt_seconds);
    printf("\n");
    scheduler_close(s);
    free(all);
}

/* A chat's second turn: the first one's prompt and answer, and some new tokens. */
static void measure_second_turn(engine *e, const numbers *n, uint32_t *ids) {
    for (uint32_t points = 0; points <= 4; points += 4) {
        speaker first = {.ids = ids + n->prompt}, second = {0};
        scheduler *s = open_scheduler(e, 2, points);
        chat c = {s, &second, ids, n->prompt + 2 * TURN};
        first.chat = &c;
        submit(s, &first, ids, n->prompt, TURN);
        run_all(s);
        printf("second turn, %4u of %u tokens cached: first token after %.2f s\n", second.result.cached_tokens,
               second.result.prompt_tokens, second.result.prompt_seconds);
        scheduler_close(s);
    }
}

int main(int argc, char **argv) {
    numbers n = {8, 32, 512, 1};
    uint32_t *fields[] = {&n.streams, &n.tokens, &n.prompt, &n.threads};
    for (int i = 2; i < argc && i < 6; i++) *fields[i - 2] = (uint32_t)strtoul(argv[i], NULL, 10);
    gptoss_error err = {0};
    cluster world;
    engine e;
    if (argc < 2 || n.streams < 1 || n.tokens < 2 || n.prompt < 1) return 2;
    gptoss_status status = cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err);
    const engine_config config = {.path = argv[1],
                                  .threads = n.threads,
                                  .sequences = n.streams + 1,
                                  .resume_points = 4,
                                  .chunk = CHUNK,
                                  .logits_rows = n.streams + 1};
    if (status == GPTOSS_OK) status = engine_open(&world, &config, &e, &err);
    if (status == GPTOSS_OK) status = engine_start(&e, n.prompt + n.tokens + 2 * TURN, &err);
    if (status == GPTOSS_OK && world.rank != 0) status = pipeline_work(e.pipeline, &err);
    if (status == GPTOSS_OK && world.rank == 0) {
        uint64_t seed = 1;
        uint32_t *ids = calloc(n.prompt + n.streams + 2 * TURN, sizeof *ids);
        for (uint32_t i = 0; i < n.prompt + n.streams + 2 * TURN; i++)
            ids[i] = (uint32_t)random_below(&seed, e.hp.n_vocab);
        measure(&e, &n, 1, ids, false);
        measure(&e, &n, 1, ids, false);
        if (n.streams > 1) measure(&e, &n, n.streams, ids, false);
        measure(&e, &n, n.streams, ids, true);
        measure_second_turn(&e, &n, ids);
        pipeline_stop(e.pipeline);
        free(ids);
    }
    if (status != GPTOSS_OK && err.text[0]) fprintf(stderr, "%s\n", err.text);
    cluster_close(&world);
    return status != GPTOSS_OK;
}
