/* json_grammar.h: which JSON texts are wanted: a JSON Schema made ready to be followed byte by byte.
 *
 * Texts come in one form, which any reader of the schema can take for granted:
 * - declared properties in the order of the schema, then others, where "additionalProperties" allows them;
 * - values and names that the schema lists spelled as cJSON spells them; names that it does not list have no escapes
 *   and at most 64 bytes or one more than the longest listed name, whichever is more;
 * - between the parts of objects and arrays nothing, one space, or a line break and up to four spaces for each level;
 *   no blanks around the whole, nor before commas and colons;
 * - integers of up to 18 digits without exponent; numbers of up to 15 digits before and 15 behind the point and two of
 *   exponent, or, where they have limits, up to 12 and 6 and none;
 * - up to JSON_GRAMMAR_DEPTH objects and arrays within each other.
 *
 * A grammar is read-only once it is open; any number of threads may follow it. */
#ifndef TEXT_JSON_GRAMMAR_H
#define TEXT_JSON_GRAMMAR_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "gguf/gguf.h"
#include "text/byte_dfa.h"

enum {
    JSON_GRAMMAR_DEPTH = 32,
    JSON_GRAMMAR_ALTERNATIVES = 128, /* of one value */
    JSON_GRAMMAR_DIGITS = 18
};
#define JSON_GRAMMAR_NONE UINT32_MAX
#define JSON_GRAMMAR_NO_LIMIT UINT32_MAX
#define JSON_GRAMMAR_NEVER UINT32_MAX /* as depth: no value can be written */

typedef enum json_kind {
    JSON_STRING,   /* min to max characters */
    JSON_PATTERN,  /* a string that patterns[first] accepts */
    JSON_NUMBER,   /* of any size */
    JSON_RANGE,    /* low to high, in units of 10^-decimals; an integer when decimals is 0 */
    JSON_LITERALS, /* one of texts[first, +count), which are sorted */
    JSON_OBJECT,   /* properties[first, +count); others are `child`, or JSON_GRAMMAR_NONE */
    JSON_ARRAY,    /* min to max of `child` */
    JSON_CHOICE    /* of choices[first, +count): nodes of other kinds */
} json_kind;

typedef struct json_node {
    json_kind kind;
    uint32_t depth; /* objects and arrays within each other that the flattest value needs */
    uint32_t size;  /* bytes of the shortest text, or more */
    uint32_t first, count;
    uint32_t child;
    uint32_t min, max; /* max may be JSON_GRAMMAR_NO_LIMIT */
    int64_t low, high;
    uint8_t decimals;
    uint32_t key_limit; /* of an object: bytes of names that are not listed */
} json_node;

typedef struct json_span { /* of json_grammar's bytes */
    uint32_t at, size;
} json_span;

typedef struct json_property {
    json_span name; /* as it is written between the quotes */
    uint32_t node;
    bool required;
    uint32_t next_required; /* index within the object of the first required property from this one on, or `count` */
    uint32_t tail;          /* bytes of the shortest text of all required ones from this one on, commas before them */
} json_property;

typedef struct json_grammar {
    json_node *nodes;
    json_property *properties;
    uint32_t *by_name; /* for each object's run of properties: their indices within it in the order of their names */
    json_span *texts;
    uint32_t *choices;
    byte_dfa *patterns;
    buffer bytes;
    uint32_t node_count, property_count, text_count, choice_count, pattern_count;
    uint32_t root;
    uint32_t largest; /* size of the largest node */
} json_grammar;

struct cJSON;

/* The texts that `schema` allows; it may be freed afterwards. GPTOSS_BAD_INPUT names the first keyword that is not
 * supported or wrong, and where it is; also when no text at all is allowed, or when the schema is too large. Takes
 * bounded time and memory, whatever the schema; what its patterns take is taken off *pattern_work, for all schemas of a
 * request (see pattern_open; NULL: there is enough). */
gptoss_status json_grammar_open(const struct cJSON *schema, uint32_t *pattern_work, json_grammar **out,
                                gptoss_error *err);

/* The same for what a function is passed: an object, also where the root of the schema, {} for example, does not say
 * so. */
gptoss_status json_grammar_open_arguments(const struct cJSON *schema, uint32_t *pattern_work, json_grammar **out,
                                          gptoss_error *err);

/* Any JSON object. */
gptoss_status json_grammar_open_object(json_grammar **out, gptoss_error *err);

void json_grammar_close(json_grammar *g); /* NULL is fine */

static inline gguf_text json_grammar_text(const json_grammar *g, json_span span) {
    return (gguf_text){g->bytes.data + span.at, span.size};
}

#endif
