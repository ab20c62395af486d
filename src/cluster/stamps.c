#include "cluster/stamps.h"

#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cluster/tags.h"

/* A rank expects a few messages of each other rank at a time. */
enum { EACH = 8, MORE = 64 };

typedef struct expected {
    MPI_Request message, arrival; /* MPI_REQUEST_NULL: of the message, the place is free; of the stamp, it is here */
    link_stamp stamp;
} expected;

struct stamps {
    double latency, bandwidth, offset;
    double *free_at;  /* [ranks] owned: when the direction to that rank has sent all that was given to it */
    expected *places; /* [count] owned */
    size_t count;
};

gptoss_status stamps_open(double latency, double bandwidth, double clock_offset, stamps **out, gptoss_error *err) {
    stamps *s;
    int ranks;
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    TRY(mem_array(1, sizeof *s, "links", &s, err));
    *s = (stamps){latency, bandwidth, clock_offset, .count = (size_t)ranks * EACH + MORE};
    gptoss_status status = mem_array((size_t)ranks, sizeof *s->free_at, "links", &s->free_at, err);
    if (status == GPTOSS_OK) status = mem_array(s->count, sizeof *s->places, "links", &s->places, err);
    if (status != GPTOSS_OK) {
        stamps_close(s);
        return status;
    }
    for (size_t i = 0; i < s->count; i++) s->places[i].message = s->places[i].arrival = MPI_REQUEST_NULL;
    *out = s;
    return GPTOSS_OK;
}

void stamps_close(stamps *s) {
    if (!s) return;
    for (size_t i = 0; s->places && i < s->count; i++) stamps_forget(s, s->places[i].message);
    free(s->places);
    free(s->free_at);
    free(s);
}

double stamps_offset(const stamps *s) { return s->offset; }

bool stamps_delay(const stamps *s) { return s->latency > 0 || s->bandwidth > 0; }

void stamps_send(stamps *s, size_t bytes, int to, int tag) {
    double now = clock_seconds() + s->offset, begin = s->free_at[to] > now ? s->free_at[to] : now;
    s->free_at[to] = begin + (s->bandwidth > 0 ? (double)bytes / s->bandwidth : 0);
    const link_stamp stamp = {now, s->free_at[to] + s->latency};
    /* So short that MPI copies it and returns. */
    MPI_Send(&stamp, sizeof stamp, MPI_BYTE, to, TAG_STAMPS + tag, MPI_COMM_WORLD);
}

static expected *find(stamps *s, MPI_Request message) {
    for (size_t i = 0; i < s->count; i++)
        if (s->places[i].message == message) return &s->places[i];
    return NULL;
}

void stamps_expect(stamps *s, int from, int tag, MPI_Request message) {
    expected *e = find(s, MPI_REQUEST_NULL);
    if (!e) return; /* more than anyone expects at a time; it is not delayed */
    e->message = message;
    e->stamp = (link_stamp){0, 0};
    MPI_Irecv(&e->stamp, sizeof e->stamp, MPI_BYTE, from, TAG_STAMPS + tag, MPI_COMM_WORLD, &e->arrival);
}

bool stamps_find(stamps *s, MPI_Request message, link_stamp *out) {
    int done = 1;
    expected *e = find(s, message);
    *out = (link_stamp){0, 0};
    if (!e) return true;
    if (e->arrival != MPI_REQUEST_NULL) MPI_Test(&e->arrival, &done, MPI_STATUS_IGNORE);
    if (done) *out = e->stamp;
    return done;
}

void stamps_forget(stamps *s, MPI_Request message) {
    expected *e = message == MPI_REQUEST_NULL ? NULL : find(s, message);
    if (!e) return;
    e->message = MPI_REQUEST_NULL;
    if (e->arrival == MPI_REQUEST_NULL) return;
    MPI_Cancel(&e->arrival);
    MPI_Wait(&e->arrival, MPI_STATUS_IGNORE);
}
