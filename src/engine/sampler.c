#include "engine/sampler.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

typedef struct candidate {
    uint32_t token;
    float logit;
    double weight; /* exp((logit - max) / temperature): 1 for the likeliest */
} candidate;

struct sampler {
    sampler_settings settings;
    logit_bias *biases; /* owned, as all arrays */
    uint32_t n_vocab;
    uint32_t *generated;   /* [n_vocab] how often; NULL without penalties */
    uint8_t *seen;         /* [n_vocab] in prompt or answer; NULL without penalties */
    float *logits;         /* [n_vocab] after penalties and biases; NULL until needed */
    candidate *candidates; /* [n_vocab]; NULL until needed */
    uint64_t random_state;
};

sampler_settings sampler_defaults(void) { return (sampler_settings){.top_p = 1, .repetition_penalty = 1}; }

gptoss_status sampler_check(const sampler_settings *settings, uint32_t n_vocab, gptoss_error *err) {
    for (size_t i = 0; i < settings->n_biases; i++)
        if (settings->biases[i].token >= n_vocab)
            return error_set(err, GPTOSS_MISUSE, "a logit bias names token %u, but the vocabulary ends at %u",
                             settings->biases[i].token, n_vocab - 1);
    return GPTOSS_OK;
}

static bool has_penalties(const sampler_settings *set) {
    return set->repetition_penalty != 1 || set->frequency_penalty != 0 || set->presence_penalty != 0;
}

gptoss_status sampler_open(const sampler_settings *settings, uint32_t n_vocab, sampler **out, gptoss_error *err) {
    sampler *s;
    TRY(sampler_check(settings, n_vocab, err));
    TRY(mem_array(1, sizeof *s, "sampler", &s, err));
    s->settings = *settings;
    s->n_vocab = n_vocab;
    s->random_state = settings->seed;
    gptoss_status status = mem_array(settings->n_biases, sizeof *s->biases, "sampler", &s->biases, err);
    if (status == GPTOSS_OK && has_penalties(settings)) {
        status = mem_array(n_vocab, sizeof *s->generated, "sampler", &s->generated, err);
        if (status == GPTOSS_OK) status = mem_array(n_vocab, sizeof *s->seen, "sampler", &s->seen, err);
    }
    if (status != GPTOSS_OK) {
        sampler_close(s);
        return status;
    }
    if (settings->n_biases) memcpy(s->biases, settings->biases, settings->n_biases * sizeof *s->biases);
    *out = s;
    return GPTOSS_OK;
}

void sampler_close(sampler *s) {
    if (!s) return;
    free(s->biases);
    free(s->generated);
    free(s->seen);
    free(s->logits);
    free(s->candidates);
    free(s);
}

void sampler_see_prompt(sampler *s, const uint32_t *tokens, size_t count) {
    if (!s->seen) return;
    for (size_t i = 0; i < count; i++) s->seen[tokens[i]] = 1;
}

/* Whether top_k leaves fewer tokens than there are; and whether a shortlist has them all, whatever the others weigh. */
static bool limits_k(const sampler *s) { return s->settings.top_k > 0 && s->settings.top_k < s->n_vocab; }

static bool lists_k(const sampler *s) { return limits_k(s) && s->settings.top_k <= SHORTLIST_MOST; }

static double wished_temperature(const sampler *s) {
    return s->settings.temperature > 0 && !lists_k(s) ? s->settings.temperature : 0;
}

static bool changes_logits(const sampler *s) { return s->seen || s->settings.n_biases > 0; }

logits_wish sampler_wish(const sampler *s, const sampler_report *report) {
    if (changes_logits(s) || (report && report->top && report->n_top > SHORTLIST_MOST))
        return (logits_wish){.kind = LOGITS_ALL};
    const shortlist_wish list = sampler_list_wish(s, report);
    return (logits_wish){.kind = LOGITS_LISTED, .sums = list.sums, .temperature = list.temperature};
}

shortlist_wish sampler_list_wish(const sampler *s, const sampler_report *report) {
    return (shortlist_wish){.temperature = wished_temperature(s), .sums = report != NULL};
}

