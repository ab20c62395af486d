#include "engine/bench.h"

#include <stdlib.h>

#include "base/bandwidth.h"
#include "base/cancel.h"
#include "base/clock.h"
#include "base/mem.h"
#include "cluster/link.h"
#include "engine/sampler.h"

enum { READ_ROUNDS = 5, READ_RUNS = 64, PACE_WAVES = 6 };
static const size_t READ_BYTES = (size_t)1 << 30;

struct bench {
    engine *engine;
    uint64_t random;
    uint32_t *filled; /* [streams]: tokens that each sequence has held */
    uint32_t streams; /* the engine's sequences */
    trace *trace;     /* borrowed, or NULL */
    sampler *sampler; /* on rank 0, as all that follow */
    wave_limits limits;
    wave wave;
    uint32_t *ids;             /* [chunk] */
    uint32_t *pages[KV_KINDS]; /* [streams][of_stream]: where every position of every sequence is kept */
    uint32_t of_stream[KV_KINDS];
    uint64_t *gathered;
};

/* ---- opening ---- */

static gptoss_status open_pages(bench *b, gptoss_error *err) {
    const wave_limits *l = &b->limits;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        uint32_t count = kv_paging_stored(&l->paging, kind, l->positions - 1, 1).end;
        TRY(mem_array((size_t)b->streams * count, sizeof *b->ids, "measurement", &b->pages[kind], err));
        b->of_stream[kind] = count;
        for (uint32_t s = 0; s < b->streams; s++)
            for (uint32_t i = 0; i < count; i++)
                b->pages[kind][(size_t)s * count + i] = kv_paging_own(&l->paging, kind, l->positions, l->chunk, s, i);
    }
    return GPTOSS_OK;
}

static gptoss_status open_buffers(bench *b, gptoss_error *err) {
    const engine *e = b->engine;
    const sampler_settings greedy = sampler_defaults();
    TRY(mem_array(b->streams, sizeof *b->filled, "measurement", &b->filled, err));
    if (e->cluster.rank != 0) return GPTOSS_OK;
    TRY(wave_open(&b->limits, &b->wave, err));
    TRY(mem_array(e->config.chunk, sizeof *b->ids, "measurement", &b->ids, err));
    TRY(open_pages(b, err));
    TRY(mem_array((size_t)e->cluster.size, sizeof(bench_times), "measurement", &b->gathered, err));
    return sampler_open(&greedy, e->hp.n_vocab, &b->sampler, err);
}

gptoss_status bench_open(engine *e, uint64_t seed, bench **out, gptoss_error *err) {
    bench *b = NULL;
    gptoss_status status = mem_array(1, sizeof *b, "measurement", &b, err);
    if (status == GPTOSS_OK) {
        *b = (bench){.engine = e, .random = seed, .limits = stage_limits(e->stage)};
        b->streams = b->limits.runs;
        status = open_buffers(b, err);
    }
    status = cluster_agree(&e->cluster, status, err);
    if (status == GPTOSS_OK)
        *out = b;
    else
        bench_close(b);
    return status;
}

void bench_close(bench *b) {
    if (!b) return;
    sampler_close(b->sampler);
    free(b->gathered);
    wave_close(&b->wave);
    free(b->ids);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) free(b->pages[kind]);
    free(b->filled);
    free(b);
}

/* ---- the work, on rank 0 ---- */

/* The splitmix64 generator (Steele, Lea, Flood 2014). */
static uint32_t random_token(bench *b) {
    uint64_t z = b->random += 0x9E3779B97F4A7C15;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9;
    z = (z ^ z >> 27) * 0x94D049BB133111EB;
    return (uint32_t)((z ^ z >> 31) % b->engine->hp.n_vocab);
}

static gptoss_status interrupted(gptoss_error *err) {
    return error_set(err, GPTOSS_CANCELLED, "interrupted while measuring");
}

/* Adds random tokens at positions [position, position + count) of a sequence to the wave; the last of them may want its
 * logits. */
