#include "text/harmony_borders.h"

#include <string.h>

/* Whether the text at ids[0..count) up to the next special token is `role`. */
static bool is_role(const tokenizer *t, const uint32_t *ids, uint32_t count, const char *role) {
    size_t left = strlen(role), size;
    for (; count > 0 && !tokenizer_is_special(t, *ids); ids++, count--) {
        const char *bytes = tokenizer_bytes(t, *ids, &size);
        if (!bytes || size > left || memcmp(bytes, role, size) != 0) return false;
        role += size;
        left -= size;
    }
    return left == 0;
}

static void add(harmony_borders *b, uint32_t position, uint32_t count) {
    bool last = b->count > 0 && b->positions[b->count - 1] >= position;
    if (position > 0 && position < count && !last) b->positions[b->count++] = position;
}

harmony_borders harmony_borders_find(const tokenizer *t, const uint32_t *ids, uint32_t count) {
    harmony_borders b = {0};
    uint32_t instructed = 0, before_user = 0, behind_user = 0; /* positions behind a <|start|>; 0: none yet */
    if (!tokenizer_special(t, "<|start|>", &b.start)) return b;
    for (uint32_t i = 0; i < count; i++) {
        if (ids[i] != b.start) continue;
        uint32_t here = i + 1, left = count - here;
        if (before_user > 0 && behind_user == 0) behind_user = here;
        if (instructed == 0 && !is_role(t, ids + here, left, "system") && !is_role(t, ids + here, left, "developer"))
            instructed = here;
        if (!is_role(t, ids + here, left, "user")) continue;
        before_user = here;
        behind_user = 0;
    }
    add(&b, instructed, count);
    add(&b, before_user, count);
    add(&b, behind_user, count);
    return b;
}
