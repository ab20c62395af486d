/* What the demo model makes of functions it is offered: the call it writes, to the letter, and what it says about the
 * result. Names come from configs/demo/world.json: familiar ones stood in its training, those held out never did. */
#include <cjson/cJSON.h>

#include "pairs.h"
#include "support.h"
#include "talk.h"

#ifndef SAMPLE
#define SAMPLE 1 /* ask about every SAMPLE-th name */
#endif

static cJSON *world;

static int load_world(void **state) {
    (void)state;
    world = read_json(DEMO_FOLDER "/world.json");
    return 0;
}

static int free_world(void **state) {
    (void)state;
    cJSON_Delete(world);
    return 0;
}

/* ---- Functions ---- */

typedef struct function {
    harmony_function declared;
    const char *parameter;
    cJSON *schema; /* owned */
} function;

static function function_open(const char *name, const char *description, const char *parameter, const char *hint) {
    cJSON *schema = cJSON_CreateObject(), *properties = cJSON_AddObjectToObject(schema, "properties"),
          *property = cJSON_AddObjectToObject(properties, parameter), *required = NULL;
    cJSON_AddStringToObject(schema, "type", "object");
    cJSON_AddStringToObject(property, "type", "string");
    if (hint) cJSON_AddStringToObject(property, "description", hint);
    required = cJSON_AddArrayToObject(schema, "required");
    cJSON_AddItemToArray(required, cJSON_CreateString(parameter));
    return (function){{.name = name, .description = description, .parameters = schema}, parameter, schema};
}

static function get_weather(void) {
    return function_open("get_weather", "Gets the weather in a city.", "city", "Name of the city");
}

static function define(void) {
    return function_open("define", "Looks a word up in the dictionary.", "word", "The word to look up");
}

/* ---- Questions ---- */

/* What a test counts: calls, and answers to the results of calls that were right. */
typedef struct score {
    tally calls, answers;
} score;

/* template with `name` for its {x} and `noun` for its {n}, into out[256]. */
static void fill(char *out, const char *template, const char *name, const char *noun) {
    size_t at = 0;
    for (const char *c = template; *c; c++) {
        const char *part = strncmp(c, "{x}", 3) == 0 ? name : strncmp(c, "{n}", 3) == 0 ? noun : NULL;
        assert_true(at + (part ? strlen(part) : 1) < 256);
        if (!part) {
            out[at++] = *c;
            continue;
        }
        memcpy(out + at, part, strlen(part));
        at += strlen(part);
        c += 2;
    }
    out[at] = '\0';
    if (template[0] == '{' && out[0] >= 'a' && out[0] <= 'z') out[0] = (char)(out[0] - 'a' + 'A');
}

/* Whether what it wrote, after its analysis, is exactly the call. */
static bool calls(const demo_answer *a, const function *f, const char *name) {
    static const char before[] = "<|channel|>analysis<|message|>", between[] = "<|end|><|start|>assistant";
    char wanted[512];
    snprintf(wanted, sizeof wanted,
             "%s<|channel|>commentary to=functions.%s <|constrain|>json<|message|>{\"%s\":\"%s\"}<|call|>", between,
             f->declared.name, f->parameter, name);
    const char *raw = a->raw.data ? a->raw.data : "", *call = strstr(raw, between);
    return strncmp(raw, before, strlen(before)) == 0 && call && strcmp(call, wanted) == 0 &&
           a->finish == HARMONY_FINISH_TOOL_CALLS && a->recoveries == 0;
}

/* What a function returns and how the model is to put it. */
static const char *const results[][2] = {
    {"sunny", "sunny"},
    {"{\"temperature\":18}", "18"},
    {"cold and 3 degrees", "cold and 3 degrees"},
    {"{\"text\":\"a small boat\"}", "a small boat"},
    {"{\"temperature\":21,\"condition\":\"rain\"}", "temperature 21, condition rain"},
    {"skrelt wombo", "skrelt wombo"},
    {"{\"result\":\"dry and warm\"}", "dry and warm"},
    {"{\"condition\": \"foggy\", \"wind\": 7}", "condition foggy, wind 7"},
    {"a kind of tree", "a kind of tree"},
    {"{\"value\":\"plimmer\"}", "plimmer"},
};

