/* run: one prompt, one answer, on as many ranks as were started. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "cli/bind_option.h"
#include "cli/commands.h"
#include "cli/isa_option.h"
#include "cli/launcher.h"
#include "cli/places.h"
#include "cli/run_answer.h"
#include "cli/run_options.h"
#include "cli/run_prompt.h"
#include "cli/streams.h"
#include "engine/engine.h"
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

static uint32_t context_limit(const run_options *o, const hparams *hp) {
    return o->max_kv ? (uint32_t)o->max_kv : hp->context;
}

/* *f is zeroed; what was opened when this fails is released by front_close. */
static gptoss_status front_open(const run_options *o, const engine *e, double started, front *f, gptoss_error *err) {
    if (o->max_kv > e->hp.context)
        return error_set(err, GPTOSS_MISUSE, "--max-kv %llu is more than the %u positions the model was made for",
                         (unsigned long long)o->max_kv, e->hp.context);
    TRY(tokenizer_open(e->file, &f->tokenizer, err));
    TRY(run_prompt_build(o, f->tokenizer, e->hp.n_vocab, context_limit(o, &e->hp), &f->prompt, err));
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

static gptoss_status run(const run_options *o, const places *where, topology_bind bind, cluster *c, gptoss_error *err) {
    double started = clock_seconds();
    loading shown = {0};
    engine_config config = {.path = where->gguf,
                            .n_layers = (uint32_t)o->layers,
                            .expert_0_only = o->moe_fallback,
                            .threads = (uint32_t)o->threads,
                            .bind = bind,
                            .chunk = (uint32_t)o->chunk,
                            .kv_type = o->kv_type,
                            .planned_kv = (uint32_t)o->max_kv,
                            .weights = o->weights,
                            .cache_dir = where->cache,
                            .prompt_cache = o->prompt_cache,
                            .resume_points = o->prompt_cache ? RESUME_POINTS : 0,
                            .logits_rows = o->dump_logits ? UINT32_MAX : 1,
                            .on_load = c->rank == 0 ? show_loading : NULL,
                            .on_supply = c->rank == 0 ? show_supply : NULL,
                            .load_context = &shown};
    engine e;
    front f = {0};
    grid_option_apply(&o->grid, &config);
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

static gptoss_status settle(run_options *o, const cluster *c, topology_bind *bind, places *where, gptoss_error *err) {
    gptoss_status status = grid_option_settle(&o->grid, c->size, err);
    if (status == GPTOSS_OK) status = isa_option_apply(o->isa, getenv("GPTOSS_ISA"), err);
    if (status == GPTOSS_OK) status = bind_option_read(o->cpu_bind, bind, err);
    if (status != GPTOSS_OK) return config_file_locate(&o->config, err);
    return places_find(o->gguf, o->cache, c->rank, where, err);
}

int run_command(int argc, char **argv) {
    gptoss_error err = {0};
    run_options options;
    topology_bind bind = BIND_CORE;
    places where = {0};
    cluster c;
    if (cluster_open(launcher_started_us(), &c, &err) != GPTOSS_OK) return command_fail(&err);
    gptoss_status status = run_options_parse(&c, argc, argv, getenv("GPT_OSS_GGUF_PATH"), &options, &err);
    if (status == GPTOSS_OK) status = cluster_agree(&c, settle(&options, &c, &bind, &where, &err), &err);
    if (status == GPTOSS_OK && options.help) {
        if (c.rank == 0) run_options_print_help();
    } else if (status == GPTOSS_OK) {
        status = link_option_apply(&c, &options.link, &err);
        if (status == GPTOSS_OK) status = run(&options, &where, bind, &c, &err);
    }
    places_close(&where);
    run_options_free(&options);
    int code = status == GPTOSS_OK ? 0 : command_fail(&err);
    cluster_leave(&c, status);
    return code;
}
