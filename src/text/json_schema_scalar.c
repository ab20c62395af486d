/* The part of json_schema.h that reads strings, numbers and listed values. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "text/json_schema.h"
#include "text/pattern.h"

/* Days that exist in every year: the 29th of February is left out. */
#define DAY                                                                                                            \
    "^[0-9]{4}-((0[13578]|1[02])-(0[1-9]|[12][0-9]|3[01])|(0[469]|11)-(0[1-9]|[12][0-9]|30)|02-(0[1-9]|1[0-9]|2[0-8])" \
    ")"
#define TIME "([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\\.[0-9]{1,9})?(Z|[+-]([01][0-9]|2[0-3]):[0-5][0-9])$"
#define LABEL "[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?"
#define NAME_PART "[A-Za-z0-9_+-]+"

enum { MAX_VALUES = 10000, MAX_PATTERNS = 64, DECIMALS = 6 };

/* The largest number of JSON_GRAMMAR_DIGITS digits. */
#define LARGEST INT64_C(999999999999999999)

static const cJSON *get(const cJSON *schema, const char *name) {
    return cJSON_GetObjectItemCaseSensitive(schema, name);
}

gptoss_status json_schema_count(const json_schema *s, const cJSON *schema, const char *keyword, uint32_t *out,
                                gptoss_error *err) {
    const cJSON *value = get(schema, keyword);
    if (!value) return GPTOSS_OK;
    double number = cJSON_IsNumber(value) ? value->valuedouble : -1;
    if (!(number >= 0) || number != floor(number))
        return json_schema_refuse(s, keyword, "is no whole number from 0 on", err);
    *out = number < 1e9 ? (uint32_t)number : 1000000000;
    return GPTOSS_OK;
}

/* ---- Strings ---- */

static const char *find_format(const char *name) {
    static const char *const formats[][2] = {
        {"date", DAY "$"},
        {"time", "^" TIME},
        {"date-time", DAY "T" TIME},
        {"duration", "^P([0-9]{1,6}W|[0-9]{1,6}D|[0-9]{1,6}M([0-9]{1,6}D)?|[0-9]{1,6}Y([0-9]{1,6}M([0-9]{1,6}D)?)?)$"},
        {"uuid", "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"},
        {"ipv4",
         "^((25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])\\.){3}(25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])$"},
        {"ipv6", "^([0-9a-f]{1,4}:){7}[0-9a-f]{1,4}$"},
        {"hostname", "^" LABEL "(\\." LABEL "){0,5}$"},
        {"email", "^" NAME_PART "(\\." NAME_PART ")*@" LABEL "(\\." LABEL "){1,5}$"},
    };
    for (size_t i = 0; i < sizeof formats / sizeof *formats; i++)
        if (strcmp(name, formats[i][0]) == 0) return formats[i][1];
    return NULL;
}

static gptoss_status add_pattern(json_schema *s, const char *keyword, const char *pattern, json_node node,
                                 uint32_t *out, gptoss_error *err) {
    gptoss_error why;
    if (s->g->pattern_count == MAX_PATTERNS) return json_schema_refuse(s, keyword, "is one too many", err);
    if (!s->g->patterns) TRY(mem_array(MAX_PATTERNS, sizeof *s->g->patterns, "patterns", &s->g->patterns, err));
    byte_dfa *dfa = &s->g->patterns[s->g->pattern_count];
    gptoss_status status = pattern_open(pattern, node.min, node.max, s->pattern_work, dfa, &why);
    if (status == GPTOSS_BAD_INPUT) {
        char reason[200];
        snprintf(reason, sizeof reason, "cannot be followed: %.120s", why.text);
        return json_schema_refuse(s, keyword, reason, err);
    }
    if (status != GPTOSS_OK) return error_set(err, status, "%s", why.text);
    node.kind = JSON_PATTERN;
    node.first = s->g->pattern_count++;
    return json_schema_add_node(s, node, out, err);
}

gptoss_status json_schema_string(json_schema *s, const cJSON *schema, uint32_t *out, gptoss_error *err) {
    json_node node = {.kind = JSON_STRING, .max = JSON_GRAMMAR_NO_LIMIT};
    const cJSON *pattern = get(schema, "pattern"), *format = get(schema, "format");
    TRY(json_schema_count(s, schema, "minLength", &node.min, err));
    TRY(json_schema_count(s, schema, "maxLength", &node.max, err));
    if (pattern && !cJSON_IsString(pattern)) return json_schema_refuse(s, "pattern", "is no text", err);
    /* A "format" beside it is a note: programs write both for what they mean by the one. */
    if (pattern) return add_pattern(s, "pattern", pattern->valuestring, node, out, err);
    if (!format) return json_schema_add_node(s, node, out, err);
    const char *known = cJSON_IsString(format) ? find_format(format->valuestring) : NULL;
    if (!known) return json_schema_refuse(s, "format", "is not supported", err);
    return add_pattern(s, "format", known, node, out, err);
}

