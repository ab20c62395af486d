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
    logit_bias *biases; /* owned */
    uint32_t n_vocab;
    uint32_t *generated;   /* [n_vocab] how often */
    uint8_t *seen;         /* [n_vocab] in prompt or answer */
    float *logits;         /* [n_vocab] after penalties and biases */
    candidate *candidates; /* [n_vocab] */
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

gptoss_status sampler_open(const sampler_settings *settings, uint32_t n_vocab, sampler **out, gptoss_error *err) {
    sampler *s;
    TRY(sampler_check(settings, n_vocab, err));
    TRY(mem_array(1, sizeof *s, "sampler", &s, err));
    s->settings = *settings;
    s->n_vocab = n_vocab;
    s->random_state = settings->seed;
    gptoss_status status = mem_array(settings->n_biases, sizeof *s->biases, "sampler", &s->biases, err);
    if (status == GPTOSS_OK) status = mem_array(n_vocab, sizeof *s->generated, "sampler", &s->generated, err);
    if (status == GPTOSS_OK) status = mem_array(n_vocab, sizeof *s->seen, "sampler", &s->seen, err);
    if (status == GPTOSS_OK) status = mem_array(n_vocab, sizeof *s->logits, "sampler", &s->logits, err);
    if (status == GPTOSS_OK) status = mem_array(n_vocab, sizeof *s->candidates, "sampler", &s->candidates, err);
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
    for (size_t i = 0; i < count; i++) s->seen[tokens[i]] = 1;
}

/* A uniform number in [0, 1) with 53 random bits (SplitMix64, Steele et al., OOPSLA 2014). */
static double random_unit(sampler *s) {
    uint64_t z = s->random_state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (double)((z ^ z >> 31) >> 11) * 0x1p-53;
}

static int descending(const void *a, const void *b) {
    const candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return (x->token > y->token) - (x->token < y->token);
}

