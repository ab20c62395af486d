/* Golden models as pipelines: the logits of every rank count have the bits that one process computes alone. */
#include <math.h>
#include <mpi.h>

#include "base/cancel.h"
#include "cluster/link.h"
#include "cluster/pipeline.h"
#include "kernels/isa.h"
#include "model/runs.h"
#include "random.h"
#include "support.h"

enum { POSITIONS = 128, CHUNK = 7, SEQUENCES = 5 };

static cluster world;

/* This rank's part of a model. */
typedef struct part {
    hparams hp;
    weights *weights;
    team *team;
    group *group;
    stage *stage;
} part;

static runs waves; /* of with_model's and ranks_change_no_bit's pipeline, on rank 0 */

static part open_part(const char *path, uint32_t rank, uint32_t ranks, uint32_t sequences, uint32_t chunk) {
    part p = {0};
    gguf_file *file;
    assert_ok(gguf_open(path, &file, err));
    assert_ok(hparams_read(file, &p.hp, err));
    assert_ok(weights_check(file, &p.hp, p.hp.n_layers, err));
    uint32_t layers = p.hp.n_layers;
    const slice what = slice_of_layers(&p.hp, layers * rank / ranks, layers * (rank + 1) / ranks, layers, false);
    assert_ok(weights_open(file, &p.hp, what, &p.weights, err));
    assert_ok(team_open(1, &p.team, err));
    const kv_room room = {.sequences = sequences, .positions = POSITIONS, .chunk = chunk, .page_bits = {4, 4}};
    assert_ok(stage_open(&p.hp, p.weights, p.team, &room, NULL, &p.stage, err));
    gguf_close(file);
    return p;
}

static void close_part(part *p) {
    stage_close(p->stage);
    group_close(p->group);
    team_close(p->team);
    weights_close(p->weights);
}

/* A pipeline of this rank's part, whose logits are the last rank's work. */
static gptoss_status try_pipeline(part *mine, const hparams *hp, uint32_t rows, pipeline **out, gptoss_error *err) {
    uint32_t begins[16] = {0};
    const grid place = grid_of(world.rank, (uint32_t)world.size, 1);
    begins[world.size] = hp->n_vocab;
    if (!mine->group) TRY(group_open(&place, 1, &mine->group, err));
    /* Numbers of waves go beyond 32 bits, as they do in a server of months. */
    const pipeline_config config = {.grid = place,
                                    .group = mine->group,
                                    .logits_rows = rows,
                                    .output_begins = begins,
                                    .first_wave = UINT32_MAX - 4};
    return pipeline_open(&world, hp, mine->stage, &config, out, err);
}

static pipeline *open_pipeline(part *mine, uint32_t rows) {
    pipeline *p;
    assert_ok(try_pipeline(mine, &mine->hp, rows, &p, err));
    return p;
}

/* logits[count][n_vocab] of tokens[count] as one process computes them, in one chunk; the caller frees them. */
static float *logits_alone(const golden *g, const uint32_t *tokens, uint32_t count) {
    part p = open_part(g->path, 0, 1, 1, POSITIONS);
    float *x = malloc(count * p.hp.d_model * sizeof *x), *logits = malloc(count * g->n_vocab * sizeof *logits);
    const wave_limits limits = stage_limits(p.stage);
    runs alone;
    runs_open(&limits, &alone);
    const wave *w = runs_one(&alone, tokens, count, 0, count);
    stage_embed(p.stage, w->tokens, count, x);
    assert_int_equal(stage_forward(p.stage, w, x), GPTOSS_OK);
    stage_logits(p.stage, x, count, logits);
    runs_close(&alone);
    free(x);
    close_part(&p);
    return logits;
}

static gptoss_status submit(pipeline *p, const uint32_t *ids, uint32_t position, uint32_t count, uint32_t rows,
                            gptoss_error *err) {
    return pipeline_submit(p, runs_one(&waves, ids, count, position, rows), err);
}

/* Rank 0: sends all tokens through, `chunk` at a time, `under_way` waves at once, and checks the logits of the last
 * `rows` of each wave (all of it when it has fewer). */
