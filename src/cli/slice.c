/* gptoss-dist slice: part of a model as a small file of its own. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/cancel.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/plural.h"
#include "cli/commands.h"
#include "cli/options.h"
#include "cli/rank_path.h"
#include "cli/terminal.h"
#include "model/slice_file.h"
#include "model/weights.h"
#include "plan/model_needs.h"

enum { MOST_RANKS = 4096 };

typedef struct arguments {
    const char *in, *out;
    const char *layers, *experts, *rank; /* as written, or NULL */
    uint64_t ranks, stages, shards;      /* 0: not given */
    bool moe_fallback, with_output, force, help;
} arguments;

/* Ranks first to last of a grid; one of no stages: layers are given instead. */
typedef struct request {
    uint32_t first, last, stages, shards;
    extent what;
} request;

static void print_help(const option *options, size_t count) {
    printf(
        "gptoss-dist slice IN.gguf OUT.gguf (--rank R/N | --ranks N | --stages P --shards T | --layers A-B) [FLAGS]:\n"
        "write what one rank needs of a model as a file of its own, so that a small machine needs neither the rest\n"
        "nor its disk space. `run` takes it as it takes the whole file:\n"
        "mpirun -np N gptoss-dist run --gguf slice-%%r.gguf ...\n\n");
    options_print_help(options, count);
    printf("\nLayers, experts and ranks count from 0. With --layers, a slice with layer 0 has the embedding and the\n"
           "tokenizer, one with the last layer the output.\n");
}

static gptoss_status parse(int argc, char **argv, arguments *a, gptoss_error *err) {
    const option options[] = {
        {"rank", OPTION_TEXT, &a->rank, 0, 0, "R/N", "the slice of rank R of N, with layers dealt as `run` deals them"},
        {"ranks", OPTION_COUNT, &a->ranks, 1, MOST_RANKS, "N", "all N slices; OUT has %r where the rank goes"},
        {"stages", OPTION_COUNT, &a->stages, 1, MOST_RANKS, "P", "the ranks are a grid of P stages ..."},
        {"shards", OPTION_COUNT, &a->shards, 1, MOST_RANKS, "T",
         "... x T shards, which split a stage's heads and experts (1)"},
        {"layers", OPTION_TEXT, &a->layers, 0, 0, "A-B", "layers A to B"},
        {"experts", OPTION_TEXT, &a->experts, 0, 0, "A-B", "experts A to B of these layers (all)"},
        {"moe-fallback", OPTION_SWITCH, &a->moe_fallback, 0, 0, NULL, "expert 0 alone, for run --moe-fallback"},
        {"with-output", OPTION_SWITCH, &a->with_output, 0, 0, NULL, "the output too: the last rank of run --layers L"},
        {"force", OPTION_SWITCH, &a->force, 0, 0, NULL, "replace an existing file"},
        {"help", OPTION_SWITCH, &a->help, 0, 0, NULL, "this text"},
    };
    const size_t count = sizeof options / sizeof options[0];
    option_texts rest = {0};
    gptoss_status status = options_parse(options, count, argc, argv, &rest, err);
    bool grid = a->stages || a->shards;
    int ways = (a->rank != NULL) + (a->ranks != 0) + (a->layers != NULL);
    if (ways == 0 && grid) ways = 1;
    if (status == GPTOSS_OK && a->help)
        print_help(options, count);
    else if (status == GPTOSS_OK && rest.count != 2)
        status = error_set(err, GPTOSS_MISUSE, "slice wants two files: slice IN.gguf OUT.gguf --rank 0/2");
    else if (status == GPTOSS_OK && ways != 1)
        status = error_set(err, GPTOSS_MISUSE,
                           "slice wants one of --rank R/N, --ranks N, --stages P --shards T, and --layers A-B");
    else if (status == GPTOSS_OK && a->layers && grid)
        status = error_set(err, GPTOSS_MISUSE, "--layers names layers; --stages and --shards would deal them");
    else if (status == GPTOSS_OK && a->experts && a->shards > 1)
        status = error_set(err, GPTOSS_MISUSE, "--experts names experts; --shards would deal them");
    else if (status == GPTOSS_OK && a->with_output && !a->layers)
        status = error_set(err, GPTOSS_MISUSE, "--with-output goes with --layers");
    else if (status == GPTOSS_OK && a->experts && a->moe_fallback)
        status = error_set(err, GPTOSS_MISUSE, "--moe-fallback means --experts 0; give one of them");
    else if (status == GPTOSS_OK && !a->rank && !a->layers && !rank_path_is_pattern(rest.items[1]))
        status = error_set(err, GPTOSS_MISUSE,
                           "slices of all ranks are several files: put %%r where the rank goes, as in slice-%%r.gguf");
    else if (status == GPTOSS_OK)
        a->in = rest.items[0], a->out = rest.items[1];
    free(rest.items);
    return status;
}

