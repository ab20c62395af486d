/* Turns under constraint, written at random: whatever the model, they are valid ones. */
#include <cjson/cJSON.h>

#include "base/mem.h"
#include "random.h"
#include "text/answers.h"
#include "text/constraint.h"
#include "text/validator.h"

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

static uint32_t special(const char *name) {
    uint32_t id;
    if (!tokenizer_special(small, name, &id)) fail_msg("no special token %s", name);
    return id;
}

static const char tide_schema[] =
    "{\"type\":\"object\",\"properties\":{\"harbour\":{\"type\":\"string\",\"maxLength\":8},\"days\":{\"type\":"
    "\"integer\","
    "\"minimum\":1,\"maximum\":9}},\"required\":[\"harbour\"],\"additionalProperties\":false}";
static const char answer_schema[] = "{\"type\":\"object\",\"properties\":{\"ok\":{\"type\":\"boolean\"}},\"required\":["
                                    "\"ok\"],\"additionalProperties\":false}";

/* Any allowed token; special ones as often as all others together, or such random turns would not end. */
static uint32_t choose(const uint64_t *mask, uint64_t *seed) {
    uint32_t plain = UINT32_MAX, named = UINT32_MAX;
    uint64_t seen = 0, specials = 0;
    for (uint32_t id = 0; id < tokenizer_count(small); id++) {
        if (!token_mask_has(mask, id)) continue;
        if (tokenizer_is_special(small, id))
            named = random_below(seed, ++specials) == 0 ? id : named;
        else
            plain = random_below(seed, ++seen) == 0 ? id : plain;
    }
    if (named == UINT32_MAX || plain == UINT32_MAX) return named == UINT32_MAX ? plain : named;
    return random_below(seed, 2) ? named : plain;
}

/* The mask allows exactly the tokens that can be taken; with no limit in sight, so does the question for one. */
static void check_mask(constraint *c, const uint64_t *mask) {
    constraint *other;
    bool unlimited = !constraint_runs_short(c);
    assert_ok(constraint_clone(c, &other, err));
    for (uint32_t id = 0; id < tokenizer_count(small); id++) {
        bool taken = constraint_accept(other, id, NULL) == GPTOSS_OK;
        if (taken != token_mask_has(mask, id)) fail_msg("token %u: the mask says %d", id, !taken);
        if (unlimited && constraint_allows(c, id) != taken) fail_msg("token %u: asked for, it is %d", id, !taken);
        if (!taken) continue;
        constraint_close(other);
        assert_ok(constraint_clone(c, &other, err));
    }
    constraint_close(other);
}

static void write_turn(constraint *c, uint64_t limit, bool check, uint64_t *seed, tokens *out) {
    uint64_t *mask = calloc(masks->words, sizeof *mask);
    constraint_reset(c);
    if (limit) constraint_limit(c, limit);
    while (constraint_where(c) != CONSTRAINT_ENDED) {
        assert_true(out->count < 100000);
        assert_ok(constraint_mask(c, mask, err));
        if (check && out->count < 80) check_mask(c, mask);
        uint32_t id = choose(mask, seed);
        if (id == UINT32_MAX) fail_msg("no token is allowed after %zu", out->count);
        assert_ok(constraint_accept(c, id, err));
        assert_ok(tokens_add(out, id, err));
    }
    if (limit) assert_true(out->count <= limit);
    assert_ok(constraint_mask(c, mask, err));
    assert_int_equal(choose(mask, seed), UINT32_MAX);
    assert_int_equal(constraint_accept(c, 65, NULL), GPTOSS_BAD_INPUT);
    free(mask);
}

static void check_json(const char *text, const char *schema) {
    cJSON *value = cJSON_Parse(text), *rules = cJSON_Parse(schema);
    if (!value || !validator_accepts(rules, rules, value)) fail_msg("%s does not satisfy %s", text, schema);
    cJSON_Delete(value);
    cJSON_Delete(rules);
}

