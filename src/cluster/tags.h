/* tags.h: what a message between ranks is of, so that none is taken for another. Private to src/cluster. */
#ifndef CLUSTER_TAGS_H
#define CLUSTER_TAGS_H

enum {
    TAG_WAVE = 1,
    TAG_RESULT,
    TAG_PING,
    TAG_DELIVERY,
    TAG_REPLY,
    TAG_SUM,
    TAG_JOB,
    TAG_FETCH,
    TAG_FETCHED,
    TAG_TRACE,
    TAG_CLOCK,
    TAG_NONE,            /* of no message at all */
    TAG_STAMPS = 1 << 14 /* and on: those of the stamps of messages with the tags above */
};

#endif
