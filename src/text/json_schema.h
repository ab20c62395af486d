/* json_schema.h: between the parts of the compiler that makes a json_grammar of a schema. */
#ifndef TEXT_JSON_SCHEMA_H
#define TEXT_JSON_SCHEMA_H

#include <cjson/cJSON.h>

#include "text/json_grammar.h"

typedef struct json_schema_ref { /* a definition that was referred to, and its node */
    const cJSON *target;
    uint32_t node;
} json_schema_ref;

typedef struct json_schema {
    json_grammar *g;
    const cJSON *root;
    bool of_object; /* where the root says no type it is one of an object */
    uint32_t node_capacity, property_capacity, text_capacity, choice_capacity, pattern_capacity;
    json_schema_ref *refs;
    uint32_t ref_count, ref_capacity;
    uint32_t any;           /* the node of any value, once there is one */
    int depth;              /* of nested schemas */
    uint32_t *pattern_work; /* see pattern_open; may be NULL */
    buffer path;            /* where the schema at hand is: "#/properties/a" */
} json_schema;

/* GPTOSS_BAD_INPUT with a text that names a keyword and where it is. */
gptoss_status json_schema_refuse(const json_schema *s, const char *keyword, const char *why, gptoss_error *err);

/* Adds a node; reserves a run of properties, texts or choices. GPTOSS_BAD_INPUT when there are too many. */
gptoss_status json_schema_add_node(json_schema *s, json_node node, uint32_t *out, gptoss_error *err);
gptoss_status json_schema_reserve_properties(json_schema *s, uint32_t count, uint32_t *first, gptoss_error *err);
gptoss_status json_schema_reserve_choices(json_schema *s, uint32_t count, uint32_t *first, gptoss_error *err);
gptoss_status json_schema_add_bytes(json_schema *s, const char *bytes, size_t size, json_span *out, gptoss_error *err);

/* A choice of two. */
gptoss_status json_schema_add_either(json_schema *s, uint32_t a, uint32_t b, uint32_t *out, gptoss_error *err);

/* Nodes of one type each, with the keywords that concern it. */
gptoss_status json_schema_string(json_schema *s, const cJSON *schema, uint32_t *out, gptoss_error *err);
gptoss_status json_schema_number(json_schema *s, const cJSON *schema, bool integer, uint32_t *out, gptoss_error *err);
gptoss_status json_schema_words(json_schema *s, const char *const *words, size_t count, uint32_t *out,
                                gptoss_error *err);

/* The values of an "enum" or, alone, of a "const", as far as `allows` does. */
gptoss_status json_schema_values(json_schema *s, const cJSON *first, bool alone,
                                 bool (*allows)(const cJSON *value, unsigned types), unsigned types, uint32_t *out,
                                 gptoss_error *err);

/* A keyword that counts something: *out is untouched when it is absent. */
gptoss_status json_schema_count(const json_schema *s, const cJSON *schema, const char *keyword, uint32_t *out,
                                gptoss_error *err);

/* Reads the schema at s->root into s->g. */
gptoss_status json_schema_read(json_schema *s, gptoss_error *err);

#endif