static void check_run(pipeline *p, const golden *g, const float *want, uint32_t chunk, uint32_t under_way,
                      uint32_t rows) {
    uint32_t sent = 0, done = 0, count = (uint32_t)g->positions;
    while (done < count) {
        uint32_t travelling = (sent - done + chunk - 1) / chunk;
        if (sent < count && travelling < under_way) {
            uint32_t n = count - sent < chunk ? count - sent : chunk;
            assert_ok(submit(p, g->tokens + sent, sent, n, n < rows ? n : rows, err));
            sent += n;
            continue;
        }
        const logits_row *back;
        uint32_t n = count - done < chunk ? count - done : chunk, got = n < rows ? n : rows;
        assert_ok(pipeline_collect(p, &back, err));
        done += n;
        assert_memory_equal(back[0].logits, want + (done - got) * g->n_vocab, got * g->n_vocab * sizeof *want);
    }
}

/* The list that a rank alone would make; sums may differ in their last bits. */
static void expect_list_of(const float *logits, uint32_t n_vocab, const logits_wish *wish, const shortlist *got) {
    shortlist alone;
    shortlist_make(logits, 0, n_vocab, logits_wish_list(wish), &alone);
    assert_int_equal(got->count, alone.count);
    for (uint32_t i = 0; i < alone.count; i++) {
        assert_int_equal(got->entries[i].token, alone.entries[i].token);
        assert_true(got->entries[i].logit == alone.entries[i].logit);
    }
    assert_true(fabs(got->sum - alone.sum) <= 1e-12 * alone.sum);
    assert_true(fabs(got->weighted - alone.weighted) <= 1e-12 * fabs(alone.weighted));
    assert_true(fabs(got->mass - alone.mass) <= 1e-12 * alone.mass);
}

/* Rank 0: the same with shortlists, of some rows of which the logits are fetched afterwards. */
static void check_lists(pipeline *p, const golden *g, const float *want, uint32_t chunk) {
    const logits_wish wish = {LOGITS_LISTED, 1, 0.7};
    uint32_t sent = 0, done = 0, count = (uint32_t)g->positions, travelling = 0;
    while (done < count) {
        if (sent < count && travelling < pipeline_depth(p)) {
            uint32_t n = count - sent < chunk ? count - sent : chunk;
            wave *w = &waves.wave;
            runs_one(&waves, g->tokens + sent, n, sent, n);
            for (uint32_t i = 0; i < n; i++) w->tokens[i].logits = wish;
            assert_ok(pipeline_submit(p, w, err));
            sent += n;
            travelling++;
            continue;
        }
        const logits_row *back;
        uint32_t n = count - done < chunk ? count - done : chunk;
        assert_ok(pipeline_collect(p, &back, err));
        travelling--;
        for (uint32_t i = 0; i < n; i++) {
            const float *of_row = want + (done + i) * g->n_vocab;
            float *logits;
            expect_list_of(of_row, (uint32_t)g->n_vocab, &wish, back[i].list);
            if ((done + i) % 3) continue;
            assert_ok(pipeline_fetch(p, i, &logits, err));
            assert_memory_equal(logits, of_row, g->n_vocab * sizeof *logits);
            assert_ptr_equal(back[i].logits, logits);
        }
        done += n;
    }
}

static void ranks_change_no_bit(void **state) {
    (void)state;
    for (const char *const *name = golden_names; *name; name++) {
        golden g;
        golden_load(*name, &g);
        part mine = open_part(g.path, (uint32_t)world.rank, (uint32_t)world.size, 1, CHUNK);
        pipeline *p = open_pipeline(&mine, CHUNK);
        const wave_limits limits = pipeline_wave_limits(p);
        runs_open(&limits, &waves);
        if (world.rank == 0) {
            assert_int_equal(pipeline_depth(p), world.size);
            float *want = logits_alone(&g, g.tokens, (uint32_t)g.positions);
            assert_true(relative_error(want, g.logits, g.positions * g.n_vocab) < 2e-6);
            uint32_t depth = pipeline_depth(p);
            check_run(p, &g, want, CHUNK, depth, CHUNK); /* as full as it gets */
            if (name == golden_names) {                  /* the sequence starts again at position 0: */
                check_run(p, &g, want, CHUNK, 1, CHUNK); /* one wave at a time */
                check_run(p, &g, want, 1, depth, 1);     /* token by token */
                check_run(p, &g, want, 5, depth, 1);     /* only the last token's logits ... */
                check_run(p, &g, want, 3, depth, 0);     /* ... or none */
                check_lists(p, &g, want, 4);
            }
            pipeline_stop(p);
            free(want);
        } else {
            assert_ok(pipeline_work(p, err));
        }
        runs_close(&waves);
        pipeline_close(p);
        close_part(&mine);
        golden_free(&g);
    }
}