/* The likeliest token, the lowest of equals. */
static uint32_t argmax(const float *logits, uint32_t count) {
    uint32_t best = 0;
    for (uint32_t i = 1; i < count; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* A logit may be minus infinity, which forbids its token, but not all of them. */
static gptoss_status check_logits(const float *logits, uint32_t count, uint32_t best, gptoss_error *err) {
    for (uint32_t i = 0; i < count; i++)
        if (!(logits[i] < INFINITY))
            return error_set(err, GPTOSS_BAD_INPUT,
                             "the model computed a logit of %g for token %u; its weights must be damaged",
                             (double)logits[i], i);
    if (logits[best] == -INFINITY)
        return error_set(err, GPTOSS_BAD_INPUT, "the model computed no finite logit; its weights must be damaged");
    return GPTOSS_OK;
}

/* Ordered by logits: as floats, logprobs of different logits may be equal. */
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

/* With log_sum = ln(sum exp(logit)): logprob = logit - log_sum, entropy = log_sum - sum of probability * logit. */
static void describe(const float *logits, uint32_t n_vocab, float max, uint32_t chosen, sampler_report *report) {
    double sum = 0, weighted = 0;
    for (uint32_t i = 0; i < n_vocab; i++) {
        double shifted = (double)logits[i] - max, e = exp(shifted);
        if (!(e > 0)) continue;
        sum += e;
        weighted += e * shifted;
    }
    double log_sum = max + log(sum);
    report->entropy = fmax(0, log(sum) - weighted / sum);
    report->logprob = (float)((double)logits[chosen] - log_sum);
    if (report->top && report->n_top) fill_top(logits, n_vocab, log_sum, report);
}

static void apply_penalties(sampler *s) {
    const sampler_settings *set = &s->settings;
    if (set->repetition_penalty != 1 || set->frequency_penalty != 0 || set->presence_penalty != 0) {
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

static double weight_of(const sampler *s, float logit, float max) {
    return exp(((double)logit - max) / s->settings.temperature);
}

/* The weights of all tokens together: what the probabilities of top_p are shares of when top_k removes none. */
static double total_weight(const sampler *s, float max) {
    double total = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        double weight = weight_of(s, s->logits[i], max);
        if (weight > 0) total += weight;
    }
    return total;
}

/* Gathers the tokens whose weight is at least `floor`, in the order of their ids; returns how many, and their weights'
 * sum in *mass. Most tokens are told to be below it by their logits, without computing an exponential. */
static size_t gather(sampler *s, float max, double floor, double *mass) {
    double limit = floor > 0 ? (double)max + s->settings.temperature * (log(floor) - 1e-6) : -INFINITY;
    float least = nextafterf((float)limit, -INFINITY);
    size_t kept = 0;
    *mass = 0;
    for (uint32_t i = 0; i < s->n_vocab; i++) {
        if (s->logits[i] < least) continue;
        double weight = weight_of(s, s->logits[i], max);
        if (!(weight >= floor)) continue;
        s->candidates[kept++] = (candidate){i, s->logits[i], weight};
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

/* Keeps the tokens that top_k, top_p and min_p allow in s->candidates, likeliest first, and returns how many. Sorting a
 * whole vocabulary would take longer than all else here, so only tokens above a floor are looked at, and the floor is
 * lowered until it is known that none below it can be allowed. */
static size_t narrow(sampler *s, float max) {
    const sampler_settings *set = &s->settings;
    bool limits_k = set->top_k > 0 && set->top_k < s->n_vocab;
    double all = limits_k ? 0 : total_weight(s, max), mass;
    double least = limits_k ? 0 : fmin(set->min_p, 1); /* what is below it counts for nothing */
    size_t kept;
    for (double floor = 1e-3;; floor *= floor > 1e-8 ? 0.1 : floor) { /* ends at 0 after a few rounds */
        kept = gather(s, max, fmax(floor, least), &mass);
        if (floor <= least || floor < set->min_p || (limits_k && kept >= set->top_k) ||
            (!limits_k && mass >= set->top_p * all))
            break;
    }
    if (!limits_k) return cut(set, s->candidates, kept, all);
    size_t first = select_likeliest(s->candidates, kept, set->top_k, INFINITY);
    qsort(s->candidates, first, sizeof *s->candidates, descending);
    if (first > set->top_k) first = set->top_k;
    for (size_t i = 0; i < first; i++) all += s->candidates[i].weight;
    return cut(set, s->candidates, first, all);
}

/* When all tokens are allowed their order does not matter, and nothing needs sorting. */
static uint32_t draw_from_all(sampler *s, float max) {
    double mark = random_unit(s) * total_weight(s, max), sum = 0;
    uint32_t last = 0;
    for (uint32_t i = 0; i < s->n_vocab && !(sum > mark); i++) {
        double weight = weight_of(s, s->logits[i], max);
        if (!(weight > 0)) continue;
        last = i;
        sum += weight;
    }
    return last;
}

static uint32_t draw_from_candidates(sampler *s, size_t count) {
    double total = 0, sum = 0;
    for (size_t i = 0; i < count; i++) total += s->candidates[i].weight;
    double mark = random_unit(s) * total;
    for (size_t i = 0; i + 1 < count; i++) {
        sum += s->candidates[i].weight;
        if (sum > mark) return s->candidates[i].token;
    }
    return s->candidates[count - 1].token;
}

static uint32_t choose(sampler *s) {
    const sampler_settings *set = &s->settings;
    uint32_t best = argmax(s->logits, s->n_vocab);
    if (set->temperature <= 0 || !isfinite(s->logits[best])) return best;
    float max = s->logits[best];
    bool all = (set->top_k == 0 || set->top_k >= s->n_vocab) && set->top_p >= 1 && set->min_p <= 0;
    return all ? draw_from_all(s, max) : draw_from_candidates(s, narrow(s, max));
}

gptoss_status sampler_next(sampler *s, const float *logits, uint32_t *token, sampler_report *report,
                           gptoss_error *err) {
    uint32_t best = argmax(logits, s->n_vocab);
    TRY(check_logits(logits, s->n_vocab, best, err));
    memcpy(s->logits, logits, s->n_vocab * sizeof *logits);
    apply_penalties(s);
    uint32_t chosen = choose(s);
    if (report) describe(logits, s->n_vocab, logits[best], chosen, report);
    s->generated[chosen]++;
    s->seen[chosen] = 1;
    *token = chosen;
    return GPTOSS_OK;
}