/* A uniform number in [0, 1) with 53 random bits (SplitMix64, Steele et al., OOPSLA 2014), that of a state which the
 * call advances. */
static double random_unit(uint64_t *state) {
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static int descending(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

/* A logit may be minus infinity, which forbids its token, but not all of them. */
static gptoss_status check_logits(const shortlist *l, gptoss_error *err) {
    if (l->damaged)
        return error_set(err, GPTOSS_BAD_INPUT,
                         "the model computed a logit of %g for token %u; its weights must be damaged",
                         (double)l->entries[0].logit, l->entries[0].token);
    if (l->count == 0 || l->entries[0].logit == -INFINITY)
        return error_set(err, GPTOSS_BAD_INPUT, "the model computed no finite logit; its weights must be damaged");
    return GPTOSS_OK;
}

/* ---- the report ---- */

/* More of the likeliest than a shortlist has. Ordered by logits: as floats, logprobs of different logits may be equal.
 */
static void fill_top(const float *logits, uint32_t n_vocab, double log_sum, sampler_report *report) {
    sampler_candidate *top = report->top;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        if (kept == report->n_top && !(logits[i] > logits[top[kept - 1].token])) continue;
        uint32_t at = kept < report->n_top ? kept++ : kept - 1;
        for (; at > 0 && logits[i] > logits[top[at - 1].token]; at--) top[at] = top[at - 1];
        top[at] = (sampler_candidate){i, (float)((double)logits[i] - log_sum)};
    }
    report->n_top = kept;
}

static float logit_of(const shortlist *l, const float *logits, uint32_t token) {
    if (logits) return logits[token];
    for (uint32_t i = 0; i < l->count; i++)
        if (l->entries[i].token == token) return l->entries[i].logit;
    return -INFINITY; /* not reached: without logits only listed tokens are chosen */
}

/* With log_sum = ln(sum exp(logit)): logprob = logit - log_sum, entropy = log_sum - sum of probability * logit. */
void sampler_describe(const sampler *s, const shortlist *l, const float *logits, uint32_t chosen,
                      sampler_report *report) {
    double log_sum = (double)l->entries[0].logit + log(l->sum);
    report->entropy = fmax(0, log(l->sum) - l->weighted / l->sum);
    report->logprob = (float)((double)logit_of(l, logits, chosen) - log_sum);
    if (!report->top) return;
    if (report->n_top > l->count && l->count < s->n_vocab) {
        fill_top(logits, s->n_vocab, log_sum, report);
        return;
    }
    if (report->n_top > l->count) report->n_top = l->count;
    for (uint32_t i = 0; i < report->n_top; i++)
        report->top[i] = (sampler_candidate){l->entries[i].token, (float)((double)l->entries[i].logit - log_sum)};
}

/* ---- penalties ---- */

static void apply_penalties(sampler *s) {
    const sampler_settings *set = &s->settings;
    if (s->seen) {
        for (uint32_t i = 0; i < s->n_vocab; i++) {
            if (!s->seen[i]) continue;
            double logit = s->logits[i];
            logit = logit > 0 ? logit / set->repetition_penalty : logit * set->repetition_penalty;
            if (s->generated[i]) logit -= set->frequency_penalty * s->generated[i] + set->presence_penalty;
            s->logits[i] = (float)logit;
        }
    }
    for (size_t i = 0; i < set->n_biases; i++) s->logits[s->biases[i].token] += s->biases[i].bias;
}

/* The shortlist of logits as penalties and biases change them; they are then in s->logits. */
static gptoss_status change_logits(sampler *s, const float *logits, shortlist *out, gptoss_error *err) {
    if (!s->logits) TRY(mem_array(s->n_vocab, sizeof *s->logits, "sampler", &s->logits, err));
    memcpy(s->logits, logits, s->n_vocab * sizeof *logits);
    apply_penalties(s);
    shortlist_make(s->logits, 0, s->n_vocab, (shortlist_wish){.temperature = wished_temperature(s)}, out);
    return GPTOSS_OK;
}

/* ---- drawing ---- */

static double weight_of(const sampler *s, float logit, float max) {
    return exp(((double)logit - max) / s->settings.temperature);
}

/* Gathers the tokens whose weight is at least `floor`, in the order of their ids; returns how many, and their weights'
 * sum in *mass. Most tokens are told to be below it by their logits, without computing an exponential. */
static size_t gather(sampler *s, const float *logits, float max, double floor, double *mass) {
    double limit = floor > 0 ? (double)max + s->settings.temperature * (log(floor) - 1e-6) : -INFINITY;
    float least = nextafterf((float)limit, -INFINITY);
    size_t kept = 0;
    *mass = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (logits[i] < least) continue;
        double weight = weight_of(s, logits[i], max);
        if (!(weight >= floor)) continue;
        s->candidates[kept++] = (candidate){i, logits[i], weight};
        *mass += weight;
    }
    return kept;
}

