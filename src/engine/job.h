/* job.h: one accepted request of the scheduler, from submission to its end. */
#ifndef ENGINE_JOB_H
#define ENGINE_JOB_H

#include "engine/prefix_cache.h"
#include "engine/scheduler.h"

enum { JOB_STRIDES = 4, JOB_MARKS = SCHEDULER_BORDERS + JOB_STRIDES + 2, JOB_MESSAGES = 4 };

typedef struct job {
    uint64_t id;
    scheduler_request request; /* prompt, biases and such are not used: they were the caller's */
    struct job *next;          /* in the waiting queue */
    bool cancelled;            /* guarded by the scheduler's lock, as next is */

    uint32_t *tokens; /* owned; [n_prompt + max_tokens]: the prompt, then what was generated */
    uint32_t n_prompt, n_tokens;
    sequence sequence;         /* its position: tokens sent off, or known */
    uint32_t full_pages;       /* that it can come to need */
    bool cached;               /* uses the prefix cache */
    bool begun;                /* what it goes on behind is settled, and counted */
    uint32_t known;            /* tokens of the prompt that came from the prefix cache */
    uint32_t marks[JOB_MARKS]; /* positions of the prompt to leave as resume points */
    uint32_t n_marks;
    uint32_t messages; /* of its answer that left a resume point; at most JOB_MESSAGES, or one answer drives out all */
    sampler *sampler;  /* owned */
    sampler_report report;

    double submitted, admitted, read; /* clock_seconds(); 0: not yet */
} job;

/* A job with the request copied. GPTOSS_MISUSE when it can never run within the limits. */
gptoss_status job_open(const scheduler_request *request, const wave_limits *limits, job **out, gptoss_error *err);
void job_close(job *j); /* its sequence holds no pages; NULL is fine */

/* Positions that it stores at most: the last token of an answer is never run. */
uint32_t job_most_positions(const job *j);

/* What is wanted of the logits that follow its next token. */
logits_wish job_wish(job *j);

/* Chooses the next token by what came back, row `index` of the wave that p collected last, and tells of it. *end is set
 * when the answer ends with it. */
gptoss_status job_choose(job *j, pipeline *p, uint32_t index, const logits_row *row, bool *ended, scheduler_end *end,
                         gptoss_error *err);

/* Tells its end, and closes it. */
void job_end(job *j, scheduler_end end, const gptoss_error *why);

#endif
