#include "plan/nodes.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "plan/json_file.h"
#include "plan/machine.h"

static const double RATE_A_CORE = 8e9, RATE_IN_ALL = 20e9, LAYER_SECONDS = 40e-6, WAKE_SECONDS = 20e-6;
static const uint64_t MOST_BYTES = UINT64_C(1) << 50;

double node_assumed_rate(uint32_t cores) {
    double rate = cores * RATE_A_CORE;
    return rate < RATE_IN_ALL ? rate : RATE_IN_ALL;
}

node_facts node_facts_default(void) {
    return (node_facts){.cores = 4,
                        .read_rate = node_assumed_rate(4),
                        .layer_seconds = LAYER_SECONDS,
                        .wake_seconds = WAKE_SECONDS,
                        .is_assumed = true,
                        .link = {.latency = 150e-6, .bandwidth = 1e9 / 8}};
}

bool nodes_read_bytes(const char *text, uint64_t *out) {
    char *end;
    if (!isdigit((unsigned char)text[0])) return false;
    unsigned long long n = strtoull(text, &end, 10);
    uint64_t value, scale = 1;
    const char *const suffixes = "kKmMgGtT", *suffix = *end ? strchr(suffixes, *end) : NULL;
    if (*end && (!suffix || end[1])) return false;
    if (suffix)
        for (long i = 0; i <= (suffix - suffixes) / 2; i++) scale <<= 10;
    if (!mem_mul_u64(n, scale, &value) || value == 0 || value > MOST_BYTES) return false;
    *out = value;
    return true;
}

plan_node node_for_plan(const node_facts *facts) {
    plan_node node = plan_node_default();
    node.memory = machine_usable(facts->memory);
    node.read_rate = facts->read_rate;
    node.layer_seconds = facts->layer_seconds;
    node.wake_seconds = facts->wake_seconds;
    node.link = facts->link;
    return node;
}

/* ---- the file ---- */

/* Where in the file something is wrong: "node 3" or "link". */
typedef struct place {
    char what[24];
} place;

static gptoss_status refuse(const place *where, const char *key, const char *wanted, gptoss_error *err) {
    return error_set(err, GPTOSS_BAD_INPUT, "%s: \"%.40s\" %s", where->what, key, wanted);
}

static gptoss_status check_keys(const cJSON *object, const char *const *known, const place *where, gptoss_error *err) {
    for (const cJSON *item = object->child; item; item = item->next) {
        size_t i = 0;
        while (known[i] && strcmp(known[i], item->string) != 0) i++;
        if (!known[i]) return refuse(where, item->string, "is no key that is known here", err);
        for (const cJSON *other = object->child; other != item; other = other->next)
            if (strcmp(other->string, item->string) == 0) return refuse(where, item->string, "is there twice", err);
    }
    return GPTOSS_OK;
}

/* *out stays as it is when the key is missing. */
static gptoss_status read_number(const cJSON *object, const char *key, double min, double max, const place *where,
                                 double *out, gptoss_error *err) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, key);
    if (!item) return GPTOSS_OK;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "must be a number from %g to %g", min, max);
    if (!cJSON_IsNumber(item) || !(item->valuedouble >= min && item->valuedouble <= max))
        return refuse(where, key, wanted, err);
    *out = item->valuedouble;
    return GPTOSS_OK;
}

static gptoss_status read_count(const cJSON *object, const char *key, uint32_t max, const place *where, uint32_t *out,
                                gptoss_error *err) {
    double n = *out;
    TRY(read_number(object, key, 1, max, where, &n, err));
    if (n != floor(n)) return refuse(where, key, "must be a whole number", err);
    *out = (uint32_t)n;
    return GPTOSS_OK;
}

static gptoss_status read_memory(const cJSON *object, const place *where, uint64_t *out, gptoss_error *err) {
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(object, "memory");
    bool sound = cJSON_IsString(item) && nodes_read_bytes(item->valuestring, out);
    if (cJSON_IsNumber(item) && item->valuedouble >= 1 && item->valuedouble <= (double)MOST_BYTES) {
        *out = (uint64_t)item->valuedouble;
        sound = true;
    }
    return sound ? GPTOSS_OK : refuse(where, "memory", "must be there: bytes, or text such as \"16G\"", err);
}

