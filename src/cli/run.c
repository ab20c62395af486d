/* run: one prompt, one answer, on as many ranks as were started. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "cli/commands.h"
#include "cli/model_option.h"
#include "cli/run_answer.h"
#include "cli/run_options.h"
#include "cli/run_prompt.h"
#include "cli/streams.h"
#include "engine/prompt_cache.h"
#include "text/harmony_borders.h"

/* What rank 0 does on its own: the text side of the run. Everything in it that can fail is opened before the other
 * ranks begin to wait for waves. */
typedef struct front {
    tokenizer *tokenizer;
    tokens prompt;
    answer answer;
    FILE *dump;
    prefix_snapshot snapshot; /* for --prompt-cache */
} front;

enum { RESUME_POINTS = 16 }; /* with --prompt-cache */

static void front_close(front *f) {
    prefix_snapshot_free(&f->snapshot);
    answer_close(&f->answer);
    tokens_free(&f->prompt);
    tokenizer_close(f->tokenizer);
    if (f->dump) fclose(f->dump);
}

/* *f is zeroed; what was opened when this fails is released by front_close. */
static gptoss_status front_open(const run_options *o, const engine *e, double started, front *f, gptoss_error *err) {
    TRY(max_kv_option_check(o->engine.max_kv, &e->hp, err));
    TRY(tokenizer_open(e->file, &f->tokenizer, err));
    uint32_t longest = engine_options_length(&o->engine, &e->hp);
    TRY(run_prompt_build(o, f->tokenizer, e->hp.n_vocab, longest, &f->prompt, err));
    TRY(sampler_check(&o->sampling, e->hp.n_vocab, err));
    TRY(answer_open(o, f->tokenizer, e, (uint32_t)f->prompt.count, started, &f->answer, err));
    return o->dump_logits ? streams_create("--dump-logits", o->dump_logits, &f->dump, err) : GPTOSS_OK;
}

/* One bar after the other, for whatever comes before the prompt is read. */
typedef struct loading {
    progress bar;
    char what[64];
} loading;

static void show_supply(void *context, const char *what, uint64_t done, uint64_t all) {
    loading *l = context;
    if (strcmp(l->what, what) != 0) {
        progress_end(&l->bar);
        snprintf(l->what, sizeof l->what, "%s", what);
        progress_begin(&l->bar, l->what, all);
    }
    progress_update(&l->bar, done);
}

static void show_loading(void *context, uint64_t done, uint64_t all) {
    show_supply(context, "reading the weights", done, all);
}

/* Rank 0 reads the prompt while the others wait for its length. */
static gptoss_status prepare(const run_options *o, engine *e, double started, front *f, gptoss_error *err) {
    gptoss_status status = e->cluster.rank == 0 ? front_open(o, e, started, f, err) : GPTOSS_OK;
    TRY(cluster_agree(&e->cluster, status, err));
    uint32_t positions = (uint32_t)(f->prompt.count + o->max_tokens);
    cluster_broadcast(&e->cluster, &positions, sizeof positions);
    return engine_start(e, positions, err);
}

static gptoss_status answer_prompt(const run_options *o, engine *e, front *f, gptoss_error *err) {
    const harmony_borders borders = harmony_borders_find(f->tokenizer, f->prompt.ids, (uint32_t)f->prompt.count);
    generate_request request = {.prompt = f->prompt.ids,
                                .n_prompt = (uint32_t)f->prompt.count,
                                .max_tokens = (uint32_t)o->max_tokens,
                                .chunk = e->config.chunk,
                                .borders = borders.positions,
                                .n_borders = borders.count,
                                .message_start = borders.start,
                                .sampling = o->sampling,
                                .resume_points = e->config.resume_points,
                                .kept = prompt_cache_image(e->prompts),
                                .snapshot = e->prompts ? &f->snapshot : NULL,
                                .dump = f->dump};
    generate_result result;
    answer_connect(&f->answer, &request);
    gptoss_status status = generate(e->pipeline, &request, &result, err);
    status = answer_finish(&f->answer, status, &result, err);
    pipeline_stop(e->pipeline);
    if (status == GPTOSS_OK && f->dump && fflush(f->dump) != 0)
        status = error_set_errno(err, GPTOSS_IO, errno, "cannot write %s", o->dump_logits);
    return status;
}

/* Where ranks were lost, or a signal ended the work, not all of them would come here. */
static void keep_prompts(const engine *e, const front *f, gptoss_status status) {
    bool together = status != GPTOSS_PEER && status != GPTOSS_INTERNAL && !cancel_requested();
    if (e->prompts && together) prompt_cache_keep(e->prompts, e, &f->snapshot);
}

/* A warning that is worth a line: the difference is between seconds and minutes. */
static void warn_of_memory(const engine *e) {
    const uint64_t worth_telling = 100000000;
    if (e->missing_memory < worth_telling) return;
    fprintf(stderr,
            "gptoss-dist: %s short of memory by %.1f GB, so that weights are read from disk again and again; "
            "`gptoss-dist plan` tells what would help\n",
            e->cluster.size > 1 ? "ranks are" : "this machine is", (double)e->missing_memory / 1e9);
}

static gptoss_status run(const run_options *o, const places *where, cluster *c, gptoss_error *err) {
    double started = clock_seconds();
    loading shown = {0};
    engine_config config = {.resume_points = o->engine.prompt_cache ? RESUME_POINTS : 0,
                            .logits_rows = o->dump_logits ? UINT32_MAX : 1,
                            .on_load = c->rank == 0 ? show_loading : NULL,
                            .on_supply = c->rank == 0 ? show_supply : NULL,
                            .load_context = &shown};
    engine e;
    front f = {0};
    engine_options_apply(&o->engine, where, &config);
    gptoss_status status = engine_open(c, &config, &e, err);
    if (status == GPTOSS_OK) warn_of_memory(&e);
    if (status == GPTOSS_OK) status = prepare(o, &e, started, &f, err);
    progress_end(&shown.bar); /* also when the work ended early, so that an error does not follow a bar on its line */
    if (status == GPTOSS_OK) {
        status = c->rank == 0 ? answer_prompt(o, &e, &f, err) : pipeline_work(e.pipeline, err);
        keep_prompts(&e, &f, status);
    }
    front_close(&f);
    engine_close(&e);
    return status;
}

int run_command(cluster *c, int argc, char **argv) {
    gptoss_error err = {0};
    run_options options;
    places where = {0};
    gptoss_status status = run_options_parse(c, argc, argv, getenv("GPT_OSS_GGUF_PATH"), &options, &err);
    if (status == GPTOSS_OK && options.engine.help) {
        if (c->rank == 0) run_options_print_help();
    } else if (status == GPTOSS_OK) {
        status = engine_options_prepare(&options.engine, c, &where, &err);
        if (status == GPTOSS_OK) status = run(&options, &where, c, &err);
    }
    places_close(&where);
    run_options_free(&options);
    int code = status == GPTOSS_OK ? 0 : command_fail(&err);
    cluster_leave(c, status);
    return code;
}
