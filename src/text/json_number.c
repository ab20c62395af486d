#include "text/json_number.h"

enum { START, MINUS, ZERO, DIGITS, POINT, FRACTION, EXPONENT, EXPONENT_SIGN, EXPONENT_DIGITS };
enum { FREE_DIGITS = 15, FREE_EXPONENT = 2 }; /* of a number without limits: any double holds it, nearly */

static int64_t power(int exponent) {
    int64_t value = 1;
    while (exponent-- > 0) value *= 10;
    return value;
}

/* ---- Numbers within limits: all digits together are an integer in some unit ---- */

/* Whether some multiple of `unit` is from low to high, units of the node, the sign of *p being meant. */
static bool overlaps(const json_node *n, const json_position *p, int64_t low, int64_t high, int64_t unit) {
    int64_t least = p->negative ? -n->high : n->low, most = p->negative ? -n->low : n->high;
    if (low < least) low = least;
    if (high > most) high = most;
    if (low < 0) low = 0;
    if (low > high) return false;
    return (low + unit - 1) / unit <= high / unit;
}

static int digits_before_point(const json_node *n) { return JSON_GRAMMAR_DIGITS - n->decimals; }

/* Whether `before` more digits before the point and `behind` behind it can make a number that is allowed. */
static bool can_become(const json_node *n, const json_position *p, int before, int behind) {
    int64_t more = power(before), scale = power(n->decimals);
    return overlaps(n, p, p->number * more * scale, (p->number * more + more) * scale - 1, power(n->decimals - behind));
}

static bool range_is_possible(const json_node *n, const json_position *p) {
    int64_t unit;
    switch (p->state) {
    case MINUS: return n->low < 0;
    case ZERO: return !(p->negative && n->decimals == 0) && can_become(n, p, 0, n->decimals);
    case DIGITS:
        for (int before = 0; before + (int)p->a <= digits_before_point(n); before++)
            if (can_become(n, p, before, n->decimals)) return true;
        return false;
    }
    unit = power(n->decimals - (int)p->a); /* behind the point */
    return overlaps(n, p, p->number * unit, p->number * unit + unit - 1, 1);
}

static bool range_is_whole(const json_node *n, const json_position *p) {
    int64_t unit = power(p->state == FRACTION ? n->decimals - (int)p->a : n->decimals);
    if (p->state != ZERO && p->state != DIGITS && p->state != FRACTION) return false;
    return overlaps(n, p, p->number * unit, p->number * unit, 1);
}

static uint32_t range_left(const json_node *n, const json_position *p) {
    const uint32_t most = JSON_GRAMMAR_DIGITS + 3;
    if (range_is_whole(n, p)) return 0;
    if (p->state == START) return most;
    if (p->state == MINUS) return most - 1;
    for (int left = 1; left < (int)most - 2; left++) {
        if (p->state == POINT || p->state == FRACTION) {
            if (left + (int)p->a > n->decimals) break;
            int64_t unit = power(n->decimals - (int)p->a), finer = power(n->decimals - (int)p->a - left);
            if (overlaps(n, p, p->number * unit, p->number * unit + unit - 1, finer)) return (uint32_t)left;
            continue;
        }
        for (int before = p->state == ZERO ? 0 : left; before >= 0; before--) {
            int behind = left - before - 1;
            if (before + (int)p->a > digits_before_point(n) || behind == 0 || behind > n->decimals) continue;
            if (can_become(n, p, before, behind > 0 ? behind : 0)) return (uint32_t)left;
        }
    }
    return most - 2;
}

/* ---- Form ---- */

/* The state after a digit, DIGITS and so on; START when none may follow. */
static uint8_t after_digit(const json_node *n, const json_position *p, uint8_t digit) {
    bool range = n->kind == JSON_RANGE;
    uint32_t before = range ? (uint32_t)digits_before_point(n) : FREE_DIGITS,
             behind = range ? n->decimals : FREE_DIGITS;
    switch (p->state) {
    case START:
    case MINUS: return digit ? DIGITS : ZERO;
    case DIGITS: return p->a < before ? DIGITS : START;
    case POINT: return FRACTION;
    case FRACTION: return p->a < behind ? FRACTION : START;
    case EXPONENT:
    case EXPONENT_SIGN: return EXPONENT_DIGITS;
    case EXPONENT_DIGITS: return p->a < FREE_EXPONENT ? EXPONENT_DIGITS : START;
    }
    return START;
}

static uint8_t after_sign(const json_node *n, const json_position *p, uint8_t byte) {
    bool whole = p->state == ZERO || p->state == DIGITS, range = n->kind == JSON_RANGE;
    if (byte == '-' && p->state == START) return MINUS;
    if (byte == '.' && whole && !(range && n->decimals == 0)) return POINT;
    if ((byte | 0x20) == 'e' && (whole || p->state == FRACTION) && !range) return EXPONENT;
    if ((byte == '-' || byte == '+') && p->state == EXPONENT) return EXPONENT_SIGN;
    return START;
}

bool json_number_step(const json_node *n, json_position *p, uint8_t byte) {
    json_position next = *p;
    bool digit = byte >= '0' && byte <= '9';
    next.state = digit ? after_digit(n, p, (uint8_t)(byte - '0')) : after_sign(n, p, byte);
    if (next.state == START) return false;
    next.a = digit ? (next.state == p->state ? p->a + 1 : 1) : 0;
    if (next.state == MINUS) next.negative = 1;
    if (n->kind == JSON_RANGE) {
        if (digit) next.number = p->number * 10 + (byte - '0');
        if (!range_is_possible(n, &next)) return false;
    }
    *p = next;
    return true;
}

bool json_number_is_whole(const json_node *n, const json_position *p) {
    if (n->kind == JSON_RANGE) return range_is_whole(n, p);
    return p->state == ZERO || p->state == DIGITS || p->state == FRACTION || p->state == EXPONENT_DIGITS;
}

uint32_t json_number_left(const json_node *n, const json_position *p) {
    if (n->kind == JSON_RANGE) return range_left(n, p);
    return json_number_is_whole(n, p) ? 0 : 1;
}
