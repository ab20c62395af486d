/* The flags that run, serve and bench have in common: one table, one set of checks, one way into the engine. */
#include "cli/engine_options.h"
#include "support.h"

enum { OWN = 2, MOST = OWN + ENGINE_OPTIONS_MAX };

static bool switched;
static const option own[OWN] = {
    {"first", OPTION_SWITCH, &switched, 0, 0, NULL, "of the command"},
    {"second", OPTION_SWITCH, &switched, 0, 0, NULL, "of the command"},
};

static engine_options options;
static option table[MOST];
static size_t count;
static gptoss_error why;

/* Parses a command line and checks it for a run on two ranks. */
static gptoss_status parse(engine_use use, const char *const *words) {
    char *argv[16] = {(char *)"command"};
    int argc = 1;
    while (words[argc - 1]) {
        argv[argc] = (char *)words[argc - 1];
        argc++;
    }
    why = (gptoss_error){0};
    options = engine_options_defaults(use, "model.gguf");
    count = engine_options_table(&options, own, OWN, table);
    TRY(options_parse(table, count, argc, argv, NULL, &why));
    return engine_options_settle(&options, 2, &why);
}
#define PARSE(use, ...) parse(use, (const char *const[]){__VA_ARGS__, NULL})

static bool has(const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0) return true;
    return false;
}

static void rows_come_once_and_in_order(void **state) {
    (void)state;
    for (engine_use use = ENGINE_RUNS; use <= ENGINE_MEASURES; use++) {
        assert_int_equal(PARSE(use, "--first"), GPTOSS_OK);
        assert_true(count <= MOST);
        assert_string_equal(table[0].name, "gguf");
        assert_string_equal(table[1].name, "first");
        assert_string_equal(table[2].name, "second");
        assert_string_equal(table[count - 1].name, "help");
        for (size_t i = 0; i < count; i++)
            for (size_t k = i + 1; k < count; k++) assert_string_not_equal(table[i].name, table[k].name);
        for (size_t i = 0; i < count; i++) assert_true(table[i].help && table[i].target);
        assert_int_equal(has("cache"), use != ENGINE_MEASURES);
        assert_int_equal(has("max-kv"), use != ENGINE_MEASURES);
        assert_true(has("for") && has("threads") && has("chunk") && has("config"));
    }
}

static void what_flags_say_reaches_the_engine(void **state) {
    (void)state;
    const places where = {.gguf = (char *)"/here/model.gguf", .cache = (char *)"/cache"};
    engine_config config = {.sequences = 7};
    assert_int_equal(PARSE(ENGINE_RUNS, "--shards", "2", "--threads=3", "--chunk=64", "--layers=5", "--max-kv=100",
                           "--kv-type=q8_0", "--moe-fallback", "--weights=local", "--cpu-bind=none"),
                     GPTOSS_OK);
    options.prompt_cache = "/kept";
    engine_options_apply(&options, &where, &config);
    assert_string_equal(config.path, "/here/model.gguf");
    assert_string_equal(config.cache_dir, "/cache");
    assert_string_equal(config.prompt_cache, "/kept");
    assert_true(config.stages == 1 && config.shards == 2 && !config.choose);
    assert_true(config.threads == 3 && config.chunk == 64 && config.n_layers == 5 && config.planned_kv == 100);
    assert_true(config.kv_type == KV_Q8_0 && config.weights == WEIGHTS_LOCAL && config.bind == BIND_NONE);
    assert_true(config.expert_0_only);
    assert_int_equal(config.sequences, 7); /* is the command's */

    const hparams hp = {.context = 4096};
    assert_int_equal(engine_options_length(&options, &hp), 100);
    assert_int_equal(PARSE(ENGINE_SERVES, "--for", "latency", "--first"), GPTOSS_OK);
    assert_int_equal(engine_options_length(&options, &hp), 4096);
    engine_options_apply(&options, &where, &config);
    assert_true(config.choose && config.goal == PLAN_FOR_LATENCY && config.stages == 0);
}

static void only_measurements_take_lists(void **state) {
    (void)state;
    assert_int_equal(PARSE(ENGINE_MEASURES, "--threads", "1,2", "--chunk", "8,16,32"), GPTOSS_OK);
    assert_true(options.thread_list.count == 2 && options.chunk_list.count == 3);
    assert_int_equal(PARSE(ENGINE_MEASURES, "--first"), GPTOSS_OK);
    assert_true(options.thread_list.count == 1 && options.thread_list.items[0] == 0);
    assert_int_equal(PARSE(ENGINE_RUNS, "--threads", "1,2"), GPTOSS_MISUSE);
    assert_int_equal(PARSE(ENGINE_SERVES, "--chunk", "1,2"), GPTOSS_MISUSE);
}

static void what_cannot_be_is_named(void **state) {
    (void)state;
    static const struct {
        const char *flag, *value;
    } bad[] = {{"--kv-type", "f64"},     {"--weights", "far"}, {"--link-model", "latency=soon"},
               {"--stages", "3"},        {"--for", "fun"},     {"--cpu-bind", "chair"},
               {"--isa", "z80"},         {"--threads", "0"},   {"--layers", "1e9"},
               {"--threads", "1000000"}, {"--max-kv", "0"},    {"--chunk", "-1"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        gptoss_status status = PARSE(ENGINE_RUNS, bad[i].flag, bad[i].value);
        if (status != GPTOSS_MISUSE || strncmp(why.text, bad[i].flag, strlen(bad[i].flag)) != 0)
            fail_msg("%s %s: %s: %s", bad[i].flag, bad[i].value, gptoss_status_name(status), why.text);
    }
    assert_int_equal(PARSE(ENGINE_SERVES, "--max-kv", "1"), GPTOSS_MISUSE); /* a prompt and an answer */
    assert_int_equal(PARSE(ENGINE_RUNS, "--max-kv", "1"), GPTOSS_OK);
}

static void a_model_must_be_named(void **state) {
    (void)state;
    static const char *const none[] = {NULL, ""};
    for (size_t i = 0; i < 2; i++) {
        options = engine_options_defaults(ENGINE_RUNS, none[i]);
        assert_int_equal(engine_options_settle(&options, 1, &why), GPTOSS_MISUSE);
        assert_non_null(strstr(why.text, "--gguf FILE or set GPT_OSS_GGUF_PATH"));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_come_once_and_in_order),  cmocka_unit_test(what_flags_say_reaches_the_engine),
        cmocka_unit_test(only_measurements_take_lists), cmocka_unit_test(what_cannot_be_is_named),
        cmocka_unit_test(a_model_must_be_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
