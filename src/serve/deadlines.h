/* deadlines.h: connections that must get on. A client that lets a byte trickle in now and then never looks idle; what
 * counts is the time by which a whole step must be done: the headers, the body, the taking of what was written (where
 * some kilobytes are enough). After it the connection is shut down, which its thread notices. */
#ifndef SERVE_DEADLINES_H
#define SERVE_DEADLINES_H

#include <pthread.h>
#include <stdbool.h>

typedef struct deadline { /* of a connection */
    struct deadline *next, **link;
    int socket, unread; /* bytes on their way to the client when the step began */
    double at;          /* clock_seconds(); 0: it may take as long as it likes */
} deadline;

typedef struct deadlines {
    pthread_mutex_t lock;
    deadline *first;
    double seconds; /* for each step */
} deadlines;

void deadlines_open(deadlines *d, double seconds);
void deadlines_close(deadlines *d); /* when all connections are gone */

/* The connection must be removed before its socket is closed. NULL when memory runs out; the socket is shut down
 * then. */
deadline *deadlines_add(deadlines *d, int socket);
void deadlines_remove(deadlines *d, deadline *x); /* NULL is fine, here and below */

void deadlines_begin(deadlines *d, deadline *x); /* a step begins now */
void deadlines_lift(deadlines *d, deadline *x);  /* the client waits for us */

void deadlines_look(deadlines *d); /* shuts down what is late */

#endif
