#include "plan/draw.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

typedef struct draw {
    const uint32_t *experts;
    const double *seconds;
    uint32_t shards, draws, all;
    double *chance; /* [shards][draws + 1]: P(C[t] = c) of a binomial */
    double *sum;    /* [draws + 1]: P(sum of the first so many = d, none above the limit) */
    double *next;   /* [draws + 1] */
} draw;

static uint32_t most_of(const draw *d, uint32_t t) { return d->experts[t] < d->draws ? d->experts[t] : d->draws; }

static double binomial(uint32_t n, uint32_t k, double p) {
    if (p >= 1) return k == n;
    return exp(lgamma(n + 1.0) - lgamma(k + 1.0) - lgamma(n - k + 1.0) + k * log(p) + (n - k) * log1p(-p));
}

/* P(seconds[t] * C[t] <= limit for all t and the sum of C is `draws`). */
static double chance_within(draw *d, double limit) {
    size_t size = (d->draws + 1) * sizeof *d->sum;
    memset(d->sum, 0, size);
    d->sum[0] = 1;
    for (uint32_t t = 0; t < d->shards; t++) {
        memset(d->next, 0, size);
        for (uint32_t c = 0; c <= most_of(d, t) && d->seconds[t] * c <= limit; c++) {
            double chance = d->chance[(size_t)t * (d->draws + 1) + c];
            for (uint32_t before = 0; before + c <= d->draws; before++) d->next[before + c] += chance * d->sum[before];
        }
        memcpy(d->sum, d->next, size);
    }
    return d->sum[d->draws];
}

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static size_t list_products(const draw *d, double *products) {
    size_t count = 0, kept = 0;
    for (uint32_t t = 0; t < d->shards; t++)
        for (uint32_t c = 0; c <= most_of(d, t); c++) products[count++] = d->seconds[t] * c;
    qsort(products, count, sizeof *products, compare);
    for (size_t i = 0; i < count; i++)
        if (kept == 0 || products[i] > products[kept - 1]) products[kept++] = products[i];
    return kept;
}

static double expect(draw *d, const double *products, size_t count) {
    double p = (double)d->draws / d->all, before = 0, sum = 0;
    for (uint32_t t = 0; t < d->shards; t++)
        for (uint32_t c = 0; c <= most_of(d, t); c++)
            d->chance[(size_t)t * (d->draws + 1) + c] = binomial(d->experts[t], c, p);
    for (size_t i = 0; i < count; i++) {
        double within = chance_within(d, products[i]);
        sum += products[i] * (within - before);
        before = within;
    }
    return sum / binomial(d->all, d->draws, p);
}

gptoss_status draw_expected_most(const uint32_t *experts, const double *seconds, uint32_t shards, uint32_t draws,
                                 double *out, gptoss_error *err) {
    draw d = {.experts = experts, .seconds = seconds, .shards = shards, .draws = draws};
    size_t row = draws + (size_t)1;
    double *products = NULL;
    for (uint32_t t = 0; t < shards; t++) d.all += experts[t];
    if (shards == 1 || draws == 0) {
        *out = draws * seconds[0];
        return GPTOSS_OK;
    }
    gptoss_status status = mem_array(shards * row, sizeof *d.chance, "plan", &d.chance, err);
    if (status == GPTOSS_OK) status = mem_array(row, sizeof *d.sum, "plan", &d.sum, err);
    if (status == GPTOSS_OK) status = mem_array(row, sizeof *d.next, "plan", &d.next, err);
    if (status == GPTOSS_OK) status = mem_array(shards * row, sizeof *products, "plan", &products, err);
    if (status == GPTOSS_OK) *out = expect(&d, products, list_products(&d, products));
    free(products);
    free(d.next);
    free(d.sum);
    free(d.chance);
    return status;
}

gptoss_status draw_expected_work(const uint32_t *experts, const double *seconds, uint32_t shards, uint32_t used,
                                 double tokens, double *out, gptoss_error *err) {
    double all = 0, low = 0, high = 0;
    for (uint32_t t = 0; t < shards; t++) all += experts[t];
    double distinct = all * (1 - pow(1 - used / all, tokens)), whole = floor(distinct + 1e-9), rest = distinct - whole;
    TRY(draw_expected_most(experts, seconds, shards, (uint32_t)whole, &low, err));
    if (rest <= 1e-9) {
        *out = low;
        return GPTOSS_OK;
    }
    TRY(draw_expected_most(experts, seconds, shards, (uint32_t)whole + 1, &high, err));
    *out = low + rest * (high - low);
    return GPTOSS_OK;
}