/* Opens a model as a pipeline; rank 0 then runs `at_rank_0`, the others work until it stops them. */
static void with_model(const char *name, uint32_t chunk, uint32_t rows,
                       void (*at_rank_0)(pipeline *p, const golden *g)) {
    golden g;
    golden_load(name, &g);
    part mine = open_part(g.path, (uint32_t)world.rank, (uint32_t)world.size, SEQUENCES, chunk);
    pipeline *p = open_pipeline(&mine, rows);
    const wave_limits limits = pipeline_wave_limits(p);
    runs_open(&limits, &waves);
    if (world.rank == 0) {
        at_rank_0(p, &g);
        pipeline_stop(p);
    } else {
        assert_ok(pipeline_work(p, err));
    }
    runs_close(&waves);
    pipeline_close(p);
    close_part(&mine);
    golden_free(&g);
}

static void with_pipeline(uint32_t chunk, uint32_t rows, void (*at_rank_0)(pipeline *p, const golden *g)) {
    with_model("f32", chunk, rows, at_rank_0);
}

/* ---- several sequences ---- */

/* A sequence on its way through shared waves. */
typedef struct passenger {
    uint32_t ids[POSITIONS], count, sent;
    float *want; /* [count][n_vocab]: its logits when it travels alone */
} passenger;

/* A wave under way: who is in it, and which logits it brings. */
typedef struct booking {
    struct seat {
        uint32_t sequence, position, count, rows;
    } seats[SEQUENCES];
    uint32_t seated, tokens;
} booking;

/* A wave with a random run of some of the sequences; some of its tokens want their logits. */
static booking book(passenger *all, uint32_t chunk, uint64_t *seed) {
    booking b = {.tokens = 0};
    wave_clear(&waves.wave);
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        passenger *who = &all[s];
        uint32_t most = chunk - b.tokens, left = who->count - who->sent;
        if (random_below(seed, 3) == 0) most = most < 1 ? most : 1; /* as in decoding */
        uint32_t n = (uint32_t)random_below(seed, (left < most ? left : most) + 1);
        if (n == 0) continue;
        uint32_t rows = (uint32_t)random_below(seed, n + 1);
        runs_add(&waves, s, who->ids + who->sent, n, who->sent, rows);
        b.seats[b.seated++] = (struct seat){s, who->sent, n, rows};
        who->sent += n;
        b.tokens += n;
    }
    return b;
}

static void expect_logits_of(const booking *b, const passenger *all, size_t n_vocab, const logits_row *rows) {
    for (uint32_t i = 0; i < b->seated; i++) {
        const struct seat *s = &b->seats[i];
        const float *want = all[s->sequence].want + (s->position + s->count - s->rows) * n_vocab;
        if (s->rows == 0) continue;
        assert_memory_equal(rows->logits, want, s->rows * n_vocab * sizeof *want);
        rows += s->rows;
    }
}

static void travel_together(pipeline *p, passenger *all, size_t n_vocab, uint32_t chunk, uint64_t *seed) {
    booking under_way[8];
    uint32_t submitted = 0, collected = 0, left = 1;
    while (left || collected < submitted) {
        left = 0;
        for (uint32_t s = 0; s < SEQUENCES; s++) left += all[s].count - all[s].sent;
        if (left && submitted - collected < pipeline_depth(p)) {
            booking *b = &under_way[submitted % 8];
            *b = book(all, chunk, seed);
            if (b->tokens == 0) continue;
            assert_ok(pipeline_submit(p, &waves.wave, err));
            submitted++;
        } else if (collected < submitted) {
            const logits_row *rows;
            assert_ok(pipeline_collect(p, &rows, err));
            expect_logits_of(&under_way[collected++ % 8], all, n_vocab, rows);
        }
    }
}