/* Asks question i about a name, which calls for f, and gives it result i. */
static void ask(score *s, const function *offered, size_t count, const function *f, const cJSON *tool, const char *noun,
                const char *name, size_t i) {
    const cJSON *asks = cJSON_GetObjectItem(tool, "ask");
    harmony_function functions[4];
    char question[256], wanted[256], said[256];
    for (size_t k = 0; k < count; k++) functions[k] = offered[k].declared;
    talk t = {.prompt = {.effort = HARMONY_MEDIUM, .functions = functions, .function_count = count}};
    demo_answer answer;
    fill(question, cJSON_GetArrayItem(asks, (int)i % cJSON_GetArraySize(asks))->valuestring, name, noun);
    talk_ask(&t, question, &answer);
    bool called = calls(&answer, f, name);
    if (!called) print_message("... %s -> %s\n", question, answer.raw.data ? answer.raw.data : "");
    tally_add(&s->calls, called);
    demo_answer_free(&answer);
    if (called) {
        const char *const *result = results[i % (sizeof results / sizeof *results)];
        char from[64];
        snprintf(from, sizeof from, "functions.%s", f->declared.name);
        fill(said, cJSON_GetObjectItem(tool, "answer")->valuestring, name, noun);
        char *hole = strstr(said, "{r}");
        assert_non_null(hole);
        snprintf(wanted, sizeof wanted, "%.*s%s%s", (int)(hole - said), said, result[1], hole + 3);
        talk_return(&t, from, result[0], &answer);
        bool right = demo_says(&answer.parts.content, wanted) && answer.finish == HARMONY_FINISH_STOP;
        if (!right) print_message("... %s -> %s\n", result[0], answer.raw.data ? answer.raw.data : "");
        tally_add(&s->answers, right);
        demo_answer_free(&answer);
    }
    talk_end(&t);
}

/* ---- Tests ---- */

static const cJSON *tool(const char *kind) { return cJSON_GetObjectItem(cJSON_GetObjectItem(world, "tools"), kind); }

/* Names of one group ("familiar" or "held out"), asked about with get_weather and define on offer, in either order. */
static score ask_group(const char *group) {
    const function both[] = {get_weather(), define()}, turned[] = {both[1], both[0]};
    score s = {0};
    const cJSON *cities = cJSON_GetObjectItem(tool(group), "cities"),
                *words = cJSON_GetObjectItem(tool(group), "words");
    for (int i = 0; i < cJSON_GetArraySize(cities); i += SAMPLE)
        ask(&s, i % 2 ? turned : both, 2, &both[0], tool("weather"), "", cJSON_GetArrayItem(cities, i)->valuestring,
            (size_t)i);
    for (int i = 0; i < cJSON_GetArraySize(words); i += SAMPLE)
        ask(&s, i % 2 ? turned : both, 2, &both[1], tool("define"), "", cJSON_GetArrayItem(words, i)->valuestring,
            (size_t)i);
    cJSON_Delete(both[0].schema);
    cJSON_Delete(both[1].schema);
    return s;
}

static void functions_are_called_with_familiar_names(void **state) {
    (void)state;
    score s = ask_group("familiar");
    tally_require("calls with familiar names", s.calls, 95);
    tally_require("answers from their results", s.answers, 90);
}

static void functions_are_called_with_names_never_seen(void **state) {
    (void)state;
    score s = ask_group("held out");
    tally_require("calls with names never seen", s.calls, 90);
    tally_require("answers from their results", s.answers, 90);
}

/* Functions whose own names and subjects vary, one at a time. */
static void other_functions_are_called_too(void **state) {
    (void)state;
    static const char *const nouns[] = {"tide", "price", "population", "zorbit", "height", "owner"};
    const cJSON *subjects = cJSON_GetObjectItem(tool("held out"), "subjects");
    score s = {0};
    for (size_t n = 0; n < sizeof nouns / sizeof *nouns; n++) {
        char name[32], description[64];
        snprintf(name, sizeof name, "get_%s", nouns[n]);
        snprintf(description, sizeof description, "Gets the %s.", nouns[n]);
        function f = function_open(name, description, "name", NULL);
        for (int i = 0; i < cJSON_GetArraySize(subjects); i += SAMPLE)
            ask(&s, &f, 1, &f, tool("other"), nouns[n], cJSON_GetArrayItem(subjects, i)->valuestring, (size_t)i + n);
        cJSON_Delete(f.schema);
    }
    tally_require("calls of other functions", s.calls, 90);
    tally_require("answers from their results", s.answers, 90);
}

static int all_tests(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(functions_are_called_with_familiar_names),
        cmocka_unit_test(functions_are_called_with_names_never_seen),
        cmocka_unit_test(other_functions_are_called_too),
    };
    return cmocka_run_group_tests(tests, load_world, free_world);
}

int main(void) { return demo_main(all_tests); }
