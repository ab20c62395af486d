#include "engine/expert_placement.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/buffer.h"
#include "plan/json_file.h"

enum { FILE_LIMIT = 1 << 20 };

/* The entry of a list that is being read: "ranks[3]". */
typedef struct entry {
    const char *list;
    uint32_t index;
} entry;

/* "16-31", or "16" for one expert. */
static bool read_range(const char *text, uint32_t n_experts, plan_range *out) {
    char *end;
    if (!isdigit((unsigned char)text[0])) return false;
    unsigned long first = strtoul(text, &end, 10), last = first;
    if (*end == '-' && isdigit((unsigned char)end[1])) last = strtoul(end + 1, &end, 10);
    if (*end || first > last || last >= n_experts) return false;
    *out = (plan_range){(uint32_t)first, (uint32_t)last + 1};
    return true;
}

static gptoss_status read_entry(const cJSON *item, entry at, uint32_t n_experts, plan_range *out, gptoss_error *err) {
    if (!cJSON_IsString(item))
        return error_set(err, GPTOSS_BAD_INPUT, "%s[%u] is no text such as \"0-15\"", at.list, at.index);
    if (read_range(item->valuestring, n_experts, out)) return GPTOSS_OK;
    return error_set(err, GPTOSS_BAD_INPUT, "%s[%u]: \"%.40s\" is no range of experts from 0 to %u, such as \"0-%u\"",
                     at.list, at.index, item->valuestring, n_experts - 1, n_experts - 1);
}

/* Whether the ranges of one stage's shards, of which ranges[0] is entry `first` of the list, follow each other. */
static gptoss_status check_stage(const plan_range *ranges, uint32_t shards, uint32_t n_experts, entry first,
                                 gptoss_error *err) {
    uint32_t next = 0;
    for (uint32_t s = 0; s < shards; next = ranges[s++].end)
        if (ranges[s].begin != next)
            return error_set(err, GPTOSS_BAD_INPUT, "%s[%u] begins with expert %u, but expert %u is the next one",
                             first.list, first.index + s, ranges[s].begin, next);
    if (next == n_experts) return GPTOSS_OK;
    return error_set(err, GPTOSS_BAD_INPUT, "%s[%u] ends with expert %u, but %u is the last one", first.list,
                     first.index + shards - 1, next - 1, n_experts - 1);
}

static gptoss_status read_list(const cJSON *list, const char *name, uint32_t count, uint32_t shards, uint32_t n_experts,
                               plan_range *experts, gptoss_error *err) {
    uint32_t index = 0;
    const cJSON *item;
    if (!cJSON_IsArray(list)) return error_set(err, GPTOSS_BAD_INPUT, "\"%s\" is no list", name);
    if ((uint32_t)cJSON_GetArraySize(list) != count)
        return error_set(err, GPTOSS_BAD_INPUT, "\"%s\" has %d ranges; the grid has %u %s", name,
                         cJSON_GetArraySize(list), count, strcmp(name, "ranks") == 0 ? "ranks" : "shards a stage");
    cJSON_ArrayForEach(item, list) {
        TRY(read_entry(item, (entry){name, index}, n_experts, &experts[index], err));
        index++;
    }
    for (uint32_t first = 0; first < count; first += shards)
        TRY(check_stage(experts + first, shards, n_experts, (entry){name, first}, err));
    return GPTOSS_OK;
}

static gptoss_status read_root(const cJSON *root, uint32_t stages, uint32_t shards, uint32_t n_experts,
                               plan_range *experts, gptoss_error *err) {
    const cJSON *only = cJSON_IsObject(root) ? root->child : NULL;
    bool of_shards = only && strcmp(only->string, "shards") == 0, of_ranks = only && strcmp(only->string, "ranks") == 0;
    if (!only || only->next || (!of_shards && !of_ranks))
        return error_set(err, GPTOSS_BAD_INPUT,
                         "this is no object with one list, \"shards\" or \"ranks\", such as {\"shards\": [\"0-15\", "
                         "\"16-31\"]}");
    if (of_ranks) return read_list(only, "ranks", stages * shards, shards, n_experts, experts, err);
    TRY(read_list(only, "shards", shards, shards, n_experts, experts, err));
    for (uint32_t stage = 1; stage < stages; stage++)
        memcpy(experts + stage * shards, experts, shards * sizeof *experts);
    return GPTOSS_OK;
}

gptoss_status expert_placement_parse(const char *text, size_t size, uint32_t stages, uint32_t shards,
                                     uint32_t n_experts, plan_range *experts, gptoss_error *err) {
    cJSON *root;
    TRY(json_file_parse(text, size, &root, err));
    gptoss_status status = read_root(root, stages, shards, n_experts, experts, err);
    cJSON_Delete(root);
    return status;
}

gptoss_status expert_placement_read(const char *path, uint32_t stages, uint32_t shards, uint32_t n_experts,
                                    plan_range *experts, gptoss_error *err) {
    buffer text = {0};
    TRY(buffer_read_file(&text, path, FILE_LIMIT, err));
    gptoss_status status =
        expert_placement_parse(text.data ? text.data : "", text.size, stages, shards, n_experts, experts, err);
    buffer_free(&text);
    if (status != GPTOSS_OK) error_prefix(err, status, "%s", path);
    return status;
}