/* What the turn says satisfies the rules. */
static void check_turn(const constraint_rules *r, const tokens *ids) {
    outcome o;
    answers_parse(small, ids->ids, ids->count, &o);
    const harmony_answer *a = &o.seen.answer;
    bool must = r->choice == CONSTRAINT_REQUIRED || r->choice == CONSTRAINT_NAMED;
    assert_true(o.done);
    assert_int_equal(harmony_recoveries_total(&o.recoveries), o.recoveries.counts[HARMONY_MENDED_ANSWER]);
    if (must) assert_true(a->call_count > 0);
    if (r->choice == CONSTRAINT_NONE || !r->parallel) assert_true(a->call_count <= 1);
    for (size_t i = 0; i < a->call_count; i++) {
        const char *name = harmony_function_name(a->calls[i].recipient);
        bool function = name != a->calls[i].recipient;
        if (must) assert_true(function);
        if (r->choice == CONSTRAINT_NONE) assert_false(function);
        if (r->choice == CONSTRAINT_NAMED) assert_string_equal(name, r->name);
        if (strcmp(name, "python") == 0) continue;
        check_json(answers_shown(&a->calls[i].arguments),
                   strcmp(name, "tide") == 0 ? tide_schema : "{\"type\":\"object\"}");
    }
    if ((r->json || r->schema) && a->call_count == 0)
        check_json(answers_shown(&a->content), r->schema ? answer_schema : "{\"type\":\"object\"}");
    harmony_answer_free(&o.seen.answer);
}

static void check_rules(const constraint_rules *r, uint64_t *seed) {
    constraint *c;
    assert_ok(constraint_open(&format, masks, r, &c, err));
    uint64_t least = constraint_least(c);
    for (int round = 0; round < 8; round++) {
        tokens ids = {0};
        write_turn(c, least + (round ? (uint64_t)round * 40 - 40 : 3000), round == 0, seed, &ids);
        check_turn(r, &ids);
        tokens_free(&ids);
    }
    constraint_close(c);
}

static void test_random_turns_are_valid(void **state) {
    (void)state;
    cJSON *tide = cJSON_Parse(tide_schema), *answer = cJSON_Parse(answer_schema);
    const harmony_function functions[] = {{.name = "tide", .parameters = tide, .strict = true},
                                          {.name = "tide_of.to-day"},
                                          {.name = "now", .parameters = tide->child}}; /* no schema: any object */
    uint64_t seed = 17;
    for (unsigned i = 0; i < 96; i++) {
        constraint_rules r = {.choice = i & 3,
                              .functions = functions,
                              .function_count = 3,
                              .name = "tide",
                              .parallel = i & 4,
                              .browser = i & 8,
                              .python = i & 8,
                              .json = i / 32 == 1,
                              .schema = i / 32 == 2 ? answer : NULL};
        if (i & 16 && r.choice != CONSTRAINT_REQUIRED && r.choice != CONSTRAINT_NAMED) r.function_count = 0;
        check_rules(&r, &seed);
    }
    cJSON_Delete(tide);
    cJSON_Delete(answer);
}

/* Whether a whole text, special tokens spelled out, may be written. */
static bool may_write(const constraint_rules *r, const char *text) {
    constraint *c;
    tokens ids = {0};
    assert_ok(constraint_open(&format, masks, r, &c, err));
    vocabulary_encode(small, text, &ids);
    size_t at = 0;
    while (at < ids.count && constraint_accept(c, ids.ids[at], NULL) == GPTOSS_OK) at++;
    bool good = at == ids.count;
    constraint_close(c);
    tokens_free(&ids);
    return good;
}

