#include "text/harmony_header.h"

#include <string.h>
#include <strings.h>

#include "base/spelling.h"

enum {
    ROLE_MAX = 64,    /* bytes of a role or tool name; a longer word is text */
    MISSPELT_MIN = 4, /* letters that a shortened channel name must have */
    MISSPELT_MAX = 16 /* and a misspelt one may have */
};

static bool is_letter(char c) { return (c | 0x20) >= 'a' && (c | 0x20) <= 'z'; }

/* NUL too, so that no name holds one. */
static bool is_space(char c) { return c == ' ' || (c >= '\t' && c <= '\r') || c == '\0'; }

static gguf_text skip(gguf_text text, size_t bytes) { return (gguf_text){text.bytes + bytes, text.size - bytes}; }

static gguf_text skip_space(gguf_text text) {
    size_t at = 0;
    while (at < text.size && is_space(text.bytes[at])) at++;
    return at ? skip(text, at) : text;
}

/* Takes the first word off *rest; size 0 when there is none. */
static gguf_text take_word(gguf_text *rest) {
    *rest = skip_space(*rest);
    size_t size = 0;
    while (size < rest->size && !is_space(rest->bytes[size])) size++;
    gguf_text word = {rest->bytes, size};
    if (size) *rest = skip(*rest, size);
    return word;
}

static bool equals(gguf_text text, const char *word) {
    return text.size == strlen(word) && memcmp(text.bytes, word, text.size) == 0;
}

static bool begins(gguf_text text, const char *start) {
    return text.size >= strlen(start) && memcmp(text.bytes, start, strlen(start)) == 0;
}

static bool is_beginning_of(gguf_text text, const char *word) {
    return text.size <= strlen(word) && memcmp(text.bytes, word, text.size) == 0;
}

static void mend(harmony_header *h, bool wrong, harmony_recovery how) {
    if (!wrong || h->mended) return;
    h->mended = true;
    h->how = how;
}

/* Makes out a channel in a word: its name, maybe with more behind it ("commentary?commentary?"), cut short, or with one
 * wrong letter in four. */
static bool find_channel(gguf_text word, harmony_channel *out) {
    for (harmony_channel channel = HARMONY_ANALYSIS; channel <= HARMONY_FINAL; channel++) {
        const char *name = harmony_channel_name(channel);
        size_t size = strlen(name), common = word.size < size ? word.size : size;
        bool same = common >= MISSPELT_MIN && strncasecmp(word.bytes, name, common) == 0;
        bool close = word.size >= MISSPELT_MIN && word.size <= MISSPELT_MAX &&
                     spelling_distance(word.bytes, word.size, name, size) <= size / 4;
        if (!same && !close) continue;
        *out = channel;
        return true;
    }
    return false;
}

static bool is_channel_name(gguf_text word) {
    harmony_channel channel;
    return find_channel(word, &channel) && equals(word, harmony_channel_name(channel));
}

static bool begins_channel_name(gguf_text text) {
    for (harmony_channel channel = HARMONY_ANALYSIS; channel <= HARMONY_FINAL; channel++)
        if (is_beginning_of(text, harmony_channel_name(channel))) return true;
    return false;
}

static bool is_foreign_role(gguf_text word) {
    static const char *const roles[] = {"user", "system", "developer", "tool", "python"};
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        if (equals(word, roles[i])) return true;
    return begins(word, "functions.") || begins(word, "browser.");
}

/* Takes "to=NAME" (or "to= NAME") off *rest if it begins with that. */
static bool take_recipient(gguf_text *rest, harmony_header *h) {
    gguf_text after = *rest, word = take_word(&after);
    if (!begins(word, "to=")) return false;
    gguf_text name = skip(word, strlen("to="));
    if (name.size == 0) name = take_word(&after);
    if (name.size) h->recipient = name;
    *rest = after;
    return true;
}

/* Takes a content type off *rest: the word "json" or "code", even with the text right behind it. */
static void take_type(gguf_text *rest, harmony_header *h) {
    gguf_text text = skip_space(*rest);
    if (!begins(text, "json") && !begins(text, "code")) return;
    char next = text.size > 4 ? text.bytes[4] : ' ';
    if (is_letter(next)) return;
    h->type = (gguf_text){text.bytes, 4};
    *rest = skip(text, 4);
}

static void read_role(const header_parts *parts, harmony_header *h) {
    gguf_text text = skip_space(parts->role), rest = text, word = {text.bytes, 0};
    if (!begins(text, "to=")) word = take_word(&rest);
    bool assistant = equals(word, "assistant"), channel = is_channel_name(word);
    bool foreign = !parts->assistant && is_foreign_role(word);
    bool addressed = take_recipient(&rest, h);
    bool alone = skip_space(rest).size == 0;
    if (addressed) take_type(&rest, h);
    mend(h, assistant == parts->assistant || (word.size && !assistant), HARMONY_MENDED_START);
    if (assistant || addressed || word.size == 0 || ((channel || foreign) && alone))
        h->body = skip_space(rest);
    else
        h->body = text;
    if (channel && (alone || addressed)) find_channel(word, &h->channel);
    if (!parts->assistant && !assistant)
        h->foreign = (foreign && (alone || addressed)) || equals(h->recipient, "assistant");
}

/* Where a channel's word goes on with text that has no space before it ("finalThe answer"): the size of the name; that
 * of the word when it is all name, or a name and noise. */