static candidate median(candidate a, candidate b, candidate c) {
    bool ab = descending(&a, &b) < 0, bc = descending(&b, &c) < 0, ac = descending(&a, &c) < 0;
    return ab == bc ? b : ab == ac ? c : a;
}

/* Moves the likeliest of list[count] to its front, in no order, until they are at least `first` or weigh `mass`;
 * returns how many, at most 16 more than needed. It is quickselect (Hoare, CACM 4(7), 1961) with the median of three as
 * its pivot; no two candidates are equal, so the pivot is never the last in order. */
static size_t select_likeliest(candidate *list, size_t count, size_t first, double mass) {
    size_t low = 0, high = count;
    double before = 0; /* weight of what is in front of `low` */
    for (int round = 0; high - low > 16 && round < 64; round++) {
        candidate pivot = median(list[low], list[low + (high - low) / 2], list[high - 1]);
        size_t i = low, j = high - 1;
        for (;; i++, j--) {
            while (descending(&list[i], &pivot) < 0) i++;
            while (descending(&list[j], &pivot) > 0) j--;
            if (i >= j) break;
            candidate moved = list[i];
            list[i] = list[j];
            list[j] = moved;
        }
        double weight = 0;
        for (i = low; i <= j; i++) weight += list[i].weight;
        if (j + 1 >= first || before + weight >= mass) {
            high = j + 1;
        } else {
            low = j + 1;
            before += weight;
        }
    }
    return high;
}

/* How many of list[count], likeliest first, top_p and min_p allow, of weights that sum to `all`. Only as many are
 * sorted as make up top_p. */
static size_t cut(const sampler_settings *set, candidate *list, size_t count, double all) {
    double sum = 0, mass = set->top_p * all;
    size_t sorted = select_likeliest(list, count, count, mass * (1 + 1e-9));
    qsort(list, sorted, sizeof *list, descending);
    for (size_t i = 0; i < count; i++) {
        if (i > 0 && sum >= mass) return i;
        if (i == sorted) { /* the sum in this order is a little less */
            qsort(list + sorted, count - sorted, sizeof *list, descending);
            sorted = count;
        }
        if (i > 0 && list[i].weight < set->min_p) return i;
        sum += list[i].weight;
    }
    return count;
}

static double mass_of(const candidate *list, size_t count) {
    double mass = 0;
    for (size_t i = 0; i < count; i++) mass += list[i].weight;
    return mass;
}

/* Keeps the tokens that top_k, top_p and min_p allow in s->candidates, likeliest first, and returns how many. Sorting a
 * whole vocabulary would take longer than all else here, so only tokens above a floor are looked at, and the floor is
 * lowered until it is known that none below it can be allowed. all: the weight of all tokens. */
static size_t narrow(sampler *s, const float *logits, float max, double all) {
    const sampler_settings *set = &s->settings;
    double least = limits_k(s) ? 0 : fmin(set->min_p, 1), mass; /* what is below it counts for nothing */
    size_t kept;
    for (double floor = 1e-3;; floor *= floor > 1e-8 ? 0.1 : floor) { /* ends at 0 after a few rounds */
        kept = gather(s, logits, max, fmax(floor, least), &mass);
        if (floor <= least || floor < set->min_p || (limits_k(s) && kept >= set->top_k) ||
            (!limits_k(s) && mass >= set->top_p * all))
            break;
    }
    if (!limits_k(s)) return cut(set, s->candidates, kept, all);
    size_t first = select_likeliest(s->candidates, kept, set->top_k, INFINITY);
    qsort(s->candidates, first, sizeof *s->candidates, descending);
    if (first > set->top_k) first = set->top_k;
    return cut(set, s->candidates, first, mass_of(s->candidates, first));
}