static void add_run(bench *b, uint32_t sequence, uint32_t position, uint32_t count, bool logits) {
    wave_place place = {0};
    for (uint32_t i = 0; i < count; i++) b->ids[i] = random_token(b);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        place.pages[kind] = b->pages[kind] + (size_t)sequence * b->of_stream[kind];
    wave_add_run(&b->wave, &b->limits, b->ids, count, position, logits, (logits_wish){.kind = LOGITS_LISTED}, &place);
}

/* Reads positions [begin, end) of a sequence in chunks, as many under way as the pipeline holds. */
static gptoss_status read_tokens(bench *b, uint32_t sequence, uint32_t begin, uint32_t end, gptoss_error *err) {
    pipeline *p = b->engine->pipeline;
    uint32_t chunk = b->engine->config.chunk, under_way = 0;
    const logits_row *rows;
    for (uint32_t at = begin; at < end || under_way > 0;) {
        if (cancel_requested()) return interrupted(err);
        if (at < end && under_way < pipeline_depth(p)) {
            uint32_t count = end - at < chunk ? end - at : chunk;
            wave_clear(&b->wave);
            add_run(b, sequence, at, count, at + count == end);
            TRY(pipeline_submit(p, &b->wave, err));
            at += count;
            under_way++;
        } else {
            TRY(pipeline_collect(p, &rows, err));
            under_way--;
        }
    }
    return GPTOSS_OK;
}

/* The sequences of wave `index` of `waves`. */
static void wave_share(uint32_t streams, uint32_t waves, uint32_t index, uint32_t *begin, uint32_t *end) {
    *begin = (uint32_t)((uint64_t)streams * index / waves);
    *end = (uint32_t)((uint64_t)streams * (index + 1) / waves);
}

static gptoss_status submit_step(bench *b, uint32_t position, uint32_t begin, uint32_t end, gptoss_error *err) {
    wave_clear(&b->wave);
    for (uint32_t s = begin; s < end; s++) add_run(b, s, position, 1, true);
    return pipeline_submit(b->engine->pipeline, &b->wave, err);
}

static gptoss_status collect_step(bench *b, uint32_t begin, uint32_t end, gptoss_error *err) {
    const logits_row *rows;
    uint32_t token;
    TRY(pipeline_collect(b->engine->pipeline, &rows, err));
    for (uint32_t i = 0; i < end - begin; i++) TRY(sampler_next(b->sampler, rows[i].list, NULL, &token, err));
    return GPTOSS_OK;
}

/* A wave goes off again as soon as its tokens were chosen, while the others travel. */
static gptoss_status generate_steps(bench *b, uint32_t depth, uint32_t streams, uint32_t steps, gptoss_error *err) {
    uint32_t waves = pipeline_spread(b->engine->pipeline), begin, end;
    if (waves > streams) waves = streams;
    for (uint32_t step = 0; step <= steps; step++)
        for (uint32_t i = 0; i < waves; i++) {
            if (cancel_requested()) return interrupted(err);
            wave_share(streams, waves, i, &begin, &end);
            if (step > 0) TRY(collect_step(b, begin, end, err));
            if (step < steps) TRY(submit_step(b, depth + step, begin, end, err));
        }
    return GPTOSS_OK;
}

/* ---- measuring, on all ranks ---- */

typedef struct job {
    uint32_t depth, streams, tokens;
    bool generate;
} job;

static gptoss_status do_job(bench *b, const job *j, gptoss_error *err) {
    if (j->generate) return generate_steps(b, j->depth, j->streams, j->tokens, err);
    return read_tokens(b, 0, j->depth, j->depth + j->tokens, err);
}

static gptoss_status do_fill(bench *b, const job *j, gptoss_error *err) {
    for (uint32_t s = 0; s < j->streams; s++)
        if (b->filled[s] < j->depth) TRY(read_tokens(b, s, b->filled[s], j->depth, err));
    return GPTOSS_OK;
}

typedef gptoss_status work(bench *b, const job *j, gptoss_error *err);

