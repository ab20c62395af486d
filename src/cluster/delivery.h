/* delivery.h: a slice from a rank that has the model's file to one that does not.
 *
 * Both ranks call their half at the same time; both return, whatever goes wrong on either side, and whoever found the
 * fault has the error. Buffers are a few megabytes, however large the slice is. */
#ifndef CLUSTER_DELIVERY_H
#define CLUSTER_DELIVERY_H

#include "model/slice_image.h"

typedef struct delivery {
    const char *cache_dir; /* where slices and digests are kept; the sender may have none (NULL) */
    /* Called now and then, on either side, with what is being done ("sending the slice of rank 1"); may be NULL. */
    void (*report)(void *context, const char *what, uint64_t done, uint64_t all);
    void *context;
} delivery;

/* `image` NULL: this rank cannot give what it should, and the other is told. A slice that is complete in the receiver's
 * cache is not sent, one that is there in part only as far as it is missing. GPTOSS_OK also when it is the receiver
 * that failed. */
gptoss_status delivery_send(const slice_image *image, int to, const delivery *how, gptoss_error *err);

/* *path: of the slice file, checked; the caller frees it. NULL with GPTOSS_OK: the sender failed. */
gptoss_status delivery_receive(int from, const delivery *how, char **path, gptoss_error *err);

#endif
