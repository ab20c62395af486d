/* The exchange, all in 64-bit words:
 *
 *     sender -> receiver   offer: the file's size and digest
 *     receiver -> sender   request: how much of it is there already
 *     sender -> receiver   blocks from there on, each with its size in front
 *     receiver -> sender   after each block, that it is written; after the last one, that the digest is right
 *
 * Each message begins with a verdict. GO asks for the next step, DONE ends the exchange well, FAILED ends it at once,
 * AGAIN (a partial file of earlier turned out wrong) asks for all blocks from the beginning. */
#include "cluster/delivery.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cancel.h"
#include "base/mem.h"
#include "cluster/inbox.h"
#include "cluster/link.h"
#include "cluster/sums.h"
#include "cluster/tags.h"

enum { BLOCK = 4 << 20, IN_FLIGHT = 2 };
enum { GO = 1, DONE = 2, FAILED = 3, AGAIN = 4 };

typedef struct offer {
    uint64_t verdict, bytes, low, high; /* the digest's halves */
} offer;

typedef struct reply {
    uint64_t verdict, has;
} reply;

typedef struct block {
    uint64_t verdict, size;
    uint8_t bytes[BLOCK];
} block;
_Static_assert(sizeof(offer) == 32 && sizeof(reply) == 16 && offsetof(block, bytes) == 16, "messages of whole words");

static void report(const delivery *how, const char *what, uint64_t done, uint64_t all) {
    if (how->report) how->report(how->context, what, done, all);
}

static void send_words(const void *message, size_t bytes, int to, int tag) {
    MPI_Request request;
    link_send(message, bytes, to, tag, &request);
    link_wait(&request);
}

/* A message of exactly that size, or one that says FAILED. */
static void receive_words(void *message, size_t bytes, int from, int tag) {
    MPI_Request request;
    link_receive(message, bytes, from, tag, &request);
    if (link_wait(&request) != bytes) *(uint64_t *)message = FAILED;
}

/* ---- the sender ---- */

static gptoss_status read_through(const slice_image *image, const delivery *how, digest_state *state,
                                  gptoss_error *err) {
    uint8_t *piece;
    uint64_t all = slice_image_bytes(image);
    gptoss_status status = GPTOSS_OK;
    TRY(mem_array(BLOCK, 1, "reading a slice", &piece, err));
    for (uint64_t at = 0; at < all && status == GPTOSS_OK; at += BLOCK) {
        size_t some = all - at < BLOCK ? (size_t)(all - at) : BLOCK;
        status = slice_image_read(image, at, piece, some, err);
        digest_add(state, piece, some);
        report(how, "reading the slice to send", at + some, all);
        if (cancel_requested()) status = error_set(err, GPTOSS_CANCELLED, "interrupted while reading a slice to send");
    }
    free(piece);
    return status;
}

/* Reads all of the image once, unless that was done before. */
static gptoss_status find_digest(const slice_image *image, const delivery *how, digest *out, gptoss_error *err) {
    digest identity;
    digest_state *state;
    TRY(slice_image_identity(image, &identity, err));
    if (sums_find(how->cache_dir, identity, out)) return GPTOSS_OK;
    TRY(digest_begin(&state, err));
    gptoss_status status = read_through(image, how, state, err);
    if (status == GPTOSS_OK) {
        *out = digest_so_far(state);
        sums_keep(how->cache_dir, identity, *out);
    }
    digest_end(state);
    return status;
}

/* Fills and sends the block at `at`. */
static gptoss_status send_block(const slice_image *image, uint64_t at, int to, block *b, MPI_Request *sent,
                                gptoss_error *err) {
    uint64_t left = slice_image_bytes(image) - at;
    b->size = left < BLOCK ? left : BLOCK;
    gptoss_status status = slice_image_read(image, at, b->bytes, (size_t)b->size, err);
    if (status == GPTOSS_OK && cancel_requested())
        status = error_set(err, GPTOSS_CANCELLED, "interrupted while sending a slice");
    b->verdict = status == GPTOSS_OK ? GO : FAILED;
    if (status != GPTOSS_OK) b->size = 0;
    link_send(b, offsetof(block, bytes) + (size_t)b->size, to, TAG_DELIVERY, sent);
    return status;
}

