/* schema_ref.h: finding what a "$ref" in a JSON Schema refers to. */
#ifndef TEXT_SCHEMA_REF_H
#define TEXT_SCHEMA_REF_H

struct cJSON;

/* The part of `root` that "#", "#/$defs/name" or any other JSON Pointer (RFC 6901) in a fragment points to; NULL when
 * there is none, `ref` is NULL, or it points into another document. */
const struct cJSON *schema_ref_find(const struct cJSON *root, const char *ref);

/* The last part of a reference: "name". Points into ref. */
const char *schema_ref_name(const char *ref);

#endif
