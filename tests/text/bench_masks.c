/* What masks cost with the real vocabulary, in milliseconds of processor time: opening, then masks of random texts, the
 * first time (cold) and later (warm). Run it by hand on a quiet machine. */
#include <cjson/cJSON.h>
#include <time.h>

#include "random.h"
#include "text/constraint.h"
#include "text/vocabulary.h"

enum { TEXTS = 8, COLD_TEXTS = 4, TOKENS = 300 };

static double milliseconds(void) {
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

typedef struct bench {
    tokenizer *tokenizer;
    token_mask *masks;
    harmony format;
    uint64_t seed;
    uint64_t *mask;
    double warm[TEXTS * (TOKENS + 50)], cold;
    size_t count;
} bench;

static uint32_t choose(bench *b) {
    uint64_t seen = 0;
    uint32_t plain = UINT32_MAX, special = UINT32_MAX;
    for (size_t i = 0; i < b->masks->words; i++)
        for (uint64_t bits = b->mask[i]; bits; bits &= bits - 1) {
            uint32_t id = (uint32_t)(i * 64) + (uint32_t)__builtin_ctzll(bits);
            if (tokenizer_is_special(b->tokenizer, id))
                special = id;
            else if (random_below(&b->seed, ++seen) == 0)
                plain = id;
        }
    return plain == UINT32_MAX || (special != UINT32_MAX && random_below(&b->seed, 8) == 0) ? special : plain;
}

static void write_text(bench *b, constraint *c, bool warm) {
    constraint_reset(c);
    constraint_limit(c, constraint_least(c) + TOKENS);
    for (int n = 0; n < TOKENS && constraint_where(c) != CONSTRAINT_ENDED; n++) {
        double start = milliseconds();
        assert_ok(constraint_mask(c, b->mask, err));
        double spent = milliseconds() - start;
        if (warm)
            b->warm[b->count++] = spent;
        else if (spent > b->cold)
            b->cold = spent;
        assert_ok(constraint_accept(c, choose(b), err));
    }
}

static void measure(bench *b, const char *name, const constraint_rules *rules) {
    constraint *c;
    double start = milliseconds();
    assert_ok(constraint_open(&b->format, b->masks, rules, &c, err));
    double open = milliseconds() - start;
    b->count = 0;
    b->cold = 0;
    for (int text = 0; text < TEXTS; text++) write_text(b, c, text >= COLD_TEXTS);
    qsort(b->warm, b->count, sizeof *b->warm, ascending);
    printf("%7.2f %7.2f %7.3f %7.3f %7.3f %5zu  %s\n", open, b->cold, b->warm[b->count / 2],
           b->warm[b->count * 99 / 100], b->warm[b->count - 1], b->count, name);
    constraint_close(c);
}

static void measure_schema(bench *b, const char *name, const char *text) {
    cJSON *schema = cJSON_Parse(text);
    assert_non_null(schema);
    measure(b, name, &(constraint_rules){.plain = true, .schema = schema});
    cJSON_Delete(schema);
}

/* SCHEMA of `count` parts with numbers in them, between `start` and `end`. */
static void measure_many(bench *b, const char *name, const char *start, const char *part, int count, const char *end) {
    buffer text = {0};
    assert_ok(buffer_append_text(&text, start, err));
    for (int i = 0; i < count; i++) {
        char number[20];
        snprintf(number, sizeof number, "%d", (int)random_below(&b->seed, 1000000000));
        for (const char *c = part; *c; c++)
            assert_ok(*c == '#' ? buffer_append_text(&text, number, err) : buffer_append(&text, c, 1, err));
        assert_ok(buffer_append_text(&text, i + 1 < count ? "," : "", err));
    }
    assert_ok(buffer_append_text(&text, end, err));
    measure_schema(b, name, text.data);
    buffer_free(&text);
}

static void measure_functions(bench *b) {
    static harmony_function functions[1000];
    static char names[1000][32];
    for (int i = 0; i < 1000; i++) {
        snprintf(names[i], sizeof names[i], "get_thing_%d", i);
        functions[i].name = names[i];
    }
    measure(b, "headers with 128 functions", &(constraint_rules){.functions = functions, .function_count = 128});
    measure(b, "one of 128 functions required",
            &(constraint_rules){.functions = functions, .function_count = 128, .choice = CONSTRAINT_REQUIRED});
    measure(b, "one of 1000 functions required",
            &(constraint_rules){.functions = functions, .function_count = 1000, .choice = CONSTRAINT_REQUIRED});
}

static void run(void **state) {
    static bench b = {.seed = 1};
    (void)state;
    b.tokenizer = vocabulary_open_o200k();
    double start = milliseconds();
    assert_ok(token_mask_open(b.tokenizer, &b.masks, err));
    printf("token_mask_open: %.0f ms, %u nodes and %u with quotation marks\n", milliseconds() - start,
           b.masks->inside.count, b.masks->others.count);
    assert_ok(harmony_open(b.tokenizer, &b.format, err));
    b.mask = calloc(b.masks->words, sizeof *b.mask);
    printf("   open    cold     p50     p99     max masks\n");
    measure_schema(&b, "any JSON", "{}");
    measure_schema(&b, "an object", "{\"type\":\"object\"}");
    measure_schema(&b, "strings", "{\"type\":\"array\",\"items\":{\"type\":\"string\"}}");
    measure_schema(&b, "strings of up to 100",
                   "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"maxLength\":100}}");
    measure_schema(&b, "a pattern",
                   "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^[a-z ]+[.!]$\"}}");
    measure_schema(&b, "a pattern anywhere",
                   "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"sea|tide\"}}");
    measure_schema(&b, "dates and times",
                   "{\"type\":\"array\",\"items\":{\"type\":\"string\",\"format\":\"date-time\"}}");
    measure_schema(&b, "numbers within limits",
                   "{\"type\":\"array\",\"items\":{\"type\":\"number\",\"minimum\":-1,\"maximum\":1}}");
    measure_many(&b, "an enum of 10000", "{\"type\":\"array\",\"items\":{\"enum\":[", "\"w#\"", 10000, "]}}");
    measure_many(&b, "1000 properties", "{\"properties\":{", "\"p#\":{\"type\":\"null\"}", 900, "}}");
    measure_many(
        &b, "anyOf 128 objects", "{\"type\":\"array\",\"items\":{\"anyOf\":[",
        "{\"properties\":{\"kind\":{\"const\":#},\"text\":{\"type\":\"string\"}},\"required\":[\"kind\",\"text\"]}",
        128, "]}}");
    measure_many(&b, "anyOf 128 strings", "{\"type\":\"array\",\"items\":{\"anyOf\":[",
                 "{\"type\":\"string\",\"maxLength\":#}", 128, "]}}");
    measure_many(&b, "anyOf 64 patterns", "{\"type\":\"array\",\"items\":{\"anyOf\":[",
                 "{\"type\":\"string\",\"pattern\":\"^([a-z ]|#)*$\"}", 64, "]}}");
    measure_functions(&b);
    token_mask_close(b.masks);
    tokenizer_close(b.tokenizer);
    free(b.mask);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(run)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