/* All blocks from `at` on, at most IN_FLIGHT of them without a reply. *verdict: the receiver's last one. */
static gptoss_status send_blocks(const slice_image *image, uint64_t at, int to, block *blocks, const delivery *how,
                                 uint64_t *verdict, gptoss_error *err) {
    char what[48];
    MPI_Request sent[IN_FLIGHT];
    gptoss_status status = GPTOSS_OK;
    uint64_t all = slice_image_bytes(image), acknowledged = 0, started = 0;
    uint64_t count = (all - at + BLOCK - 1) / BLOCK;
    snprintf(what, sizeof what, "sending the slice of rank %d", to);
    *verdict = GO;
    while (acknowledged < count && *verdict == GO && status == GPTOSS_OK) {
        if (started < count && started - acknowledged < IN_FLIGHT) {
            uint64_t slot = started % IN_FLIGHT;
            status = send_block(image, at + started * BLOCK, to, &blocks[slot], &sent[slot], err);
            started++;
            continue;
        }
        reply r;
        receive_words(&r, sizeof r, to, TAG_REPLY);
        link_wait(&sent[acknowledged++ % IN_FLIGHT]);
        *verdict = r.verdict;
        report(how, what, at + acknowledged * BLOCK < all ? at + acknowledged * BLOCK : all, all);
    }
    /* Blocks that are still under way are taken and answered by the receiver, but for one that says FAILED. */
    for (; acknowledged < started; acknowledged++) {
        reply ignored;
        if (status == GPTOSS_OK || acknowledged + 1 < started) receive_words(&ignored, sizeof ignored, to, TAG_REPLY);
        link_wait(&sent[acknowledged % IN_FLIGHT]);
    }
    return status;
}

static gptoss_status serve(const slice_image *image, int to, const delivery *how, gptoss_error *err) {
    block *blocks;
    gptoss_status status = mem_array(IN_FLIGHT, sizeof *blocks, "sending a slice", &blocks, err);
    digest sum = {0, 0};
    if (status == GPTOSS_OK) status = find_digest(image, how, &sum, err);
    const offer o = {status == GPTOSS_OK ? GO : FAILED, slice_image_bytes(image), sum.low, sum.high};
    send_words(&o, sizeof o, to, TAG_DELIVERY);
    for (reply r = {AGAIN, 0}; status == GPTOSS_OK && r.verdict == AGAIN;) {
        receive_words(&r, sizeof r, to, TAG_REPLY);
        if (r.verdict != GO || r.has >= o.bytes) break;
        status = send_blocks(image, r.has, to, blocks, how, &r.verdict, err);
    }
    free(blocks);
    return status;
}

gptoss_status delivery_send(const slice_image *image, int to, const delivery *how, gptoss_error *err) {
    if (image) return serve(image, to, how, err);
    const offer none = {.verdict = FAILED};
    send_words(&none, sizeof none, to, TAG_DELIVERY);
    return GPTOSS_OK;
}

/* ---- the receiver ---- */

static void answer(uint64_t verdict, uint64_t has, int to) {
    const reply r = {verdict, has};
    send_words(&r, sizeof r, to, TAG_REPLY);
}

static gptoss_status take_block(const block *b, size_t got, int from, inbox *box, gptoss_error *err) {
    if (got < offsetof(block, bytes) || b->size > BLOCK || b->size == 0 || got != offsetof(block, bytes) + b->size)
        return error_set(err, GPTOSS_PEER, "rank %d sent a malformed piece of a slice", from);
    if (cancel_requested()) return error_set(err, GPTOSS_CANCELLED, "interrupted while receiving a slice");
    return inbox_append(box, b->bytes, (size_t)b->size, err);
}

/* All blocks that are missing; all but the last are answered when this ends well. *went: false when the sender failed.
 */