/* "A<mark>B" or, where single is allowed, "A". */
static gptoss_status read_pair(const char *flag, const char *text, char mark, bool single, uint32_t *a, uint32_t *b,
                               gptoss_error *err) {
    unsigned long long first = 0, second = 0;
    char *end = NULL;
    bool sound = isdigit((unsigned char)text[0]);
    if (sound) first = second = strtoull(text, &end, 10);
    if (sound && *end == mark && isdigit((unsigned char)end[1]))
        second = strtoull(end + 1, &end, 10);
    else if (sound)
        sound = single;
    if (!sound || *end || first > 65535 || second > 65535)
        return error_set(err, GPTOSS_MISUSE, "--%s wants %s, not \"%.40s\"", flag,
                         mark == '/' ? "R/N, such as 0/2" : "A-B, such as 0-11", text);
    *a = (uint32_t)first;
    *b = (uint32_t)second;
    return GPTOSS_OK;
}

static gptoss_status read_experts(const arguments *a, const hparams *hp, extent *what, gptoss_error *err) {
    what->expert_end = a->moe_fallback ? 1 : hp->n_experts;
    if (!a->experts) return GPTOSS_OK;
    uint32_t last = 0;
    TRY(read_pair("experts", a->experts, '-', true, &what->expert_begin, &last, err));
    if (last < what->expert_begin || last >= hp->n_experts)
        return error_set(err, GPTOSS_MISUSE, "--experts %s: the model has experts 0 to %u", a->experts,
                         hp->n_experts - 1);
    what->expert_end = last + 1;
    return GPTOSS_OK;
}

/* Which ranks of which grid. */
static gptoss_status read_ranks(const arguments *a, request *r, gptoss_error *err) {
    uint64_t shards = a->shards ? a->shards : 1, stages = a->stages ? a->stages : 1;
    uint32_t of = (uint32_t)a->ranks;
    if (a->rank) {
        TRY(read_pair("rank", a->rank, '/', false, &r->first, &of, err));
        if (r->first >= of)
            return error_set(err, GPTOSS_MISUSE, "--rank %s: there %s %u rank%s, counted from 0", a->rank,
                             of == 1 ? "is" : "are", of, plural(of));
    }
    if (of == 0) of = (uint32_t)(stages * shards);
    if (of > MOST_RANKS) return error_set(err, GPTOSS_MISUSE, "a grid of %u ranks; at most %d can be", of, MOST_RANKS);
    if (!a->stages) stages = of / shards;
    if (stages * shards != of)
        return error_set(err, GPTOSS_MISUSE, "%u rank%s are no grid of %llu shard%s a stage%s", of, plural(of),
                         (unsigned long long)shards, plural(shards), a->stages ? " in so many stages" : "");
    r->last = a->rank ? r->first : of - 1;
    r->stages = (uint32_t)stages;
    r->shards = (uint32_t)shards;
    return GPTOSS_OK;
}

static gptoss_status read_request(const arguments *a, const hparams *hp, request *out, gptoss_error *err) {
    request r = {0};
    TRY(read_experts(a, hp, &r.what, err));
    if (a->layers) {
        uint32_t last = 0;
        TRY(read_pair("layers", a->layers, '-', true, &r.what.layer_begin, &last, err));
        if (last < r.what.layer_begin || last >= hp->n_layers)
            return error_set(err, GPTOSS_MISUSE, "--layers %s: the model has layer%s%u", a->layers,
                             hp->n_layers > 1 ? "s 0 to " : " ", hp->n_layers - 1);
        r.what.layer_end = last + 1;
        r.what.kv_head_end = hp->n_kv_heads;
        r.what.embedding_end = r.what.layer_begin == 0 ? hp->n_vocab : 0;
        r.what.output_end = last + 1 == hp->n_layers || a->with_output ? hp->n_vocab : 0;
    } else {
        TRY(read_ranks(a, &r, err));
    }
    *out = r;
    return GPTOSS_OK;
}

