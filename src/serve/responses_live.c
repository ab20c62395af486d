#include "serve/responses_live.h"

#include <string.h>
#include <time.h>

gptoss_status responses_live_open(responses_live *l, gptoss_error *err) {
    pthread_condattr_t attributes;
    *l = (responses_live){0};
    pthread_mutex_init(&l->lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    int problem = pthread_cond_init(&l->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    return problem ? error_set(err, GPTOSS_NO_MEMORY, "out of memory for the server") : GPTOSS_OK;
}

void responses_live_close(responses_live *l) {
    pthread_cond_destroy(&l->changed);
    pthread_mutex_destroy(&l->lock);
}

/* Ends a section that held the lock and changed something. */
static void unlock_changed(responses_live *l) {
    l->news++;
    pthread_cond_broadcast(&l->changed);
    pthread_mutex_unlock(&l->lock);
}

/* ---- the list ---- */

static live_response *find(const responses_live *l, const char *id) {
    live_response *r = l->first;
    while (r && strcmp(r->id, id) != 0) r = r->next;
    return r;
}

void responses_live_add(responses_live *l, live_response *r) {
    pthread_mutex_lock(&l->lock);
    r->next = l->first;
    l->first = r;
    unlock_changed(l);
}

void responses_live_remove(responses_live *l, live_response *r) {
    pthread_mutex_lock(&l->lock);
    for (live_response **at = &l->first; *at; at = &(*at)->next) {
        if (*at != r) continue;
        *at = r->next;
        break;
    }
    unlock_changed(l);
}

bool responses_live_has(responses_live *l, const char *id) {
    pthread_mutex_lock(&l->lock);
    bool has = find(l, id) != NULL;
    pthread_mutex_unlock(&l->lock);
    return has;
}

cJSON *responses_live_output(responses_live *l, const char *id) {
    cJSON *output = NULL;
    pthread_mutex_lock(&l->lock); /* so that its writer stays */
    const live_response *r = find(l, id);
    if (r) {
        pthread_mutex_lock(r->writing);
        output = responses_answer_output(r->answer);
        pthread_mutex_unlock(r->writing);
    }
    pthread_mutex_unlock(&l->lock);
    return output;
}

bool responses_live_cancel(responses_live *l, const char *id) {
    pthread_mutex_lock(&l->lock);
    live_response *r = find(l, id);
    bool may = !r || r->background;
    if (r && may) {
        r->cancelled = true;
        turn_cancel(r->turn);
        while (find(l, id)) pthread_cond_wait(&l->changed, &l->lock);
    }
    pthread_mutex_unlock(&l->lock);
    return may;
}

bool responses_live_is_cancelled(responses_live *l, const live_response *r) {
    pthread_mutex_lock(&l->lock);
    bool cancelled = r->cancelled;
    pthread_mutex_unlock(&l->lock);
    return cancelled;
}

/* ---- threads that write ---- */

void responses_live_begin_writer(responses_live *l) {
    pthread_mutex_lock(&l->lock);
    l->writers++;
    pthread_mutex_unlock(&l->lock);
}

void responses_live_end_writer(responses_live *l) {
    pthread_mutex_lock(&l->lock);
    l->writers--;
    unlock_changed(l);
}

void responses_live_wait_for_writers(responses_live *l) {
    pthread_mutex_lock(&l->lock);
    while (l->writers > 0) pthread_cond_wait(&l->changed, &l->lock);
    pthread_mutex_unlock(&l->lock);
}

/* ---- news ---- */

void responses_live_tell(responses_live *l) {
    pthread_mutex_lock(&l->lock);
    unlock_changed(l);
}

uint64_t responses_live_news(responses_live *l) {
    pthread_mutex_lock(&l->lock);
    uint64_t news = l->news;
    pthread_mutex_unlock(&l->lock);
    return news;
}

void responses_live_wait(responses_live *l, uint64_t seen, double seconds) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += (time_t)seconds;
    until.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    pthread_mutex_lock(&l->lock);
    for (int problem = 0; l->news == seen && !problem;) problem = pthread_cond_timedwait(&l->changed, &l->lock, &until);
    pthread_mutex_unlock(&l->lock);
}
