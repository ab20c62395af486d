/* JSON under constraint: random texts satisfy their schemas, and every mask says what trying each token says. */
#include <cjson/cJSON.h>
#include <pthread.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "random.h"
#include "text/constraint.h"
#include "text/validator.h"
#include "text/vocabulary.h"

static tokenizer *small;
static token_mask *masks;
static harmony format;

static int open_small(void **state) {
    (void)state;
    small = vocabulary_open_small();
    assert_ok(token_mask_open(small, &masks, err));
    assert_ok(harmony_open(small, &format, err));
    return 0;
}

static int close_small(void **state) {
    (void)state;
    token_mask_close(masks);
    tokenizer_close(small);
    return 0;
}

static constraint *open_schema(const cJSON *schema) {
    constraint *c;
    constraint_rules rules = {.plain = true, .schema = schema};
    assert_ok(constraint_open(&format, masks, &rules, &c, err));
    return c;
}

/* One of the allowed tokens; those that end the text only when no others are. */
static uint32_t choose(const uint64_t *mask, size_t words, uint64_t *seed) {
    uint32_t found = UINT32_MAX, ending = UINT32_MAX;
    uint64_t seen = 0;
    for (uint32_t id = 0; id < words * 64; id++) {
        if (!token_mask_has(mask, id)) continue;
        assert_true(id < tokenizer_count(small));
        if (tokenizer_is_special(small, id))
            ending = id;
        else if (random_below(seed, ++seen) == 0)
            found = id;
    }
    return found != UINT32_MAX && (ending == UINT32_MAX || random_below(seed, 4)) ? found : ending;
}

/* The mask allows exactly the tokens that can be taken. */
static void check_mask(const constraint *c, const uint64_t *mask) {
    constraint *other;
    assert_ok(constraint_clone(c, &other, err));
    for (uint32_t id = 0; id < tokenizer_count(small); id++) {
        bool taken = constraint_accept(other, id, NULL) == GPTOSS_OK;
        if (taken != token_mask_has(mask, id)) fail_msg("token %u: the mask says %d", id, !taken);
        if (!taken) continue;
        constraint_close(other);
        assert_ok(constraint_clone(c, &other, err));
    }
    constraint_close(other);
}

/* Writes a random text; with `limit` in at most so many tokens. */
static void write_text(constraint *c, uint64_t limit, bool check, uint64_t *seed, buffer *out) {
    uint64_t *mask = calloc(masks->words, sizeof *mask);
    size_t steps = 0;
    constraint_reset(c);
    if (limit) constraint_limit(c, limit);
    for (; constraint_where(c) != CONSTRAINT_ENDED; steps++) {
        size_t size;
        assert_true(steps < 100000);
        assert_ok(constraint_mask(c, mask, err));
        if (check && steps < 60) check_mask(c, mask);
        uint32_t id = choose(mask, masks->words, seed);
        if (id == UINT32_MAX) fail_msg("no token is allowed after \"%s\"", out->data ? out->data : "");
        if (constraint_where(c) == CONSTRAINT_MUST_END) assert_true(tokenizer_is_special(small, id));
        const char *bytes = tokenizer_bytes(small, id, &size);
        if (!tokenizer_is_special(small, id)) assert_ok(buffer_append(out, bytes, size, err));
        assert_ok(constraint_accept(c, id, err));
    }
    if (limit && steps > limit) fail_msg("%zu tokens instead of %u: %s", steps, (unsigned)limit, out->data);
    free(mask);
}

static void check_text(const cJSON *schema, const buffer *text) {
    const char *end;
    assert_true(utf8_valid(text->data, text->size));
    cJSON *value = cJSON_ParseWithOpts(text->data, &end, true);
    char *shown = cJSON_PrintUnformatted(schema);
    if (!value || (size_t)(end - text->data) != text->size) fail_msg("%s: no JSON: %s", shown, text->data);
    if (!validator_accepts(schema, schema, value)) fail_msg("%s is not satisfied by %s", shown, text->data);
    cJSON_Delete(value);
    free(shown);
}

static void walk_schema(const cJSON *schema, void *context) {
    uint64_t *seed = context;
    constraint *c = open_schema(schema);
    uint64_t least = constraint_least(c);
    for (int round = 0; round < 12; round++) {
        buffer text = {0};
        bool check = round < 2; /* with tokens to spare: otherwise masks are narrower */
        write_text(c, least + (check ? 5000 : (uint64_t)round * 30 - 60), check, seed, &text);
        check_text(schema, &text);
        buffer_free(&text);
    }
    constraint_close(c);
}

static void test_random_texts_satisfy_their_schemas(void **state) {
    (void)state;
    uint64_t seed = 5;
    assert_int_equal(vocabulary_each_line("schemas.jsonl", walk_schema, &seed), 116);
}

/* ---- Schemas made up at random ---- */

static unsigned long random_schemas = 150; /* more when a number is given on the command line */

static void put(buffer *out, const char *text) { assert_ok(buffer_append_text(out, text, err)); }

