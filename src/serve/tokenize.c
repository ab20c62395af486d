/* POST /tokenize and /detokenize: text to token ids and back. */
#include <string.h>

#include <cjson/cJSON.h>

#include "serve/json_input.h"
#include "serve/json_list.h"
#include "serve/routes.h"
#include "text/tokens.h"

gptoss_status route_tokenize(exchange *x, const char *rest, failure *why) {
    cJSON *body;
    const char *content = NULL;
    tokens ids = {0};
    cJSON *list;
    (void)rest;
    TRY(json_input_parse(&x->body, &body, why));
    gptoss_status status = json_input_string(body, "", "content", &content, why);
    if (status == GPTOSS_OK && !content) status = failure_field(why, "content", "content is missing");
    if (status == GPTOSS_OK)
        status = tokenizer_encode(x->server->model.tokenizer, content, strlen(content), &ids, &why->error);
    if (status == GPTOSS_OK) status = json_list_of_numbers(ids.ids, ids.count, &list, &why->error);
    tokens_free(&ids);
    if (status == GPTOSS_OK) {
        cJSON *whole = cJSON_CreateObject();
        cJSON_AddItemToObject(whole, "tokens", list);
        status = exchange_answer_json(x, 200, whole, why);
    }
    cJSON_Delete(body);
    return status;
}

static gptoss_status decode(const tokenizer *t, const cJSON *list, buffer *out, failure *why) {
    buffer bytes = {0};
    gptoss_status status = GPTOSS_OK;
    size_t i = 0;
    for (const cJSON *item = list->child; item && status == GPTOSS_OK; item = item->next, i++) {
        double value = cJSON_IsNumber(item) ? item->valuedouble : -1;
        uint32_t id = value >= 0 && value < tokenizer_count(t) ? (uint32_t)value : UINT32_MAX;
        if (id != value)
            status = failure_field(why, json_path_item("tokens", i).text, "tokens[%zu] must be a token id from 0 to %u",
                                   i, tokenizer_count(t) - 1);
        else
            status = tokenizer_decode(t, &id, 1, &bytes, &why->error);
    }
    if (status == GPTOSS_OK) status = utf8_repair_text(bytes.data ? bytes.data : "", bytes.size, out, &why->error);
    buffer_free(&bytes);
    return status;
}

gptoss_status route_detokenize(exchange *x, const char *rest, failure *why) {
    cJSON *body;
    const cJSON *list = NULL;
    buffer text = {0};
    (void)rest;
    TRY(json_input_parse(&x->body, &body, why));
    gptoss_status status = json_input_array(body, "", "tokens", &list, why);
    if (status == GPTOSS_OK && !list) status = failure_field(why, "tokens", "tokens is missing");
    if (status == GPTOSS_OK) status = decode(x->server->model.tokenizer, list, &text, why);
    if (status == GPTOSS_OK) {
        cJSON *whole = cJSON_CreateObject();
        cJSON_AddStringToObject(whole, "content", text.data ? text.data : "");
        status = exchange_answer_json(x, 200, whole, why);
    }
    buffer_free(&text);
    cJSON_Delete(body);
    return status;
}