static void mix_sequences(pipeline *p, const golden *g) {
    static passenger all[SEQUENCES];
    uint64_t seed = 11;
    for (uint32_t s = 0; s < SEQUENCES; s++) {
        all[s].count = 80 - 9 * s;
        for (uint32_t i = 0; i < all[s].count; i++) all[s].ids[i] = g->tokens[(i * (s + 1) + 3 * s) % g->positions];
        all[s].want = logits_alone(g, all[s].ids, all[s].count);
    }
    for (int round = 0; round < 3; round++) { /* the later ones in places that others had before */
        travel_together(p, all, g->n_vocab, 24, &seed);
        passenger first = all[0];
        for (uint32_t s = 0; s + 1 < SEQUENCES; s++) all[s] = all[s + 1];
        all[SEQUENCES - 1] = first;
        for (uint32_t s = 0; s < SEQUENCES; s++) all[s].sent = 0;
    }
    for (uint32_t s = 0; s < SEQUENCES; s++) free(all[s].want);
}

static void company_changes_no_bit(void **state) {
    (void)state;
    with_model("q8_0-mxfp4", 24, 24, mix_sequences);
    isa_use(isa_best()); /* rounded activations and all */
    with_model("q8_0-mxfp4", 24, 24, mix_sequences);
    with_model("like-q4_k_m", 24, 24, mix_sequences);
    isa_use(ISA_REFERENCE);
}

/* ---- what is refused ---- */

static void misuse_at_rank_0(pipeline *p, const golden *g) {
    gptoss_error why = {0};
    const logits_row *rows;
    assert_int_equal(pipeline_collect(p, &rows, &why), GPTOSS_INTERNAL); /* nothing under way */
    assert_int_equal(submit(p, g->tokens, 0, 0, 0, &why), GPTOSS_INTERNAL);
    assert_int_equal(submit(p, g->tokens, 0, 9, 1, &why), GPTOSS_INTERNAL);             /* longer than a chunk */
    assert_int_equal(submit(p, g->tokens, 0, 8, 4, &why), GPTOSS_INTERNAL);             /* more logits than the limit */
    assert_int_equal(submit(p, g->tokens, POSITIONS - 1, 2, 1, &why), GPTOSS_INTERNAL); /* a position too far */
    for (uint32_t i = 0; i < pipeline_depth(p); i++) assert_ok(submit(p, g->tokens + i, i, 1, 1, err));
    assert_int_equal(submit(p, g->tokens, pipeline_depth(p), 1, 1, &why), GPTOSS_INTERNAL); /* full */
    for (uint32_t i = 0; i < pipeline_depth(p); i++) assert_ok(pipeline_collect(p, &rows, err));
    assert_int_equal(pipeline_collect(p, &rows, &why), GPTOSS_INTERNAL);
}

static void waves_that_do_not_fit_are_refused(void **state) {
    (void)state;
    with_pipeline(8, 3, misuse_at_rank_0);
}

/* A wave of 3 tokens in 2 runs as it stands in a message: see cluster/message.h. */
typedef struct message {
    uint64_t number;
    uint32_t kind, n_tokens, n_runs, n_copies, n_pages, logits_rows, reserved[8];
    wave_token tokens[3];
    wave_run runs[2];
    wave_copy copies[1];
    uint32_t pages[4], padding[8];
    float x[3 * 96];
} message;

enum { HEADER = 64, WHOLE = HEADER + 192 + 3 * 96 * sizeof(float) };
_Static_assert(sizeof(message) == WHOLE, "message");

/* A wave that was given up comes back as a job without rows. */
static void receive_refusal(void) {
    message job;
    MPI_Request received;
    link_receive(&job, sizeof job, 1, 7, &received);
    assert_int_equal(link_wait(&received), HEADER);
    assert_int_equal(job.kind, 2);
}