/* ---- Numbers ---- */

/* A limit in units of 10^-decimals: the least number not below it or, with `upper`, the largest not above it; with
 * `exclusive` not that number itself. */
static int64_t to_units(double limit, int decimals, bool upper, bool exclusive) {
    double scale = decimals ? 1e6 : 1, scaled = limit * scale, nearest = round(scaled);
    if (!(scaled < (double)LARGEST)) return LARGEST;
    if (!(scaled > -(double)LARGEST)) return -LARGEST;
    bool exact = nearest / scale == limit;
    int64_t units = (int64_t)(exact ? nearest : upper ? floor(scaled) : ceil(scaled));
    if (exact && exclusive) units += upper ? -1 : 1;
    return units;
}

static gptoss_status read_limit(json_schema *s, const cJSON *schema, const char *keyword, json_node *node,
                                bool *limited, gptoss_error *err) {
    const cJSON *value = get(schema, keyword);
    bool exclusive = keyword[0] == 'e', upper = strstr(keyword, "ax") != NULL;
    if (!value) return GPTOSS_OK;
    if (!cJSON_IsNumber(value)) return json_schema_refuse(s, keyword, "is no number", err);
    int64_t units = to_units(value->valuedouble, node->decimals, upper, exclusive);
    if (upper && units < node->high) node->high = units;
    if (!upper && units > node->low) node->low = units;
    *limited = true;
    return GPTOSS_OK;
}

gptoss_status json_schema_number(json_schema *s, const cJSON *schema, bool integer, uint32_t *out, gptoss_error *err) {
    static const char *const limits[] = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"};
    json_node node = {.kind = JSON_RANGE, .low = -LARGEST, .high = LARGEST, .decimals = integer ? 0 : DECIMALS};
    bool limited = false;
    for (size_t i = 0; i < 4; i++) TRY(read_limit(s, schema, limits[i], &node, &limited, err));
    if (!integer && !limited) node.kind = JSON_NUMBER;
    return json_schema_add_node(s, node, out, err);
}

/* ---- Listed values ---- */

static int in_order(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

/* Adds the sorted texts as one run, without those that are there twice. */
static gptoss_status add_texts(json_schema *s, char *const *list, size_t count, uint32_t *out, gptoss_error *err) {
    json_grammar *g = s->g;
    json_node node = {.kind = JSON_LITERALS, .first = g->text_count};
    for (size_t i = 0; i < count; i++) {
        if (i && strcmp(list[i], list[i - 1]) == 0) continue;
        if (g->text_count == s->text_capacity) {
            uint32_t capacity = s->text_capacity ? 2 * s->text_capacity : 64;
            TRY(mem_resize(&g->texts, capacity, sizeof *g->texts, "JSON grammar", err));
            s->text_capacity = capacity;
        }
        if (!utf8_valid(list[i], strlen(list[i])))
            return json_schema_refuse(s, "enum", "has a text that is no UTF-8", err);
        TRY(json_schema_add_bytes(s, list[i], strlen(list[i]), &g->texts[g->text_count], err));
        g->text_count++;
    }
    node.count = g->text_count - node.first;
    return json_schema_add_node(s, node, out, err);
}

gptoss_status json_schema_words(json_schema *s, const char *const *words, size_t count, uint32_t *out,
                                gptoss_error *err) {
    char *list[2] = {(char *)words[0], (char *)words[count - 1]};
    return add_texts(s, list, count, out, err);
}

static gptoss_status print_values(json_schema *s, const cJSON *first, bool alone,
                                  bool (*allows)(const cJSON *, unsigned), unsigned types, char **list, size_t *count,
                                  gptoss_error *err) {
    for (const cJSON *value = first; value; value = alone ? NULL : value->next) {
        if (!allows(value, types)) continue;
        if (*count == MAX_VALUES) return json_schema_refuse(s, "enum", "has more than 10000 values", err);
        list[*count] = cJSON_PrintUnformatted(value);
        if (!list[*count]) return error_set(err, GPTOSS_NO_MEMORY, "cannot allocate a JSON grammar");
        ++*count;
    }
    return GPTOSS_OK;
}

gptoss_status json_schema_values(json_schema *s, const cJSON *first, bool alone,
                                 bool (*allows)(const cJSON *value, unsigned types), unsigned types, uint32_t *out,
                                 gptoss_error *err) {
    char **list;
    size_t count = 0;
    size_t most = 0;
    for (const cJSON *value = first; value && most < MAX_VALUES; value = alone ? NULL : value->next) most++;
    TRY(mem_array(most, sizeof *list, "JSON grammar", &list, err));
    gptoss_status status = print_values(s, first, alone, allows, types, list, &count, err);
    if (status == GPTOSS_OK && count) qsort(list, count, sizeof *list, in_order);
    if (status == GPTOSS_OK) status = add_texts(s, list, count, out, err);
    for (size_t i = 0; i < count; i++) cJSON_free(list[i]);
    free(list);
    return status;
}