static void test_what_models_write_is_allowed(void **state) {
    (void)state;
    static const harmony_function f[] = {{.name = "f"}, {.name = "ff"}};
    constraint_rules r = {.functions = f, .function_count = 2, .parallel = true, .browser = true, .python = true};
    static const char *const allowed[] = {
        "<|channel|>final<|message|>Hi.<|return|>",
        "<|channel|>analysis<|message|>Hm.<|end|><|start|>assistant<|channel|>final<|message|>Hi.<|return|>",
        "<|channel|>commentary<|message|>Wait.<|end|><|start|>assistant<|channel|>final<|message|>Hi.<|return|>",
        "<|channel|>commentary to=functions.f <|constrain|>json<|message|>{}<|call|>",
        "<|channel|>commentary to=functions.ff<|constrain|>json<|message|>{\"a\": [1, 2]}<|call|>",
        "<|channel|>commentary to=functions.f json<|message|>{}<|call|>",
        " to=functions.f<|channel|>commentary <|constrain|>json<|message|>{\n  \"a\": 1\n}<|call|>",
        "<|channel|>analysis<|message|>a<|end|><|start|>assistant to=functions.f<|channel|>commentary json<|message|>{}"
        "<|call|>",
        "<|channel|>commentary to=functions.f<|message|>{}<|end|><|start|>assistant<|channel|>commentary "
        "to=functions.ff<|message|>{}<|call|>",
        "<|channel|>analysis to=python code<|message|>print(1)<|call|>",
        "<|channel|>analysis to=browser.search code<|message|>{\"query\":\"x\"}<|call|>",
    };
    static const char *const wrong[] = {
        "Hi",
        "<|message|>",
        "<|channel|>thoughts",
        "<|channel|>final to=functions.f",
        "<|start|>",
        "<|channel|>commentary to=functions.g",
        "<|channel|>commentary to=functions.f<|message|>[",
        "<|channel|>analysis<|message|>Hm.<|return|>",
        "<|channel|>final<|message|>Hi.<|end|>",
        "<|channel|>final<|message|>Hi.<|call|>",
        "<|channel|>final<|message|><|channel|>",
        "<|channel|>analysis<|channel|>",
        "<|channel|>commentary to=functions.f<|message|>{}<|return|>",
        "<|channel|>analysis<|message|>a<|end|>assistant",
        "<|channel|>analysis<|message|>a<|end|><|start|>user",
        "<|channel|>analysis?",
        "<|channel|>commentary to=functions.f<|message|>{}<|end|><|start|>assistant<|channel|>final",
    };
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
        if (!may_write(&r, allowed[i])) fail_msg("not allowed: %s", allowed[i]);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        if (may_write(&r, wrong[i])) fail_msg("allowed: %s", wrong[i]);
    r.choice = CONSTRAINT_REQUIRED;
    assert_false(may_write(&r, allowed[0]));
    assert_false(may_write(&r, allowed[9]));
    assert_true(may_write(&r, allowed[3]));
    r.choice = CONSTRAINT_NAMED;
    r.name = "ff";
    assert_false(may_write(&r, allowed[3]));
    assert_true(may_write(&r, allowed[4]));
    r.choice = CONSTRAINT_NONE;
    assert_false(may_write(&r, allowed[3]));
    static const harmony_function some[] = {{.name = "f", .barred = true}, {.name = "ff"}};
    r = (constraint_rules){.functions = some, .function_count = 2};
    assert_false(may_write(&r, allowed[3]));
    assert_true(may_write(&r, allowed[4]));
    assert_true(may_write(&r, allowed[0]));
    r.choice = CONSTRAINT_REQUIRED;
    assert_false(may_write(&r, allowed[3]));
    assert_true(may_write(&r, allowed[4]));
    assert_false(may_write(&r, allowed[0]));
    r = (constraint_rules){.functions = f, .function_count = 2, .json = true};
    assert_false(may_write(&r, allowed[0]));
    assert_false(may_write(&r, allowed[2])); /* a preamble is no JSON */
    assert_true(may_write(&r, "<|channel|>final <|constrain|>json<|message|>{}<|return|>"));
    assert_false(may_write(&r, allowed[8])); /* not parallel */
}

