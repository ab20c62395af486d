#include "serve/mutation.h"

#include "random.h"
#include "support.h"

void mutation_apply(buffer *b, uint64_t *noise) {
    static const char *const values[] = {
        "null", "1e999", "-1", "\"\"", "[]", "{}", "true", "[[[[", "\\u0000", "\xFF", "99999999999999999999"};
    for (uint64_t changes = 1 + random_below(noise, 4); changes > 0 && b->size > 2; changes--) {
        size_t at = random_below(noise, b->size), other = random_below(noise, b->size);
        buffer whole = {0};
        const char *value = values[random_below(noise, sizeof values / sizeof *values)];
        switch (random_below(noise, 5)) {
        case 0: b->data[at] = (char)random_below(noise, 256); break;
        case 1: b->data[at] = b->data[other]; break;
        case 2: b->data[b->size = at] = '\0'; break;
        default:
            assert_ok(buffer_append(&whole, b->data, at, err));
            assert_ok(buffer_append_text(&whole, value, err));
            if (other < at) other = at;
            assert_ok(buffer_append(&whole, b->data + other, b->size - other, err));
            buffer_free(b);
            *b = whole;
        }
    }
}
