/* plan_report.h: what `gptoss-dist plan` shows of a placement: a table, JSON, a drawing. */
#ifndef CLI_PLAN_REPORT_H
#define CLI_PLAN_REPORT_H

#include <stdio.h>

#include "base/buffer.h"
#include "model/hparams.h"
#include "plan/forecast.h"
#include "plan/nodes.h"

typedef struct plan_report {
    const char *path; /* of the model */
    hparams hp;
    bool expert_0_only;
    uint32_t kv_positions, streams;
    plan_goal goal;
    plan_model model;
    const node_facts *nodes; /* [ranks] */
    uint32_t ranks;
    placement placement;
    forecast forecast;
} plan_report;

void plan_report_print_table(FILE *out, const plan_report *r);
gptoss_status plan_report_print_json(FILE *out, const plan_report *r, gptoss_error *err);

/* Appends an SVG picture. */
gptoss_status plan_report_draw(const plan_report *r, buffer *out, gptoss_error *err);

#endif