/* The clocks of this rank; what they gain while a job runs is what it spent on it. Sums in the midst of a stage's work
 * belong to that. */
static bench_times read_clocks(const engine *e) {
    stage_times spent = stage_spent(e->stage);
    link_times links = link_spent();
    link_times sums = group_waits(e->group);
    double transfer = links.transfer - sums.transfer;
    return (bench_times){.phases = {[BENCH_ATTENTION] = spent.attention,
                                    [BENCH_EXPERTS] = spent.experts,
                                    [BENCH_OUTPUT] = spent.output,
                                    [BENCH_WAITING] = links.waiting - sums.waiting - transfer,
                                    [BENCH_TRANSFER] = transfer}};
}

static bench_times gained(const bench_times *before, bench_times after, double seconds) {
    bench_times t = {.seconds = seconds, .phases = {[BENCH_OTHER] = seconds}};
    for (int i = 0; i < BENCH_OTHER; i++) {
        t.phases[i] = after.phases[i] - before->phases[i];
        t.phases[BENCH_OTHER] -= t.phases[i];
    }
    if (t.phases[BENCH_OTHER] < 0) t.phases[BENCH_OTHER] = 0;
    return t;
}

/* Runs the work on rank 0 while the others serve it. *spent: what this rank did meanwhile. A rank that lost another
 * returns at once: there is nobody left to agree with. Nor do ranks agree on being interrupted: the launcher is taking
 * all of them down. */
static gptoss_status work_together(bench *b, work *w, const job *j, bench_times *spent, gptoss_error *err) {
    engine *e = b->engine;
    if (b->trace) trace_start(b->trace);
    bench_times before = read_clocks(e);
    double start = clock_seconds();
    gptoss_status status = e->cluster.rank == 0 ? w(b, j, err) : pipeline_work(e->pipeline, err);
    double seconds = clock_seconds() - start;
    if (b->trace) trace_stop(b->trace);
    *spent = gained(&before, read_clocks(e), seconds);
    if (e->cluster.rank == 0 && status != GPTOSS_PEER) pipeline_stop(e->pipeline);
    if (status == GPTOSS_PEER || status == GPTOSS_INTERNAL || status == GPTOSS_CANCELLED) return status;
    if (cancel_requested()) return error_set(err, GPTOSS_CANCELLED, "%s", "");
    return cluster_agree(&e->cluster, status, err);
}

/* On rank 0, times[ranks] from every rank's own. */
static void gather_times(bench *b, const bench_times *mine, bench_times *times) {
    enum { COUNT = 1 + BENCH_PHASES };
    uint64_t nanoseconds[COUNT] = {(uint64_t)(mine->seconds * 1e9)};
    _Static_assert(sizeof(bench_times) == sizeof nanoseconds, "times are gathered as plain numbers");
    for (int i = 0; i < BENCH_PHASES; i++) nanoseconds[1 + i] = (uint64_t)(mine->phases[i] * 1e9);
    cluster_gather(&b->engine->cluster, nanoseconds, COUNT, b->gathered);
    if (b->engine->cluster.rank != 0) return;
    for (int r = 0; r < b->engine->cluster.size; r++) {
        const uint64_t *of_rank = b->gathered + (size_t)r * COUNT;
        times[r].seconds = 1e-9 * (double)b->gathered[0];
        double waiting = times[r].seconds;
        for (int i = 0; i < BENCH_PHASES; i++) {
            times[r].phases[i] = 1e-9 * (double)of_rank[1 + i];
            if (i != BENCH_WAITING) waiting -= times[r].phases[i];
        }
        /* Other ranks enter earlier and leave later than rank 0, and wait meanwhile. */
        times[r].phases[BENCH_WAITING] = waiting > 0 ? waiting : 0;
    }
}

static gptoss_status measure(bench *b, const job *j, bench_times *times, gptoss_error *err) {
    bench_times mine;
    TRY(work_together(b, do_job, j, &mine, err));
    gather_times(b, &mine, times);
    return GPTOSS_OK;
}