/* `inside` an object or array: only there it may refer to a definition, or it could mean nothing but itself. */
static void make_schema(uint64_t *seed, int depth, bool inside, buffer *out);

static void make_string(uint64_t *seed, buffer *out) {
    static const char *const patterns[] = {"^[a-z]{2,5}$", "the", "^(a|aa|th)+$", "^[^\"]*$", "^.\\u00e9?$", "in$"};
    unsigned min = (unsigned)random_below(seed, 4);
    put(out, "{\"type\":\"string\"");
    if (random_below(seed, 3) == 0) assert_ok(buffer_printf(out, err, ",\"minLength\":%u", min));
    if (random_below(seed, 3) == 0)
        assert_ok(buffer_printf(out, err, ",\"maxLength\":%u", min + (unsigned)random_below(seed, 9)));
    if (random_below(seed, 3) == 0) {
        cJSON *pattern = cJSON_CreateString(patterns[random_below(seed, 6)]);
        char *text = cJSON_PrintUnformatted(pattern);
        assert_ok(buffer_printf(out, err, ",\"pattern\":%s", text));
        cJSON_free(text);
        cJSON_Delete(pattern);
    }
    put(out, "}");
}

static void make_number(uint64_t *seed, buffer *out) {
    bool integer = random_below(seed, 2);
    double low = (double)random_below(seed, 2000) - 1000, width = (double)random_below(seed, 300) / (integer ? 1 : 8);
    put(out, integer ? "{\"type\":\"integer\"" : "{\"type\":\"number\"");
    if (random_below(seed, 2)) assert_ok(buffer_printf(out, err, ",\"minimum\":%g", low));
    if (random_below(seed, 2)) assert_ok(buffer_printf(out, err, ",\"maximum\":%g", low + width));
    put(out, "}");
}

static void make_object(uint64_t *seed, int depth, buffer *out) {
    static const char *const names[] = {"a", "ab", "the", "th", "b\\\"", "é", "", "in"};
    uint64_t chosen = random_bits(seed), required = random_bits(seed);
    const char *comma = "";
    put(out, "{\"type\":\"object\",\"properties\":{");
    for (unsigned i = 0; i < 8; i++) {
        if (!(chosen >> 2 * i & chosen >> (2 * i + 1) & 1)) continue;
        assert_ok(buffer_printf(out, err, "%s\"%s\":", comma, names[i]));
        make_schema(seed, depth - 1, true, out);
        comma = ",";
    }
    put(out, "},\"required\":[");
    comma = "";
    for (unsigned i = 0; i < 8; i++) {
        if (!(chosen >> 2 * i & chosen >> (2 * i + 1) & 1) || !(required >> i & 1)) continue;
        assert_ok(buffer_printf(out, err, "%s\"%s\"", comma, names[i]));
        comma = ",";
    }
    put(out, "]");
    if (required >> 20 & 1) {
        put(out, ",\"additionalProperties\":");
        if (required >> 21 & 1)
            make_schema(seed, depth - 1, true, out);
        else
            put(out, "false");
    }
    put(out, "}");
}

static void make_schema(uint64_t *seed, int depth, bool inside, buffer *out) {
    static const char *const leaves[] = {"{\"type\":\"boolean\"}",
                                         "{\"type\":[\"null\",\"integer\"]}",
                                         "{\"enum\":[\"the\",\"th\",1,12,null,{\"a\":[1]}]}",
                                         "{\"const\":\"in\"}",
                                         "{}",
                                         "{\"type\":\"string\",\"nullable\":true}",
                                         "{\"type\":\"string\",\"format\":\"date\"}"};
    switch (random_below(seed, depth > 0 ? 9 : 4)) {
    case 0: make_string(seed, out); break;
    case 1: make_number(seed, out); break;
    case 2: put(out, leaves[random_below(seed, 7)]); break;
    case 3:
        if (!inside)
            put(out, "{\"type\":\"null\"}");
        else
            assert_ok(buffer_printf(out, err, "{\"$ref\":\"#/$defs/d%u\"}", (unsigned)random_below(seed, 3)));
        break;
    case 4:
    case 5: make_object(seed, depth, out); break;
    case 6: {
        unsigned min = (unsigned)random_below(seed, 3), max = min + (unsigned)random_below(seed, 4);
        assert_ok(buffer_printf(out, err, "{\"type\":\"array\",\"minItems\":%u,\"maxItems\":%u,\"items\":", min, max));
        make_schema(seed, depth - 1, true, out);
        put(out, "}");
        break;
    }
    default:
        put(out, "{\"anyOf\":[");
        make_schema(seed, depth - 1, false, out);
        put(out, ",");
        make_schema(seed, depth - 1, false, out);
        put(out, "]}");
    }
}

