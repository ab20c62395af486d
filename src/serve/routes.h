/* routes.h: which function answers which request. */
#ifndef SERVE_ROUTES_H
#define SERVE_ROUTES_H

#include "serve/exchange.h"

/* Whether the request may go on, judged by its headers alone: the key, and the length of its body. */
gptoss_status routes_admit(const exchange *x, failure *why);

/* Answers a request that has arrived whole, with a failure if need be. */
void routes_answer(exchange *x);

/* Whether there is a model to work with now; 503 says why not. */
gptoss_status routes_check_state(const server *s, failure *why);

/* The handlers, each in the file of its name. `rest` is what stands where the route has a "*" or "{}", for the time of
 * the call. */
gptoss_status route_health(exchange *x, const char *rest, failure *why); /* status.c */
gptoss_status route_metrics(exchange *x, const char *rest, failure *why);
gptoss_status route_cluster(exchange *x, const char *rest, failure *why);
gptoss_status route_models(exchange *x, const char *rest, failure *why); /* models.c */
gptoss_status route_model(exchange *x, const char *rest, failure *why);
gptoss_status route_chat(exchange *x, const char *rest, failure *why); /* chat.c */
gptoss_status route_apply_template(exchange *x, const char *rest, failure *why);
gptoss_status route_completions(exchange *x, const char *rest, failure *why); /* completions.c */
gptoss_status route_responses(exchange *x, const char *rest, failure *why);   /* responses.c */
gptoss_status route_response(exchange *x, const char *id, failure *why);      /* responses_kept.c */
gptoss_status route_response_delete(exchange *x, const char *id, failure *why);
gptoss_status route_response_cancel(exchange *x, const char *id, failure *why);
gptoss_status route_response_items(exchange *x, const char *id, failure *why);
gptoss_status route_tokenize(exchange *x, const char *rest, failure *why); /* tokenize.c */
gptoss_status route_detokenize(exchange *x, const char *rest, failure *why);

/* Whether `name` (NULL: not given) is the model; 404 otherwise. */
gptoss_status models_check(const server *s, const char *name, failure *why);

/* Whether "layers" and "moe_fallback", where a body has them, are what the server was started with: a wave holds tokens
 * of many requests and goes through all layers, so that they cannot differ between requests. 400 otherwise. */
struct cJSON;
gptoss_status models_check_engine(const server *s, const struct cJSON *body, failure *why);

#endif