/* Whether rank 1 works on a message from rank 0; the pipeline takes waves of 3 tokens and 2 rows, of 5 sequences. */
static bool rank_1_accepts(const message *m, size_t bytes, bool is_good, const char *path) {
    part mine = open_part(path, (uint32_t)world.rank, (uint32_t)world.size, SEQUENCES, 3);
    uint64_t accepted = 1, all[8];
    assert_int_equal(mine.hp.d_model, 96);
    pipeline *p = open_pipeline(&mine, 2);
    if (world.rank == 0) {
        const message stop = {.kind = 3};
        MPI_Request sent[2];
        link_send(m, bytes, 1, 1, &sent[0]);
        link_send(&stop, HEADER, 1, 1, &sent[1]);
        link_wait(&sent[0]);
        link_wait(&sent[1]);
        if (is_good) receive_refusal();
    } else if (world.rank == 1) {
        gptoss_error why = {0};
        gptoss_status status = pipeline_work(p, &why);
        accepted = status == GPTOSS_OK;
        if (!accepted) {
            assert_int_equal(status, GPTOSS_PEER);
            assert_non_null(strstr(why.text, "malformed"));
            message stop;
            MPI_Request received;
            link_receive(&stop, sizeof stop, 0, 1, &received);
            link_wait(&received);
        }
    }
    pipeline_close(p);
    close_part(&mine);
    MPI_Allgather(&accepted, 1, MPI_UINT64_T, all, 1, MPI_UINT64_T, MPI_COMM_WORLD);
    return all[1];
}

static void malformed_waves_are_refused(void **state) {
    (void)state;
    if (world.size != 2) return; /* two ranks say it all */
    golden g;
    golden_load("f32", &g);
    /* kind 2: a cancelled wave, which is passed on but not computed */
    const message good = {
        .kind = 2,
        .n_tokens = 3,
        .n_runs = 2,
        .n_copies = 1,
        .n_pages = 4,
        .logits_rows = 2,
        .tokens = {{1, 0, 5, 0, {LOGITS_ALL, 0, 0}}, {2, 1, 7, 0, {0}}, {3, 1, 8, 0, {LOGITS_LISTED, 1, 1}}},
        .runs = {{1, {0, 1}, 0}, {2, {2, 3}, 0}},
        .copies = {{KV_FULL, 3, 9, 0}},
        .pages = {7, 2, 9, 0}};
    const struct {
        size_t offset;  /* of a number in the message ... */
        uint32_t value; /* ... to be replaced by this */
        size_t bytes;
    } bad[] = {
        {offsetof(message, kind), 0, WHOLE},
        {offsetof(message, kind), 4, WHOLE},
        {offsetof(message, n_tokens), 0, HEADER},
        {offsetof(message, n_tokens), 2, WHOLE},
        {offsetof(message, n_tokens), 4, WHOLE},
        {offsetof(message, n_tokens), UINT32_MAX, WHOLE},
        {offsetof(message, n_runs), 1, WHOLE},
        {offsetof(message, n_runs), 6, WHOLE},
        {offsetof(message, n_runs), UINT32_MAX, WHOLE},
        {offsetof(message, n_copies), 2, WHOLE},
        {offsetof(message, n_copies), 11, WHOLE},
        {offsetof(message, n_copies), UINT32_MAX, WHOLE},
        {offsetof(message, n_pages), 3, WHOLE},
        {offsetof(message, n_pages), 5, WHOLE},
        {offsetof(message, n_pages), UINT32_MAX, WHOLE},
        {offsetof(message, logits_rows), 1, WHOLE},
        {offsetof(message, logits_rows), 3, WHOLE},
        {offsetof(message, kind), 2, WHOLE - 1},
        {offsetof(message, kind), 2, WHOLE - 64},
        {offsetof(message, kind), 2, 8},
        {offsetof(message, tokens[0].id), UINT32_MAX, WHOLE},
        {offsetof(message, tokens[0].run), 1, WHOLE},
        {offsetof(message, tokens[2].run), 2, WHOLE},
        {offsetof(message, tokens[0].position), POSITIONS, WHOLE},
        {offsetof(message, tokens[2].position), 7, WHOLE},
        {offsetof(message, tokens[1].logits.kind), 1, WHOLE},
        {offsetof(message, tokens[0].logits.kind), 3, WHOLE},
        {offsetof(message, tokens[0].logits.sums), 1, WHOLE},
        {offsetof(message, tokens[2].logits.sums), 2, WHOLE},
        {offsetof(message, runs[1].count), 1, WHOLE},
        {offsetof(message, runs[1].pages[0]), 1, WHOLE},
        {offsetof(message, runs[1].window_first), 1, WHOLE},
        {offsetof(message, copies[0].kind), KV_KINDS, WHOLE},
        {offsetof(message, copies[0].from), 40, WHOLE},
        {offsetof(message, copies[0].to), 40, WHOLE},
        {offsetof(message, pages[2]), 40, WHOLE}, /* five sequences of 8 pages are the pool */
        {offsetof(message, pages[3]), UINT32_MAX, WHOLE},
        {offsetof(message, pages[3]), 2, WHOLE}, /* of run 0 already */
    };
    assert_true(rank_1_accepts(&good, WHOLE, true, g.path));
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        message m = good;
        memcpy((char *)&m + bad[i].offset, &bad[i].value, 4);
        if (rank_1_accepts(&m, bad[i].bytes, false, g.path)) fail_msg("wave %zu was accepted", i);
    }
    golden_free(&g);
}

