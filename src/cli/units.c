#include "cli/units.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum { LONGEST = 32 };
static const double LEAST_RATE = 1, MOST_RATE = 1e15, MOST_SECONDS = 3600;

typedef struct unit {
    const char *name;
    double scale;
} unit;

static const unit times[] = {{"ns", 1e-9}, {"us", 1e-6}, {"ms", 1e-3}, {"s", 1}, {NULL, 0}};
static const unit rates[] = {{"bit", 0.125},    {"Kbit", 0.125e3}, {"kbit", 0.125e3}, {"Mbit", 0.125e6},
                             {"Gbit", 0.125e9}, {"B", 1},          {"KB", 1e3},       {"kB", 1e3},
                             {"MB", 1e6},       {"GB", 1e9},       {NULL, 0}};

/* A number with one of the units. */
static bool read_quantity(const char *text, const unit *units, double *out) {
    char *end;
    if (!isdigit((unsigned char)text[0]) && text[0] != '.') return false;
    double value = strtod(text, &end);
    size_t length = strlen(end);
    if (units == rates && length > 2 && strcmp(end + length - 2, "/s") == 0) length -= 2;
    for (; units->name; units++) {
        if (strlen(units->name) != length || strncmp(units->name, end, length) != 0) continue;
        *out = value * units->scale;
        return true;
    }
    return false;
}

static gptoss_status read_setting(const char *flag, const units_setting *s, const char *value, gptoss_error *err) {
    bool is_time = s->unit == UNITS_SECONDS;
    double least = is_time ? 0 : LEAST_RATE, most = is_time ? MOST_SECONDS : MOST_RATE, read = 0;
    if (!read_quantity(value, is_time ? times : rates, &read))
        return error_set(err, GPTOSS_MISUSE, "--%s: %s is %s, not \"%s\"", flag, s->name,
                         is_time ? "a time such as 200us or 1.5ms" : "a rate such as 1Gbit or 125MB", value);
    if (!(read >= least && read <= most))
        return error_set(err, GPTOSS_MISUSE, "--%s: %s=%s is out of range", flag, s->name, value);
    *s->target = read;
    return GPTOSS_OK;
}

gptoss_status units_read_settings(const char *flag, const char *text, const units_setting *settings, size_t count,
                                  gptoss_error *err) {
    unsigned given = 0;
    for (const char *at = text, *end; at; at = *end ? end + 1 : NULL) {
        char part[LONGEST + 1] = "";
        end = at + strcspn(at, ",");
        if (end - at <= LONGEST) memcpy(part, at, (size_t)(end - at));
        char *value = strchr(part, '=');
        size_t i = 0;
        if (value) *value++ = '\0';
        while (i < count && strcmp(part, settings[i].name) != 0) i++;
        if (!value || i == count)
            return error_set(err, GPTOSS_MISUSE,
                             "--%s: \"%.*s\" is not NAME=VALUE with a name that it knows; see --help", flag,
                             (int)(end - at > 60 ? 60 : end - at), at);
        if (given & 1u << i) return error_set(err, GPTOSS_MISUSE, "--%s: %s is given twice", flag, part);
        given |= 1u << i;
        TRY(read_setting(flag, &settings[i], value, err));
    }
    return GPTOSS_OK;
}
