#include "serve/chat_turn.h"

#include <stdio.h>

/* Otherwise an answer that is too long is cut off where it is. */
static bool must_fit(const constraint_rules *rules) {
    bool must_call = rules->choice == CONSTRAINT_REQUIRED || rules->choice == CONSTRAINT_NAMED;
    return rules->json || rules->schema || must_call;
}

static bool bars_functions(const constraint_rules *rules) {
    bool bars = false;
    for (size_t i = 0; i < rules->function_count; i++) bars |= rules->functions[i].barred;
    return bars;
}

/* Without wishes of the request, rules are there to keep headers well formed. */
static gptoss_status open_constraint(const server *s, const chat_request *r, uint32_t max_tokens, constraint **out,
                                     failure *why) {
    const constraint_rules *rules = &r->rules;
    bool wanted =
        rules->json || rules->schema || rules->choice != CONSTRAINT_AUTO || !rules->parallel || bars_functions(rules);
    if (!wanted && s->config.free_headers) return GPTOSS_OK;
    gptoss_status status = constraint_open(s->model.harmony, s->model.masks, rules, out, &why->error);
    if (status != GPTOSS_OK) {
        bool theirs = status == GPTOSS_BAD_INPUT || status == GPTOSS_MISUSE;
        snprintf(why->param, sizeof why->param, "%s", theirs ? rules->schema ? r->fields->format : "tools" : "");
        return status;
    }
    uint64_t least = constraint_least(*out);
    if (must_fit(rules) && least > max_tokens)
        return failure_field(
            why, r->fields->length,
            "the answer may have %u tokens, but needs room for %llu to have the form that was asked for", max_tokens,
            (unsigned long long)least);
    return GPTOSS_OK;
}

gptoss_status chat_turn_plan(const server *s, const chat_request *r, chat_turn *out, failure *why) {
    const answer_options *o = &r->options;
    uint32_t max_tokens;
    TRY(harmony_render(s->model.harmony, &r->prompt, &out->prompt, &why->error));
    TRY(answer_options_room(o, out->prompt.count, s->model.positions, s->config.answer_tokens, r->fields->input,
                            r->fields->length, &max_tokens, why));
    TRY(open_constraint(s, r, max_tokens, &out->constraint, why));
    out->plan = (turn_plan){.prompt = out->prompt.ids,
                            .n_prompt = (uint32_t)out->prompt.count,
                            .max_tokens = max_tokens,
                            .sampling = o->sampling,
                            .logprobs = r->logprobs,
                            .n_top = r->n_top,
                            .telemetry = o->telemetry,
                            .n_candidates = o->n_candidates,
                            .stops = o->stops,
                            .stop_count = o->stop_count,
                            .tokenizer = s->model.tokenizer,
                            .harmony = s->model.harmony,
                            .functions = r->functions,
                            .function_count = r->prompt.function_count,
                            .constraint = out->constraint,
                            .must_fit = must_fit(&r->rules)};
    return GPTOSS_OK;
}

void chat_turn_free(chat_turn *t) {
    constraint_close(t->constraint);
    tokens_free(&t->prompt);
}