static gptoss_status take_blocks(uint64_t all, int from, const delivery *how, inbox *box, block *blocks, bool *went,
                                 gptoss_error *err) {
    MPI_Request coming[IN_FLIGHT];
    gptoss_status status = GPTOSS_OK;
    uint64_t count = (all - inbox_has(box) + BLOCK - 1) / BLOCK, posted = 0, i = 0;
    while (i < count) {
        for (; posted < count && posted < i + IN_FLIGHT; posted++)
            link_receive(&blocks[posted % IN_FLIGHT], sizeof *blocks, from, TAG_DELIVERY, &coming[posted % IN_FLIGHT]);
        block *b = &blocks[i % IN_FLIGHT];
        size_t got = link_wait(&coming[i % IN_FLIGHT]);
        i++;
        *went = got >= sizeof b->verdict && b->verdict == GO;
        if (!*went) break;
        if (status == GPTOSS_OK) status = take_block(b, got, from, box, err);
        report(how, "receiving this rank's slice", inbox_has(box), all);
        /* The sender stops when it hears of a failure; what it has sent before is still to be taken. */
        if (status != GPTOSS_OK) count = posted;
        if (status != GPTOSS_OK || i < count) answer(status == GPTOSS_OK ? GO : FAILED, 0, from);
    }
    for (; i < posted; i++) link_drop(&coming[i % IN_FLIGHT]);
    return status;
}

static void report_checking(void *context, uint64_t done, uint64_t all) {
    report(context, "checking this rank's slice", done, all);
}

/* Fills the inbox. A partial file that turns out wrong is fetched once more, from its beginning. *went: false when the
 * sender failed. */
static gptoss_status fetch(uint64_t all, int from, const delivery *how, inbox *box, block *blocks, bool *went,
                           gptoss_error *err) {
    *went = true;
    for (;;) {
        if (inbox_has(box) == all) {
            gptoss_status status = inbox_finish(box, err);
            if (status != GPTOSS_BAD_INPUT) answer(status == GPTOSS_OK ? DONE : FAILED, 0, from);
            if (status != GPTOSS_BAD_INPUT) return status;
        }
        bool resumed = inbox_has(box) > 0;
        answer(GO, inbox_has(box), from);
        TRY(take_blocks(all, from, how, box, blocks, went, err));
        if (!*went) return GPTOSS_OK;
        gptoss_status status = inbox_finish(box, err);
        bool again = status == GPTOSS_BAD_INPUT && resumed;
        answer(again ? AGAIN : status == GPTOSS_OK ? DONE : FAILED, 0, from);
        if (!again) return status;
    }
}

static gptoss_status copy_path(const inbox *box, char **out, gptoss_error *err) {
    const char *path = inbox_path(box);
    char *copy;
    TRY(mem_array(strlen(path) + 1, 1, "path", &copy, err));
    strcpy(copy, path);
    *out = copy;
    return GPTOSS_OK;
}

gptoss_status delivery_receive(int from, const delivery *how, char **path, gptoss_error *err) {
    offer o;
    inbox *box = NULL;
    block *blocks = NULL;
    bool went = false;
    *path = NULL;
    receive_words(&o, sizeof o, from, TAG_DELIVERY);
    if (o.verdict != GO) return GPTOSS_OK;
    gptoss_status status = GPTOSS_OK;
    if (!how->cache_dir)
        status = error_set(err, GPTOSS_MISUSE, "there is no folder to keep the slice in; give one with --cache DIR");
    if (status == GPTOSS_OK)
        status = inbox_open(how->cache_dir, (digest){o.low, o.high}, o.bytes, report_checking, (void *)how, &box, err);
    if (status == GPTOSS_OK) status = mem_array(IN_FLIGHT, sizeof *blocks, "receiving a slice", &blocks, err);
    if (status == GPTOSS_OK)
        status = fetch(o.bytes, from, how, box, blocks, &went, err);
    else
        answer(FAILED, 0, from);
    if (status == GPTOSS_OK && went) status = copy_path(box, path, err);
    inbox_close(box);
    free(blocks);
    return status;
}
