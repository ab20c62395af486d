#include "text/schema_ref.h"

#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Whether the part of a pointer before `end` spells `name`: ~0 stands for ~ and ~1 for a slash. */
static bool spells(const char *part, const char *end, const char *name) {
    for (; part < end; part++, name++) {
        char c = *part;
        if (c == '~' && part + 1 < end && (part[1] == '0' || part[1] == '1')) c = *++part == '0' ? '~' : '/';
        if (c != *name) return false; /* also when the name ends first */
    }
    return *name == '\0';
}

static const cJSON *find_element(const cJSON *list, const char *part, const char *end) {
    char *stop;
    long index = *part >= '0' && *part <= '9' ? strtol(part, &stop, 10) : -1;
    if (index < 0 || index > 1000000 || stop != end) return NULL;
    return cJSON_GetArrayItem(list, (int)index);
}

static const cJSON *find_part(const cJSON *in, const char *part, const char *end) {
    if (cJSON_IsArray(in)) return find_element(in, part, end);
    if (!cJSON_IsObject(in)) return NULL;
    const cJSON *item = in->child;
    while (item && !spells(part, end, item->string)) item = item->next;
    return item;
}

const cJSON *schema_ref_find(const cJSON *root, const char *ref) {
    if (!ref || *ref++ != '#') return NULL;
    while (root && *ref == '/') {
        ref++;
        const char *end = ref + strcspn(ref, "/");
        root = find_part(root, ref, end);
        ref = end;
    }
    return *ref ? NULL : root;
}

const char *schema_ref_name(const char *ref) {
    const char *slash = strrchr(ref, '/');
    return slash ? slash + 1 : ref;
}