static void test_random_schemas(void **state) {
    (void)state;
    uint64_t seed = 41;
    unsigned long walked = 0;
    for (unsigned long round = 0; round < random_schemas; round++) {
        buffer text = {0};
        gptoss_error error;
        json_grammar *g;
        put(&text, "{\"anyOf\":[");
        make_schema(&seed, 3, false, &text);
        put(&text, "],\"$defs\":{\"d0\":");
        make_schema(&seed, 2, false, &text);
        put(&text, ",\"d1\":");
        make_schema(&seed, 2, false, &text);
        put(&text, ",\"d2\":");
        make_schema(&seed, 1, false, &text);
        put(&text, "}}");
        cJSON *schema = cJSON_Parse(text.data);
        assert_non_null(schema);
        if (json_grammar_open(schema, NULL, &g, &error) == GPTOSS_OK) {
            json_grammar_close(g);
            walk_schema(schema, &seed);
            walked++;
        } else if (!strstr(error.text, "no value satisfies")) {
            fail_msg("%s: %s", text.data, error.text);
        }
        cJSON_Delete(schema);
        buffer_free(&text);
    }
    assert_true(2 * walked > random_schemas);
}

/* With the real vocabulary: whatever the place in the text, the mask allows what can be taken, of tokens chosen at
 * random, of those that look like JSON, and of all it allows itself. */
static void check_places(const tokenizer *t, const token_mask *m, const cJSON *schema, const char *text,
                         uint64_t *seed) {
    harmony h;
    constraint *c, *other;
    constraint_rules rules = {.plain = true, .schema = schema};
    uint64_t *mask = calloc(m->words, sizeof *mask);
    uint32_t byte[256];
    for (unsigned i = 0; i < 256; i++) byte[i] = m->single[i];
    assert_ok(harmony_open(t, &h, err));
    assert_ok(constraint_open(&h, m, &rules, &c, err));
    for (;; text++) {
        assert_ok(constraint_mask(c, mask, err));
        assert_ok(constraint_clone(c, &other, err));
        for (int i = 0; i < 3000; i++) {
            uint32_t id = (uint32_t)random_below(seed, tokenizer_count(t));
            if (i < 600) id = (uint32_t)random_below(seed, 600); /* short ones */
            bool taken = constraint_accept(other, id, NULL) == GPTOSS_OK;
            if (taken != token_mask_has(mask, id))
                fail_msg("token %u before \"%s\": the mask says %d", id, text, !taken);
            if (!taken) continue;
            constraint_close(other);
            assert_ok(constraint_clone(c, &other, err));
        }
        constraint_close(other);
        if (!*text) break;
        assert_ok(constraint_accept(c, byte[(uint8_t)*text], err));
    }
    constraint_close(c);
    free(mask);
}

static void test_real_vocabulary(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"{\"type\":\"object\",\"properties\":{\"name\":{\"type\":\"string\",\"maxLength\":12},\"n\":{\"type\":"
         "\"integer\"}},"
         "\"required\":[\"name\"]}",
         "{\"name\": \"\xC3\xA9\\n\xF0\x9F\x99\x82 the end\", \"n\":-12, \"other\xC3\xA9\":[1,{\"x\":null}]}"},
        {"{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^[a-z]+( [a-zé]+)*$\"}}",
         "[\"the sea\",\n \"is d\xC3\xA9\"]"},
        {"{\"anyOf\":[{\"enum\":[\"the\",\"then\",\"there\"]},{\"type\":\"string\",\"minLength\":3},{\"type\":"
         "\"number\"}]}",
         "\"there\""},
        {"{}", "{\"a b\": [true, 1.5e3, \"\\u00e9\"]}"},
    };
    uint64_t seed = 23;
    token_mask *m;
    tokenizer *t = vocabulary_open_o200k();
    assert_ok(token_mask_open(t, &m, err));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        cJSON *schema = cJSON_Parse(cases[i][0]);
        check_places(t, m, schema, cases[i][1], &seed);
        cJSON_Delete(schema);
    }
    token_mask_close(m);
    tokenizer_close(t);
}

/* Clones may be used by several threads at once, each with its own. */
static void *write_in_thread(void *context) {
    buffer text = {0};
    uint64_t seed = 31;
    for (int i = 0; i < 5; i++) write_text(context, 300, false, &seed, &text);
    buffer_free(&text);
    return NULL;
}

static void test_threads(void **state) {
    (void)state;
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    constraint *clones[THREADS];
    cJSON *schema = cJSON_Parse("{\"type\":\"array\",\"items\":{\"type\":\"string\",\"pattern\":\"^[a-z]{1,9}$\"}}");
    clones[0] = open_schema(schema);
    for (size_t i = 1; i < THREADS; i++) assert_ok(constraint_clone(clones[0], &clones[i], err));
    for (size_t i = 0; i < THREADS; i++) pthread_create(&threads[i], NULL, write_in_thread, clones[i]);
    for (size_t i = 0; i < THREADS; i++) pthread_join(threads[i], NULL);
    for (size_t i = 0; i < THREADS; i++) constraint_close(clones[i]);
    cJSON_Delete(schema);
}

int main(int argc, char **argv) {
    if (argc > 1) random_schemas = strtoul(argv[1], NULL, 10);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_texts_satisfy_their_schemas),
        cmocka_unit_test(test_random_schemas),
        cmocka_unit_test(test_real_vocabulary),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, open_small, close_small);
}