static size_t name_in_word(gguf_text word, const char *name) {
    harmony_channel again;
    size_t size = strlen(name);
    if (word.size <= size || strncasecmp(word.bytes, name, size) != 0) return word.size;
    gguf_text more = skip(word, size);
    char c = more.bytes[0];
    bool text = (c & 0x80) || (c >= '0' && c <= '9') || is_letter(c);
    return text && !find_channel(more, &again) ? size : word.size;
}

/* Where "to=" follows a channel's name without a space ("commentaryto=functions.tide"); word.size when it does not. */
static size_t glued_recipient(gguf_text word) {
    harmony_channel channel;
    for (size_t i = 1; i + 3 <= word.size; i++)
        if (begins(skip(word, i), "to=") && find_channel((gguf_text){word.bytes, i}, &channel)) return i;
    return word.size;
}

static void read_channel(const header_parts *parts, harmony_header *h) {
    gguf_text rest = skip_space(parts->channel);
    bool addressed = take_recipient(&rest, h);
    gguf_text after = skip_space(rest), word = take_word(&after);
    word.size = glued_recipient(word);
    bool known = find_channel(word, &h->channel);
    mend(h, !known || !equals(word, harmony_channel_name(h->channel)), HARMONY_MENDED_CHANNEL);
    if (known) {
        rest = skip_space(rest);
        rest = skip(rest, name_in_word(word, harmony_channel_name(h->channel)));
        addressed |= take_recipient(&rest, h);
    }
    if (addressed) take_type(&rest, h);
    h->body = skip_space(rest);
    bool cut = addressed ? is_beginning_of(h->body, "json") || is_beginning_of(h->body, "code")
                         : !known && begins_channel_name(h->body);
    if (cut) h->body.size = 0;
    /* Before a <|message|>, words that mean nothing are noise. */
    while (parts->has_message && !h->type.size && skip_space(rest).size) {
        if (take_recipient(&rest, h)) continue;
        take_type(&rest, h);
        mend(h, !h->type.size && take_word(&rest).size, HARMONY_MENDED_NOISE);
    }
}

static void read_type(gguf_text part, harmony_header *h) {
    gguf_text text = skip_space(part), rest = text;
    size_t letters = 0;
    h->type.size = 0;
    take_type(&rest, h);
    while (letters < text.size && is_letter(text.bytes[letters])) letters++;
    if (h->type.size == 0 && letters && (h->recipient.size || letters == text.size)) { /* of another type */
        h->type = (gguf_text){text.bytes, letters};
        rest = skip(text, letters);
    }
    h->body = skip_space(rest);
}

harmony_header harmony_header_read(const header_parts *parts) {
    harmony_header h = {.channel = HARMONY_FINAL, .recipient = {"", 0}, .type = {"", 0}, .body = {"", 0}};
    read_role(parts, &h);
    if (parts->has_channel)
        read_channel(parts, &h);
    else
        mend(&h, true, HARMONY_MENDED_CHANNEL);
    if (parts->type.size) read_type(parts->type, &h);
    if (equals(h.recipient, "assistant") || equals(h.recipient, "user") || equals(h.recipient, "functions.")) {
        h.recipient.size = 0;
        mend(&h, true, HARMONY_MENDED_RECIPIENT);
    }
    return h;
}

bool harmony_header_may_be_role(gguf_text text, bool assistant) {
    gguf_text rest = text, word = take_word(&rest);
    if (begins(word, "to=")) return true;
    if (rest.size == 0) { /* the word may go on */
        if (!assistant) return word.size <= ROLE_MAX;
        return is_beginning_of(word, "to=") || is_beginning_of(word, "assistant") || begins_channel_name(word);
    }
    bool role = !assistant || equals(word, "assistant") || is_channel_name(word);
    rest = skip_space(rest);
    return role && (is_beginning_of(rest, "to=") || begins(rest, "to="));
}

/* Letters in lower case, digits as they are, all else alike. */
static char plain(char c) {
    if (c >= 'A' && c <= 'Z') return (char)(c | 0x20);
    return is_letter(c) || (c >= '0' && c <= '9') || (c & 0x80) ? c : '_';
}

/* How far a name is from a function's: 0 when they differ in punctuation and capitals only. SIZE_MAX: too far. */
static size_t distance(const char *name, const char *function) {
    size_t size = strlen(name), other = strlen(function), same = 0;
    while (same < size && same < other && plain(name[same]) == plain(function[same])) same++;
    if (same == size && same == other) return 0;
    if (size > ROLE_MAX || other > ROLE_MAX) return SIZE_MAX;
    size_t wrong = spelling_distance(name, size, function, other);
    return wrong <= other / 4 ? wrong : SIZE_MAX;
}

const char *harmony_header_mend_recipient(const char *recipient, const harmony_function *functions, size_t count) {
    const char *name = harmony_function_name(recipient), *dot = strrchr(name, '.'), *best = NULL;
    size_t least = SIZE_MAX;
    if (begins((gguf_text){recipient, strlen(recipient)}, "browser.") || strcmp(recipient, "python") == 0) return NULL;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(functions[i].name, name) == 0) return NULL;
        size_t whole = distance(name, functions[i].name);
        size_t last = dot ? distance(dot + 1, functions[i].name) : SIZE_MAX;
        if (last < whole) whole = last;
        if (whole >= least) continue;
        least = whole;
        best = functions[i].name;
    }
    return best;
}