gptoss_status bench_fill(bench *b, uint32_t depth, uint32_t streams, gptoss_error *err) {
    bench_times ignored;
    job j = {.depth = depth, .streams = streams};
    TRY(work_together(b, do_fill, &j, &ignored, err));
    for (uint32_t s = 0; s < streams; s++)
        if (b->filled[s] < depth) b->filled[s] = depth;
    return GPTOSS_OK;
}

gptoss_status bench_prompt(bench *b, uint32_t depth, uint32_t tokens, bench_times *times, gptoss_error *err) {
    return measure(b, &(job){.depth = depth, .streams = 1, .tokens = tokens}, times, err);
}

gptoss_status bench_generate(bench *b, uint32_t depth, uint32_t streams, uint32_t steps, bench_times *times,
                             gptoss_error *err) {
    job j = {.depth = depth, .streams = streams, .tokens = steps, .generate = true};
    return measure(b, &j, times, err);
}

/* ---- simulating ---- */

/* What a wave takes in this rank's stage when no other is under way. */
static gptoss_status measure_pace(bench *b, bool generate, uint32_t depth, uint32_t tokens, stage_times *out,
                                  gptoss_error *err) {
    bench_times ignored;
    uint32_t chunk = b->engine->config.chunk, waves = generate ? PACE_WAVES : 1;
    const job j = {.depth = depth,
                   .streams = 1,
                   .tokens = generate         ? waves
                             : tokens < chunk ? tokens
                                              : chunk,
                   generate};
    TRY(work_together(b, do_job, &j, &ignored, err)); /* the first time it touches buffers */
    stage_times before = stage_spent(b->engine->stage);
    TRY(work_together(b, do_job, &j, &ignored, err));
    stage_times after = stage_spent(b->engine->stage);
    out->attention = (after.attention - before.attention) / waves;
    out->experts = (after.experts - before.experts) / waves;
    out->output = (after.output - before.output) / waves;
    return GPTOSS_OK;
}

gptoss_status bench_set_pace(bench *b, const bench_pace *pace, bool generate, uint32_t depth, uint32_t tokens,
                             gptoss_error *err) {
    stage_times times = {.attention = pace->seconds / 2, .experts = pace->seconds / 2};
    stage_simulate(b->engine->stage, NULL);
    if (!pace->simulated) return GPTOSS_OK;
    if (pace->seconds == 0) TRY(measure_pace(b, generate, depth, tokens, &times, err));
    stage_simulate(b->engine->stage, &times);
    return GPTOSS_OK;
}

void bench_use_trace(bench *b, trace *t) {
    b->trace = t;
    pipeline_use_trace(b->engine->pipeline, t);
}

/* ---- memory ---- */

/* The first READ_BYTES of this rank's weights; how many runs they are. */
static size_t choose_runs(const engine *e, bandwidth_run *runs) {
    size_t count = 0, left = READ_BYTES, bytes;
    for (const void *data; count < READ_RUNS && left > 0 && (data = gguf_map_run(e->weights->map, count, &bytes));
         left -= bytes) {
        if (bytes > left) bytes = left;
        runs[count++] = (bandwidth_run){data, bytes};
    }
    return count;
}

gptoss_status bench_read_memory(bench *b, double *bytes_per_second, gptoss_error *err) {
    engine *e = b->engine;
    bandwidth_run runs[READ_RUNS];
    size_t count = choose_runs(e, runs);
    double best = 0;
    for (int round = 0; round < READ_ROUNDS; round++) {
        if (cancel_requested()) return interrupted(err);
        TRY(cluster_agree(&e->cluster, GPTOSS_OK, err)); /* all begin at the same time */
        uint64_t mine = (uint64_t)bandwidth_read(e->team, runs, count);
        cluster_gather(&e->cluster, &mine, 1, b->gathered);
        double sum = 0;
        for (int r = 0; e->cluster.rank == 0 && r < e->cluster.size; r++) sum += (double)b->gathered[r];
        if (sum > best) best = sum;
    }
    *bytes_per_second = best;
    return GPTOSS_OK;
}