/* What rank `rank` needs when all are alike. */
static gptoss_status extent_of_rank(const arguments *a, const request *r, uint32_t rank, const gguf_file *file,
                                    const hparams *hp, extent *out, gptoss_error *err) {
    model_sizes sizes;
    placement p;
    TRY(model_sizes_read(file, hp, &sizes, err));
    gptoss_status status =
        placement_among_equals(&sizes, hp, hp->n_layers, a->moe_fallback, r->stages, r->shards, &p, err);
    model_sizes_free(&sizes);
    if (status != GPTOSS_OK) return status;
    const plan_rank *has = &p.rank[rank];
    *out = (extent){.layer_begin = has->layer_begin,
                    .layer_end = has->layer_end,
                    .kv_head_begin = has->kv_heads.begin,
                    .kv_head_end = has->kv_heads.end,
                    .expert_begin = a->experts ? r->what.expert_begin : has->experts.begin,
                    .expert_end = a->experts ? r->what.expert_end : has->experts.end,
                    .embedding_begin = has->embedding_rows.begin,
                    .embedding_end = has->embedding_rows.end,
                    .output_begin = has->output_rows.begin,
                    .output_end = has->output_rows.end};
    placement_free(&p);
    return GPTOSS_OK;
}

static bool show_progress(void *context, uint64_t done, uint64_t all) {
    progress *bar = context;
    if (bar->total == 0) progress_begin(bar, "writing", all);
    progress_update(bar, done);
    return !cancel_requested();
}

/* Replacing the model by a part of it is never what --force was meant for. */
static gptoss_status check_other_file(const gguf_file *file, const char *path, gptoss_error *err) {
    struct stat model, there;
    if (stat(path, &there) != 0) return GPTOSS_OK;
    for (uint32_t i = 0; i < gguf_part_count(file); i++)
        if (stat(gguf_part_path(file, i), &model) == 0 && model.st_dev == there.st_dev && model.st_ino == there.st_ino)
            return error_set(err, GPTOSS_MISUSE, "%s is the model itself; give its slice another name", path);
    return GPTOSS_OK;
}

static gptoss_status write_slice(const arguments *a, const gguf_file *file, const hparams *hp, const extent *what,
                                 const char *path, gptoss_error *err) {
    double start = clock_seconds();
    progress bar = {0};
    slice_file f;
    TRY(check_other_file(file, path, err));
    TRY(slice_file_plan(file, hp, what, &f, err));
    gptoss_status status = slice_file_write(&f, file, path, a->force, show_progress, &bar, err);
    progress_end(&bar);
    size_t tensors = f.count;
    slice_file_free(&f);
    if (status != GPTOSS_OK) return status;
    struct stat s = {0};
    stat(path, &s);
    char holds[EXTENT_TEXT];
    extent_describe(what, hp, holds);
    printf("%s: %s; %zu tensor%s, %.3f GB, written in %.1f s\n", path, holds, tensors, plural(tensors),
           (double)s.st_size / 1e9, clock_seconds() - start);
    return GPTOSS_OK;
}

static gptoss_status write_slices(const arguments *a, const gguf_file *file, const hparams *hp, gptoss_error *err) {
    request r = {0};
    TRY(read_request(a, hp, &r, err));
    for (uint32_t rank = r.first; rank <= r.last; rank++) {
        extent what = r.what;
        char *path;
        if (r.stages) TRY(extent_of_rank(a, &r, rank, file, hp, &what, err));
        TRY(rank_path_expand(a->out, (int)rank, &path, err));
        gptoss_status status = write_slice(a, file, hp, &what, path, err);
        free(path);
        if (status != GPTOSS_OK) return status;
    }
    return GPTOSS_OK;
}

static gptoss_status slice_model(const arguments *a, gptoss_error *err) {
    gguf_file *file;
    hparams hp;
    TRY(gguf_open(a->in, &file, err));
    gptoss_status status = hparams_read(file, &hp, err);
    if (status == GPTOSS_OK) status = weights_check(file, &hp, hp.n_layers, err);
    if (status == GPTOSS_OK) status = write_slices(a, file, &hp, err);
    gguf_close(file);
    return status;
}

int slice_command(int argc, char **argv) {
    arguments a = {0};
    gptoss_error error = {0};
    gptoss_status status = parse(argc, argv, &a, &error);
    if (status == GPTOSS_OK && !a.help) status = slice_model(&a, &error);
    return status == GPTOSS_OK ? 0 : command_fail(&error);
}
