#include "serve/deadlines.h"

#include <linux/sockios.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "base/mem.h"

enum { LEAST_BYTES = 4096 }; /* that a client must take in a step, while it has not taken all */

/* Bytes that the system holds for the client. */
static int unread(int socket) {
    int bytes = 0;
    return ioctl(socket, SIOCOUTQ, &bytes) == 0 ? bytes : 0;
}

void deadlines_open(deadlines *d, double seconds) {
    *d = (deadlines){.seconds = seconds};
    pthread_mutex_init(&d->lock, NULL);
}

void deadlines_close(deadlines *d) { pthread_mutex_destroy(&d->lock); }

deadline *deadlines_add(deadlines *d, int socket) {
    deadline *x;
    if (mem_array(1, sizeof *x, "a connection", &x, NULL) != GPTOSS_OK) {
        shutdown(socket, SHUT_RDWR);
        return NULL;
    }
    pthread_mutex_lock(&d->lock);
    *x = (deadline){.next = d->first, .link = &d->first, .socket = socket, .at = clock_seconds() + d->seconds};
    if (x->next) x->next->link = &x->next;
    d->first = x;
    pthread_mutex_unlock(&d->lock);
    return x;
}

void deadlines_remove(deadlines *d, deadline *x) {
    if (!x) return;
    pthread_mutex_lock(&d->lock);
    *x->link = x->next;
    if (x->next) x->next->link = x->link;
    pthread_mutex_unlock(&d->lock);
    free(x);
}

static void set(deadlines *d, deadline *x, double at) {
    if (!x) return;
    pthread_mutex_lock(&d->lock);
    x->unread = unread(x->socket);
    x->at = at;
    pthread_mutex_unlock(&d->lock);
}

void deadlines_begin(deadlines *d, deadline *x) { set(d, x, clock_seconds() + d->seconds); }

void deadlines_lift(deadlines *d, deadline *x) { set(d, x, 0); }

/* Whether the client reads, if slowly: then it has another step. */
static bool gets_on(deadline *x) {
    int before = x->unread;
    x->unread = unread(x->socket);
    return x->unread <= before - LEAST_BYTES;
}

void deadlines_look(deadlines *d) {
    double now = clock_seconds();
    pthread_mutex_lock(&d->lock);
    for (deadline *x = d->first; x; x = x->next) {
        if (x->at == 0 || now <= x->at) continue;
        bool late = !gets_on(x);
        if (late) shutdown(x->socket, SHUT_RDWR);
        x->at = late ? 0 : now + d->seconds;
    }
    pthread_mutex_unlock(&d->lock);
}