/* Of list[count], unit being uniform in [0, 1). */
static uint32_t draw(const candidate *list, size_t count, double unit) {
    double mark = unit * mass_of(list, count), sum = 0;
    for (size_t i = 0; i + 1 < count; i++) {
        sum += list[i].weight;
        if (sum > mark) return list[i].token;
    }
    return list[count - 1].token;
}

/* When all tokens are allowed: those of the shortlist come first, the others, of which there is seldom need, in the
 * order of their numbers. */
static uint32_t draw_from_all(const sampler *s, const shortlist *l, const candidate *listed, const float *logits,
                              double unit) {
    const candidate *least = &listed[l->count - 1];
    double mark = unit * l->mass, sum = 0;
    uint32_t last = listed[0].token;
    for (uint32_t i = 0; i < l->count; i++) {
        if (listed[i].weight > 0) last = listed[i].token;
        sum += listed[i].weight;
        if (sum > mark) return listed[i].token;
    }
    if (l->count == s->n_vocab) return last;
    if (!logits) return SAMPLER_NEEDS_LOGITS;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        const candidate other = {i, logits[i], weight_of(s, logits[i], l->entries[0].logit)};
        if (descending(&other, least) <= 0 || !(other.weight > 0)) continue;
        last = i;
        sum += other.weight;
        if (sum > mark) break;
    }
    return last;
}

/* The next token by its shortlist, that of the logits that count: after penalties and biases. */
static gptoss_status choose(sampler *s, const shortlist *l, const float *logits, double unit, uint32_t *token,
                            gptoss_error *err) {
    const sampler_settings *set = &s->settings;
    candidate listed[SHORTLIST_MOST];
    float max = l->entries[0].logit;
    *token = l->entries[0].token;
    if (set->temperature <= 0 || !isfinite(max)) return GPTOSS_OK;
    for (uint32_t i = 0; i < l->count; i++)
        listed[i] = (candidate){l->entries[i].token, l->entries[i].logit, weight_of(s, l->entries[i].logit, max)};
    if (!limits_k(s) && set->top_p >= 1 && set->min_p <= 0) {
        *token = draw_from_all(s, l, listed, logits, unit);
        return GPTOSS_OK;
    }
    size_t first = lists_k(s) ? set->top_k : l->count, kept = 0;
    if (lists_k(s) || !limits_k(s)) kept = cut(set, listed, first, lists_k(s) ? mass_of(listed, first) : l->mass);
    if (lists_k(s) || l->count == s->n_vocab || (kept > 0 && kept < first)) {
        *token = draw(listed, kept, unit);
    } else if (!logits) {
        *token = SAMPLER_NEEDS_LOGITS;
    } else {
        if (!s->candidates) TRY(mem_array(s->n_vocab, sizeof *s->candidates, "sampler", &s->candidates, err));
        *token = draw(s->candidates, narrow(s, logits, max, l->mass), unit);
    }
    return GPTOSS_OK;
}

gptoss_status sampler_next(sampler *s, const shortlist *likeliest, const float *logits, uint32_t *token,
                           gptoss_error *err) {
    uint64_t state = s->random_state;
    uint32_t chosen = SAMPLER_NEEDS_LOGITS;
    shortlist changed;
    TRY(check_logits(likeliest, err));
    double unit = s->settings.temperature > 0 ? random_unit(&state) : 0;
    if (!changes_logits(s)) {
        TRY(choose(s, likeliest, logits, unit, &chosen, err));
    } else if (logits) {
        TRY(change_logits(s, logits, &changed, err));
        TRY(choose(s, &changed, s->logits, unit, &chosen, err));
    }
    if (chosen != SAMPLER_NEEDS_LOGITS) s->random_state = state;
    *token = chosen;
    return GPTOSS_OK;
}

void sampler_take(sampler *s, uint32_t token) {
    if (!s->seen) return;
    s->generated[token]++;
    s->seen[token] = 1;
}