/* Arguments are an object, even where a schema does not say so; where it says otherwise, they are that. */
static void test_arguments_are_an_object(void **state) {
    (void)state;
    static const struct {
        const char *schema, *good, *wrong[2];
    } cases[] = {
        {"{}", "{\"a\":[1]}", {"0", "null"}},
        {"{\"description\":\"d\",\"$defs\":{}}", "{}", {"0", "null"}},
        {"{\"minimum\":1}", "{}", {"2", "true"}},
        {"{\"properties\":{\"a\":{}},\"additionalProperties\":false}", "{\"a\":0}", {"0", "{\"b\":0}"}},
        {"{\"anyOf\":[{\"type\":\"integer\"}]}", "0", {"{}", "null"}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int strict = 0; strict < 2; strict++) {
            cJSON *schema = cJSON_Parse(cases[i].schema);
            const harmony_function f = {.name = "f", .parameters = schema, .strict = strict};
            const constraint_rules r = {.functions = &f, .function_count = 1};
            for (int k = 0; k < 3; k++) {
                char text[100];
                const char *arguments = k < 2 ? cases[i].wrong[k] : cases[i].good;
                snprintf(text, sizeof text, "<|channel|>commentary to=functions.f json<|message|>%s<|call|>",
                         arguments);
                if (may_write(&r, text) != (k == 2)) fail_msg("%s: %s", cases[i].schema, arguments);
            }
            cJSON_Delete(schema);
        }
}

/* A model that reasons for ever is brought to its call in time. */
static void test_limits_bring_turns_to_an_end(void **state) {
    (void)state;
    static const harmony_function f[] = {{.name = "f"}};
    constraint_rules r = {.functions = f, .function_count = 1, .choice = CONSTRAINT_REQUIRED};
    constraint *c;
    tokens ids = {0};
    outcome o;
    uint64_t *mask = calloc(masks->words, sizeof *mask);
    assert_ok(constraint_open(&format, masks, &r, &c, err));
    constraint_limit(c, 400);
    vocabulary_encode(small, "<|channel|>analysis<|message|>", &ids);
    for (size_t i = 0; i < ids.count; i++) assert_ok(constraint_accept(c, ids.ids[i], err));
    while (constraint_where(c) != CONSTRAINT_ENDED) {
        assert_ok(constraint_mask(c, mask, err));
        uint32_t id = 'a'; /* if it may */
        while (!token_mask_has(mask, id)) id = (id + 1) % tokenizer_count(small);
        assert_ok(constraint_accept(c, id, err));
        assert_ok(tokens_add(&ids, id, err));
    }
    assert_true(ids.count > 200 && ids.count <= 400);
    answers_parse(small, ids.ids, ids.count, &o);
    assert_int_equal(o.seen.answer.call_count, 1);
    assert_string_equal(o.seen.answer.calls[0].arguments.data, "{}");
    harmony_answer_free(&o.seen.answer);
    tokens_free(&ids);
    free(mask);
    constraint_close(c);
}

static void test_states(void **state) {
    (void)state;
    constraint_rules r = {.json = true};
    constraint *c, *other;
    tokens ids = {0};
    assert_ok(constraint_open(&format, masks, &r, &c, err));
    assert_int_equal(constraint_where(c), CONSTRAINT_GOES_ON);
    vocabulary_encode(small, "<|channel|>final<|message|>{", &ids);
    for (size_t i = 0; i < ids.count; i++) assert_ok(constraint_accept(c, ids.ids[i], err));
    assert_int_equal(constraint_where(c), CONSTRAINT_GOES_ON);
    assert_ok(constraint_clone(c, &other, err));
    assert_ok(constraint_accept(c, '}', err));
    assert_int_equal(constraint_where(c), CONSTRAINT_MUST_END);
    assert_int_equal(constraint_where(other), CONSTRAINT_GOES_ON); /* goes its own way */
    assert_ok(constraint_accept(c, special("<|return|>"), err));
    assert_int_equal(constraint_where(c), CONSTRAINT_ENDED);
    constraint_reset(c);
    assert_int_equal(constraint_where(c), CONSTRAINT_GOES_ON);
    assert_ok(constraint_accept(c, ids.ids[0], err));
    constraint_close(c);
    assert_int_equal(constraint_accept(other, special("<|return|>"), NULL), GPTOSS_BAD_INPUT);
    assert_ok(constraint_accept(other, '}', err)); /* outlives the one it came from */
    constraint_close(other);
    tokens_free(&ids);
}

static void check_refused(const constraint_rules *r, gptoss_status status, const char *text) {
    constraint *c;
    gptoss_error error;
    assert_int_equal(constraint_open(&format, masks, r, &c, &error), status);
    if (!strstr(error.text, text)) fail_msg("%s", error.text);
}

static void test_rules_that_cannot_be(void **state) {
    (void)state;
    cJSON *bad = cJSON_Parse("{\"type\":\"object\",\"uniqueItems\":true}");
    const harmony_function odd = {.name = "a b"}, strict = {.name = "f", .parameters = bad, .strict = true};
    const harmony_function twins[] = {{.name = "f"}, {.name = "f"}}, barred = {.name = "f", .barred = true};
    check_refused(&(constraint_rules){.choice = CONSTRAINT_REQUIRED}, GPTOSS_MISUSE, "there is none");
    check_refused(&(constraint_rules){.choice = CONSTRAINT_NAMED, .name = "g", .functions = twins, .function_count = 1},
                  GPTOSS_MISUSE, "the function g must be called");
    check_refused(&(constraint_rules){.choice = CONSTRAINT_REQUIRED, .functions = &barred, .function_count = 1},
                  GPTOSS_MISUSE, "there is none");
    check_refused(
        &(constraint_rules){.choice = CONSTRAINT_NAMED, .name = "f", .functions = &barred, .function_count = 1},
        GPTOSS_MISUSE, "the function f must be called");
    check_refused(&(constraint_rules){.functions = &odd, .function_count = 1}, GPTOSS_MISUSE, "\"a b\" cannot be");
    check_refused(&(constraint_rules){.functions = twins, .function_count = 2}, GPTOSS_MISUSE, "same name");
    check_refused(&(constraint_rules){.functions = &strict, .function_count = 1}, GPTOSS_BAD_INPUT,
                  "function f: the schema's \"uniqueItems\"");
    check_refused(&(constraint_rules){.schema = bad}, GPTOSS_BAD_INPUT, "\"uniqueItems\"");
    const constraint_rules lenient = {.schema = bad, .lenient = true};
    assert_true(may_write(&lenient, "<|channel|>final json<|message|>{\"a\":1}<|return|>"));
    assert_false(may_write(&lenient, "<|channel|>final json<|message|>["));
    check_refused(&(constraint_rules){.plain = true}, GPTOSS_MISUSE, "JSON");
    cJSON_Delete(bad);
}

static void test_lack_of_memory(void **state) {
    (void)state;
    cJSON *tide = cJSON_Parse(tide_schema);
    const harmony_function f = {.name = "tide", .parameters = tide, .strict = true};
    constraint_rules r = {.functions = &f, .function_count = 1, .json = true, .python = true};
    bool failed = true;
    for (long n = 0; failed; n++) {
        constraint *c;
        mem_fail_after(n);
        gptoss_status status = constraint_open(&format, masks, &r, &c, NULL);
        mem_fail_after(-1);
        failed = status != GPTOSS_OK;
        assert_true(failed ? status == GPTOSS_NO_MEMORY && n < 1000 : n > 20);
        if (!failed) constraint_close(c);
    }
    failed = true;
    for (long n = 0; failed; n++) {
        token_mask *m;
        mem_fail_after(n);
        gptoss_status status = token_mask_open(small, &m, NULL);
        mem_fail_after(-1);
        failed = status != GPTOSS_OK;
        assert_true(failed ? status == GPTOSS_NO_MEMORY && n < 100 : n > 5);
        if (!failed) token_mask_close(m);
    }
    cJSON_Delete(tide);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_turns_are_valid),
        cmocka_unit_test(test_what_models_write_is_allowed),
        cmocka_unit_test(test_arguments_are_an_object),
        cmocka_unit_test(test_limits_bring_turns_to_an_end),
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_rules_that_cannot_be),
        cmocka_unit_test(test_lack_of_memory),
    };
    return cmocka_run_group_tests(tests, open_small, close_small);
}