/* Printable ASCII, so that it can be shown anywhere. */
static void set_name(node_facts *facts, const char *text) {
    size_t i = 0;
    for (; text[i] && i + 1 < sizeof facts->name; i++)
        facts->name[i] = text[i] > ' ' && text[i] < 127 && !strchr("<>&\"'", text[i]) ? text[i] : '_';
    facts->name[i] = '\0';
}

static gptoss_status read_node(const cJSON *object, uint32_t index, node_facts *out, uint32_t *times,
                               gptoss_error *err) {
    static const char *const known[] = {"name", "count", "memory", "cores", "read_gb_s", NULL};
    node_facts facts = node_facts_default();
    place where;
    snprintf(where.what, sizeof where.what, "node %u", index);
    if (!cJSON_IsObject(object)) return error_set(err, GPTOSS_BAD_INPUT, "%s is no object", where.what);
    TRY(check_keys(object, known, &where, err));
    TRY(read_memory(object, &where, &facts.memory, err));
    TRY(read_count(object, "cores", 4096, &where, &facts.cores, err));
    TRY(read_count(object, "count", NODES_MOST, &where, times, err));
    double rate = 0;
    TRY(read_number(object, "read_gb_s", 0.01, 10000, &where, &rate, err));
    facts.is_assumed = rate == 0;
    facts.read_rate = rate > 0 ? rate * 1e9 : node_assumed_rate(facts.cores);
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(object, "name");
    if (name && !cJSON_IsString(name)) return refuse(&where, "name", "must be a text", err);
    set_name(&facts, name ? name->valuestring : where.what);
    *out = facts;
    return GPTOSS_OK;
}

static gptoss_status read_link(const cJSON *object, plan_link *link, gptoss_error *err) {
    static const char *const known[] = {"latency_us", "gbit_s", NULL};
    const place where = {"link"};
    if (!object) return GPTOSS_OK;
    if (!cJSON_IsObject(object)) return error_set(err, GPTOSS_BAD_INPUT, "\"link\" is no object");
    TRY(check_keys(object, known, &where, err));
    double latency = link->latency * 1e6, gbit = link->bandwidth * 8 / 1e9;
    TRY(read_number(object, "latency_us", 0, 1e7, &where, &latency, err));
    TRY(read_number(object, "gbit_s", 1e-4, 1e5, &where, &gbit, err));
    *link = (plan_link){latency / 1e6, gbit * 1e9 / 8};
    return GPTOSS_OK;
}

/* Room in list[] for NODES_MOST. */
static gptoss_status read_nodes(const cJSON *root, node_facts *list, uint32_t *count, gptoss_error *err) {
    static const char *const known[] = {"nodes", "link", NULL};
    if (!cJSON_IsObject(root)) return error_set(err, GPTOSS_BAD_INPUT, "this is no JSON object");
    TRY(check_keys(root, known, &(place){"the file"}, err));
    const cJSON *nodes = cJSON_GetObjectItemCaseSensitive(root, "nodes"), *node;
    if (!cJSON_IsArray(nodes)) return error_set(err, GPTOSS_BAD_INPUT, "\"nodes\" is missing or no list");
    plan_link link = node_facts_default().link;
    TRY(read_link(cJSON_GetObjectItemCaseSensitive(root, "link"), &link, err));
    uint32_t index = 0, n = 0;
    cJSON_ArrayForEach(node, nodes) {
        node_facts facts;
        uint32_t times = 1;
        TRY(read_node(node, index++, &facts, &times, err));
        if (times > NODES_MOST - n)
            return error_set(err, GPTOSS_BAD_INPUT, "more than %d nodes are not supported", NODES_MOST);
        facts.link = link;
        while (times-- > 0) list[n++] = facts;
    }
    if (n == 0) return error_set(err, GPTOSS_BAD_INPUT, "\"nodes\" is empty");
    *count = n;
    return GPTOSS_OK;
}

gptoss_status nodes_parse(const char *text, size_t size, node_facts **out, uint32_t *count, gptoss_error *err) {
    cJSON *root;
    TRY(json_file_parse(text, size, &root, err));
    node_facts *list = NULL;
    gptoss_status status = mem_array(NODES_MOST, sizeof *list, "nodes", &list, err);
    if (status == GPTOSS_OK) status = read_nodes(root, list, count, err);
    cJSON_Delete(root);
    if (status == GPTOSS_OK)
        *out = list;
    else
        free(list);
    return status;
}
