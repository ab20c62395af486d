#include "cluster/link_model.h"

#include <string.h>

#include "cluster/link.h"
#include "cluster/ping.h"

static uint64_t bits_of(double value) {
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

gptoss_status link_model_use(const cluster *c, const link_model *model, gptoss_error *err) {
    stamps *s = NULL;
    if (!c->has_mpi) return GPTOSS_OK;
    TRY(cluster_same(c, bits_of(model->latency), "the latency of --link-model", err));
    TRY(cluster_same(c, bits_of(model->bandwidth), "the bandwidth of --link-model", err));
    double offset = ping_clock(c);
    gptoss_status status = stamps_open(model->latency, model->bandwidth, offset, &s, err);
    status = cluster_agree(c, status, err);
    if (status == GPTOSS_OK)
        link_use_stamps(s);
    else
        stamps_close(s);
    return status;
}
