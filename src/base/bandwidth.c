#include "base/bandwidth.h"

#include <string.h>

#include "base/clock.h"

/* One core waits for too few lines at a time to keep memory busy, on some processors for half as many as it could: its
 * second-level cache waits for more. Far enough ahead for any latency, and in cache still when it is read. */
enum { LINE = 64, AHEAD = 8192 };

typedef struct reading {
    const bandwidth_run *runs;
    size_t count;
    uint64_t mixed; /* of all that was read, so that no compiler leaves the reading out */
} reading;

/* Eight words at a time, which any compiler turns into vector loads. */
static uint64_t read_lines(const uint8_t *data, const uint8_t *end) {
    uint64_t sums[LINE / 8] = {0}, mixed = 0;
    for (; end - data >= LINE; data += LINE) {
        if (end - data > AHEAD) __builtin_prefetch(data + AHEAD, 0, 2);
        for (int i = 0; i < LINE / 8; i++) {
            uint64_t word;
            memcpy(&word, data + 8 * i, sizeof word);
            sums[i] ^= word;
        }
    }
    for (int i = 0; i < LINE / 8; i++) mixed ^= sums[i];
    return mixed;
}

static void read_step(void *context, int worker, int workers) {
    reading *r = context;
    uint64_t mixed = 0;
    for (size_t i = 0; i < r->count; i++) {
        const uint8_t *data = r->runs[i].data;
        uint64_t begin, end;
        team_share(r->runs[i].bytes, LINE, worker, workers, &begin, &end);
        mixed ^= read_lines(data + begin, data + end);
    }
    __atomic_fetch_xor(&r->mixed, mixed, __ATOMIC_RELAXED);
}

double bandwidth_read(team *t, const bandwidth_run *runs, size_t count) {
    reading r = {runs, count, 0};
    double bytes = 0, start = clock_seconds();
    team_run(t, read_step, &r);
    double seconds = clock_seconds() - start;
    for (size_t i = 0; i < count; i++) bytes += (double)runs[i].bytes;
    return seconds > 0 ? bytes / seconds : 0;
}
