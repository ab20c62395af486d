#include "cli/bench_options.h"

#include <stdio.h>
#include <string.h>

#include "cli/bind_option.h"
#include "cli/isa_option.h"
#include "cli/units.h"
#include "engine/engine.h"

enum { MAX_OPTIONS = 24, MAX_ROWS = 1000 };

/* The table of flags, with targets in *o. */
static size_t describe(bench_options *o, option *table) {
    const double count_max = 1 << 24;
    const option all[] = {
        {"gguf", OPTION_PATH, &o->gguf, 0, 0, "FILE",
         "the model, or a slice; %r is the rank; or set GPT_OSS_GGUF_PATH"},
        {"prompt", OPTION_COUNTS, &o->prompt, 0, count_max, "N,...", "tokens of a prompt (512); 0: measure none"},
        {"gen", OPTION_COUNT, &o->gen, 0, count_max, "N", "steps of generation (32); 0: measure none"},
        {"depth", OPTION_COUNTS, &o->depth, 0, count_max, "N,...", "tokens in the KV cache before (0)"},
        {"streams", OPTION_COUNTS, &o->streams, 1, 4096, "N,...", "sequences that generate together (1)"},
        {"stages", OPTION_COUNT, &o->grid.stages, 1, 4096, "P", GRID_OPTION_STAGES},
        {"shards", OPTION_COUNT, &o->grid.shards, 1, 4096, "T", GRID_OPTION_SHARDS},
        {"expert-placement", OPTION_PATH, &o->grid.expert_placement, 0, 0, "FILE",
         "which shard has which experts: {\"shards\": [\"0-19\", \"20-31\"]}"},
        {"for", OPTION_TEXT, &o->grid.goal_name, 0, 0, "GOAL", GRID_OPTION_FOR},
        {"chunk", OPTION_COUNTS, &o->chunk, 1, 65536, "N,...",
         "tokens of the prompt read at a time (512 in one stage, 128 in several)"},
        {"threads", OPTION_COUNTS, &o->threads, 1, 1024, "N,...", "of each rank; by default one per core of its share"},
        {"reps", OPTION_COUNT, &o->reps, 1, 1000, "N", "measurements of each kind (3), after a warm-up"},
        {"cpu-bind", OPTION_TEXT, &o->cpu_bind, 0, 0, "HOW", "threads to cores: core (default), numa or none"},
        {"isa", OPTION_TEXT, &o->isa, 0, 0, "NAME", ISA_OPTION_HELP},
        {"link-model", OPTION_TEXT, &o->link.text, 0, 0, "MODEL", LINK_OPTION_HELP},
        {"simulate", OPTION_TEXT, &o->simulate, 0, 0, "PACE",
         "stages sleep instead of computing: stage=5ms for each wave, or measured"},
        {"trace", OPTION_PATH, &o->trace, 0, 0, "FILE",
         "write what each rank did when: FILE.json for ui.perfetto.dev, FILE.svg drawn"},
        {"layers", OPTION_COUNT, &o->layers, 1, 4096, "L", "run only the first L layers"},
        {"seed", OPTION_COUNT, &o->seed, 0, 0x1p63, "N", "of the random tokens (0)"},
        {"json", OPTION_SWITCH, &o->json, 0, 0, NULL, "print one JSON object instead of a table"},
        {"csv", OPTION_SWITCH, &o->csv, 0, 0, NULL, "print comma-separated values instead of a table"},
        {"plot", OPTION_PATH, &o->plot, 0, 0, "FILE.svg", "draw speed against depth and against streams"},
        {"config", OPTION_PATH, &o->config.path, 0, 0, "FILE",
         "these options from a file of rank 0: name = value lines"},
        {"help", OPTION_SWITCH, &o->help, 0, 0, NULL, "this text"},
    };
    _Static_assert(sizeof all / sizeof *all <= MAX_OPTIONS, "the table of flags is full");
    memcpy(table, all, sizeof all);
    return sizeof all / sizeof *all;
}

uint64_t bench_options_largest(const option_counts *list) {
    uint64_t largest = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i] > largest) largest = list->items[i];
    return largest;
}

static gptoss_status check(const bench_options *o, gptoss_error *err) {
    if (!o->gguf) return error_set(err, GPTOSS_MISUSE, "no model is given: use --gguf FILE or set GPT_OSS_GGUF_PATH");
    if (o->json && o->csv)
        return error_set(err, GPTOSS_MISUSE, "--json and --csv exclude each other: give one of them");
    if (o->gen == 0 && bench_options_largest(&o->prompt) == 0)
        return error_set(err, GPTOSS_MISUSE, "--prompt 0 and --gen 0 leave nothing to measure");
    uint64_t rows = o->threads.count * o->chunk.count * o->depth.count * (o->prompt.count + o->streams.count);
    if (rows > MAX_ROWS)
        return error_set(err, GPTOSS_MISUSE,
                         "the lists of --threads, --chunk, --depth, --prompt and --streams make "
                         "%llu measurements; ask for at most %d at a time",
                         (unsigned long long)rows, MAX_ROWS);
    return GPTOSS_OK;
}

static gptoss_status read_pace(bench_options *o, gptoss_error *err) {
    const units_setting setting = {"stage", UNITS_SECONDS, &o->pace.seconds};
    o->pace.simulated = o->simulate != NULL;
    if (!o->simulate || strcmp(o->simulate, "measured") == 0) return GPTOSS_OK;
    if (strncmp(o->simulate, "stage=", 6) != 0)
        return error_set(err, GPTOSS_MISUSE, "--simulate is stage=TIME or measured, not \"%.40s\"", o->simulate);
    TRY(units_read_settings("simulate", o->simulate, &setting, 1, err));
    if (o->pace.seconds > 0) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "--simulate: a stage takes some time, not %s", o->simulate + 6);
}

static option_counts only(uint64_t value) { return (option_counts){{value}, 1}; }

static gptoss_status settle(bench_options *o, gptoss_error *err) {
    TRY(bind_option_read(o->cpu_bind, &o->bind, err));
    TRY(link_option_read(&o->link, err));
    TRY(read_pace(o, err));
    return check(o, err);
}

gptoss_status bench_options_parse(const cluster *c, int argc, char **argv, const char *environment_gguf,
                                  bench_options *out, gptoss_error *err) {
    *out = (bench_options){.gguf = environment_gguf && environment_gguf[0] ? environment_gguf : NULL,
                           .prompt = only(512),
                           .depth = only(0),
                           .streams = only(1),
                           .chunk = only(0),
                           .threads = only(0),
                           .gen = 32,
                           .reps = 3};
    option table[MAX_OPTIONS];
    size_t count = describe(out, table);
    TRY(config_file_options(c, table, count, argc, argv, &out->config, err));
    gptoss_status status = out->help ? GPTOSS_OK : settle(out, err);
    if (status != GPTOSS_OK) config_file_locate(&out->config, err);
    return cluster_agree(c, status, err);
}

void bench_options_free(bench_options *o) { config_file_free(&o->config); }

void bench_options_print_help(void) {
    bench_options o;
    option table[MAX_OPTIONS];
    puts("gptoss-dist bench --gguf FILE [flags]: how fast prompts are read and answers generated, beside what the "
         "memory "
         "allows.\n"
         "Where a list is allowed (--depth 0,4096,8000), everything is measured for each of its numbers.\n"
         "Start it with mpirun -np N to share the model between N ranks.\n");
    options_print_help(table, describe(&o, table));
}
