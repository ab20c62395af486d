/* The one model there is, by its name and its aliases. */
#include <string.h>

#include <cjson/cJSON.h>

#include "base/plural.h"
#include "serve/json_input.h"
#include "serve/routes.h"

static cJSON *describe(const server *s, const char *id) {
    cJSON *model = cJSON_CreateObject();
    cJSON_AddStringToObject(model, "id", id);
    cJSON_AddStringToObject(model, "object", "model");
    cJSON_AddNumberToObject(model, "created", (double)s->started);
    cJSON_AddStringToObject(model, "owned_by", "local");
    cJSON_AddNumberToObject(model, "context_length", s->model.positions);
    return model;
}

gptoss_status models_check(const server *s, const char *name, failure *why) {
    bool known = !name || strcmp(name, s->model.name) == 0;
    for (size_t i = 0; i < s->config.alias_count && !known; i++) known = strcmp(name, s->config.aliases[i]) == 0;
    if (known) return GPTOSS_OK;
    return failure_set(why, 404, "model", "model_not_found",
                       "there is no model \"%.100s\" here: the one there is is \"%.200s\"", name, s->model.name);
}

gptoss_status models_check_engine(const server *s, const cJSON *body, failure *why) {
    int64_t layers = s->model.n_layers;
    bool fallback = s->model.expert_0_only;
    TRY(json_input_integer(body, "", "layers", 1, UINT32_MAX, &layers, why));
    TRY(json_input_bool(body, "", "moe_fallback", &fallback, why));
    if (layers != s->model.n_layers)
        return failure_field(why, "layers", "this server runs %u layer%s, not %lld: serve --layers %lld would",
                             s->model.n_layers, plural(s->model.n_layers), (long long)layers, (long long)layers);
    if (fallback == s->model.expert_0_only) return GPTOSS_OK;
    return failure_field(why, "moe_fallback", "this server was started %s --moe-fallback",
                         s->model.expert_0_only ? "with" : "without");
}

gptoss_status route_models(exchange *x, const char *rest, failure *why) {
    const server *s = x->server;
    (void)rest;
    cJSON *whole = cJSON_CreateObject(), *list = cJSON_CreateArray();
    cJSON_AddStringToObject(whole, "object", "list");
    cJSON_AddItemToArray(list, describe(s, s->model.name));
    for (size_t i = 0; i < s->config.alias_count; i++) cJSON_AddItemToArray(list, describe(s, s->config.aliases[i]));
    cJSON_AddItemToObject(whole, "data", list);
    return exchange_answer_json(x, 200, whole, why);
}

gptoss_status route_model(exchange *x, const char *rest, failure *why) {
    TRY(models_check(x->server, rest, why));
    return exchange_answer_json(x, 200, describe(x->server, rest), why);
}
