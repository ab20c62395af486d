#include "cli/bench_options.h"

#include <stdio.h>
#include <string.h>

#include "cli/units.h"

enum { OWN_OPTIONS = 16, MAX_ROWS = 1000 };

/* The table of flags, with targets in *o. */
static size_t describe(bench_options *o, option *table) {
    const double count_max = 1 << 24;
    const option own[] = {
        {"prompt", OPTION_COUNTS, &o->prompt, 0, count_max, "N,...", "tokens of a prompt (512); 0: measure none"},
        {"gen", OPTION_COUNT, &o->gen, 0, count_max, "N", "steps of generation (32); 0: measure none"},
        {"depth", OPTION_COUNTS, &o->depth, 0, count_max, "N,...", "tokens in the KV cache before (0)"},
        {"streams", OPTION_COUNTS, &o->streams, 1, 4096, "N,...", "sequences that generate together (1)"},
        {"reps", OPTION_COUNT, &o->reps, 1, 1000, "N", "measurements of each kind (3), after a warm-up"},
        {"simulate", OPTION_TEXT, &o->simulate, 0, 0, "PACE",
         "stages sleep instead of computing: stage=5ms for each wave, or measured"},
        {"trace", OPTION_PATH, &o->trace, 0, 0, "FILE",
         "write what each rank did when: FILE.json for ui.perfetto.dev, FILE.svg drawn"},
        {"seed", OPTION_COUNT, &o->seed, 0, 0x1p63, "N", "of the random tokens (0)"},
        {"json", OPTION_SWITCH, &o->json, 0, 0, NULL, "print one JSON object instead of a table"},
        {"csv", OPTION_SWITCH, &o->csv, 0, 0, NULL, "print comma-separated values instead of a table"},
        {"plot", OPTION_PATH, &o->plot, 0, 0, "FILE.svg", "draw speed against depth and against streams"},
    };
    _Static_assert(sizeof own / sizeof *own <= OWN_OPTIONS, "the table of flags is full");
    return engine_options_table(&o->engine, own, sizeof own / sizeof *own, table);
}

uint64_t bench_options_largest(const option_counts *list) {
    uint64_t largest = 0;
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i] > largest) largest = list->items[i];
    return largest;
}

uint64_t bench_options_rows(const bench_options *o) {
    return o->engine.thread_list.count * o->engine.chunk_list.count * o->depth.count *
           (o->prompt.count + o->streams.count);
}

static gptoss_status check(const bench_options *o, gptoss_error *err) {
    if (o->json && o->csv)
        return error_set(err, GPTOSS_MISUSE, "--json and --csv exclude each other: give one of them");
    if (o->gen == 0 && bench_options_largest(&o->prompt) == 0)
        return error_set(err, GPTOSS_MISUSE, "--prompt 0 and --gen 0 leave nothing to measure");
    uint64_t rows = bench_options_rows(o);
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

static gptoss_status settle(bench_options *o, int ranks, gptoss_error *err) {
    TRY(engine_options_settle(&o->engine, ranks, err));
    TRY(read_pace(o, err));
    return check(o, err);
}

gptoss_status bench_options_parse(const cluster *c, int argc, char **argv, const char *environment_gguf,
                                  bench_options *out, gptoss_error *err) {
    *out = (bench_options){.engine = engine_options_defaults(ENGINE_MEASURES, environment_gguf),
                           .prompt = only(512),
                           .depth = only(0),
                           .streams = only(1),
                           .gen = 32,
                           .reps = 3};
    option table[OWN_OPTIONS + ENGINE_OPTIONS_MAX];
    size_t count = describe(out, table);
    TRY(config_file_options(c, table, count, argc, argv, &out->engine.config, err));
    return engine_options_agree(&out->engine, c, out->engine.help ? GPTOSS_OK : settle(out, c->size, err), err);
}

void bench_options_free(bench_options *o) { engine_options_free(&o->engine); }

void bench_options_print_help(void) {
    bench_options o = {.engine.use = ENGINE_MEASURES};
    option table[OWN_OPTIONS + ENGINE_OPTIONS_MAX];
    puts("gptoss-dist bench --gguf FILE [flags]: how fast prompts are read and answers generated, beside what the "
         "memory "
         "allows.\n"
         "Where a list is allowed (--depth 0,4096,8000), everything is measured for each of its numbers.\n"
         "Start it with mpirun -np N to share the model between N ranks.\n");
    options_print_help(table, describe(&o, table));
}