static void leave_waves_under_way(pipeline *p, const golden *g) {
    for (uint32_t i = 0; i < pipeline_depth(p); i++) assert_ok(submit(p, g->tokens + i, i, 1, 1, err));
}

static void stopping_collects_what_is_under_way(void **state) {
    (void)state;
    with_pipeline(4, 1, leave_waves_under_way);
}

static void nothing_at_all(pipeline *p, const golden *g) {
    (void)p;
    (void)g;
}

static void a_pipeline_can_stop_unused(void **state) {
    (void)state;
    with_pipeline(4, 1, nothing_at_all);
}

static void messages_beyond_2_gib_are_misuse(void **state) {
    (void)state;
    golden g;
    golden_load("f32", &g);
    part mine = open_part(g.path, 0, 1, 1, CHUNK);
    const struct {
        uint32_t d_model, n_vocab, rows;
    } large[] = {{96, 201088, 3000}, {1u << 27, 1000, 1}, {96, 1000, UINT32_MAX}};
    for (int i = 0; i < 3; i++) {
        hparams hp = mine.hp;
        hp.d_model = large[i].d_model;
        hp.n_vocab = large[i].n_vocab;
        pipeline *p = NULL;
        gptoss_error err = {0};
        assert_int_equal(try_pipeline(&mine, &hp, large[i].rows, &p, &err), GPTOSS_MISUSE);
        assert_non_null(strstr(err.text, "--chunk"));
        assert_null(p);
    }
    close_part(&mine);
    golden_free(&g);
}

/* A signal reaches one rank only; here the last. Its wave comes back as cancelled, and all ranks still stop in order.
 */
static void be_told_of_the_end(pipeline *p, const golden *g) {
    const logits_row *rows;
    gptoss_error why = {0};
    for (uint32_t i = 0; i < pipeline_depth(p); i++) assert_ok(submit(p, g->tokens + i, i, 1, 1, err));
    for (uint32_t i = 0; i < pipeline_depth(p); i++) {
        assert_int_equal(pipeline_collect(p, &rows, &why), GPTOSS_CANCELLED);
        assert_true(strlen(why.text) > 0);
    }
}

static void a_cancelled_rank_is_heard_of(void **state) {
    (void)state;
    if (world.rank == world.size - 1) cancel_request();
    MPI_Barrier(MPI_COMM_WORLD);
    with_pipeline(4, 4, be_told_of_the_end);
}

int main(void) {
    isa_use(ISA_REFERENCE); /* the golden logits are held to float32 */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranks_change_no_bit),
        cmocka_unit_test(company_changes_no_bit),
        cmocka_unit_test(waves_that_do_not_fit_are_refused),
        cmocka_unit_test(malformed_waves_are_refused),
        cmocka_unit_test(stopping_collects_what_is_under_way),
        cmocka_unit_test(a_pipeline_can_stop_unused),
        cmocka_unit_test(messages_beyond_2_gib_are_misuse),
        cmocka_unit_test(a_cancelled_rank_is_heard_of), /* last: the wish to stop stays */
    };
    gptoss_error err;
    if (cluster_open(true, &world, &err) != GPTOSS_OK) return 1;
    int failures = cmocka_run_group_tests(tests, NULL, NULL);
    cluster_close(&world);
    return failures;
}
