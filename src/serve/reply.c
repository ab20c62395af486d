#include "serve/reply.h"

#include <stdlib.h>

#include "base/mem.h"
#include "base/plural.h"
#include "serve/routes.h"

gptoss_status reply_open(exchange *x, uint32_t turns, reply_reader reader, reply *out, failure *why) {
    *out = (reply){.server = x->server, .socket = exchange_socket(x), .reader = reader, .count = turns};
    TRY(mem_array(turns, sizeof *out->turns, "a request", &out->turns, &why->error));
    TRY(mailbox_open(&out->mailbox, &why->error));
    out->has_mailbox = true;
    return GPTOSS_OK;
}

void reply_detach(reply *r) { r->socket = -1; }

gptoss_status reply_begin(reply *r, const turn_plan *plan, failure *why) {
    server *s = r->server;
    gptoss_status status = turn_begin(plan, s->model.masks, s->scheduler, s->model.n_vocab, &r->mailbox, r->begun,
                                      &r->turns[r->begun], &why->error);
    if (status == GPTOSS_OK) {
        r->begun++;
        return GPTOSS_OK;
    }
    if (status != GPTOSS_BUSY) return status;
    TRY(routes_check_state(s, why));
    failure_set(why, 429, NULL, "queue_full",
                "all places are taken: up to %u answer%s may be at work and waiting; try again later",
                s->model.most_requests, plural(s->model.most_requests));
    why->retry_after = 1;
    return GPTOSS_BUSY;
}

static bool has_ended(uint64_t ended, uint32_t sender) { return ended >> sender & 1; }

static gptoss_status tell_end(reply *r, uint32_t sender, failure *why) {
    const turn_end *end = &r->turns[sender].end;
    r->ended |= UINT64_C(1) << sender;
    metrics_add_turn(&r->server->metrics, end);
    if (!end->failed) return r->reader.end(r->reader.context, sender, end, &why->error);
    why->error = end->error;
    if (end->error.status == GPTOSS_PEER) {
        r->server->state = SERVER_LOST;
        why->code = "cluster_lost";
    }
    if (end->error.status == GPTOSS_BAD_INPUT || end->error.status == GPTOSS_MISUSE)
        why->http = 500; /* not the client's */
    return end->error.status;
}

reply_news reply_step(reply *r, double seconds, failure *why) {
    mailbox_news news = mailbox_wait(&r->mailbox, r->socket, seconds);
    if (news == MAILBOX_READER_GONE) return REPLY_GONE;
    if (news == MAILBOX_SILENCE) return REPLY_SILENCE;
    uint64_t ended = mailbox_take(&r->mailbox, &r->taken);
    gptoss_status status = GPTOSS_OK;
    letter l;
    for (size_t at = 0; status == GPTOSS_OK && mailbox_next(&r->taken, &at, &l);)
        status = r->reader.letter(r->reader.context, &l, &why->error);
    for (uint32_t i = 0; i < r->begun && status == GPTOSS_OK; i++)
        if (has_ended(ended, i) && !has_ended(r->ended, i)) status = tell_end(r, i, why);
    if (status != GPTOSS_OK) return REPLY_FAILED;
    for (uint32_t i = 0; i < r->count; i++)
        if (!has_ended(r->ended, i)) return REPLY_GOES_ON;
    return REPLY_COMPLETE;
}

reply_news reply_wait(reply *r, failure *why) {
    enum { A_WHILE = 3600 };
    reply_news news;
    do news = reply_step(r, A_WHILE, why);
    while (news == REPLY_GOES_ON || news == REPLY_SILENCE);
    return news;
}

/* The scheduler must not call a turn that is no more. */
static void end_all(reply *r) {
    enum { A_WHILE = 3600 };
    uint64_t all = r->begun == MAILBOX_SENDERS ? UINT64_MAX : (UINT64_C(1) << r->begun) - 1;
    uint64_t ended = r->ended;
    for (uint32_t i = 0; i < r->begun; i++) {
        if (has_ended(ended, i)) continue;
        turn_cancel(&r->turns[i]);
        r->server->metrics.abandoned++;
    }
    while ((ended & all) != all) {
        mailbox_wait(&r->mailbox, -1, A_WHILE);
        ended = mailbox_take(&r->mailbox, &r->taken);
    }
}

void reply_close(reply *r) {
    if (r->has_mailbox) {
        end_all(r);
        mailbox_close(&r->mailbox);
    }
    for (uint32_t i = 0; i < r->begun; i++) turn_close(&r->turns[i]);
    free(r->turns);
    buffer_free(&r->taken);
    *r = (reply){0};
}
