#include "gguf/gguf.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/part.h"
#include "gguf/quote.h"
#include "gguf/split.h"

struct gguf_file {
    gguf_part *parts;
    uint32_t part_count;
    gguf_tensor *tensors; /* of all parts */
    size_t tensor_count;
    const gguf_tensor **by_name; /* sorted */
    uint64_t fingerprint;
};

/* ---- split files ---- */

/* What a part says about the split; all zero when it says nothing. */
typedef struct split_keys {
    uint64_t number, count, tensors;
} split_keys;

static gptoss_status split_key(const gguf_part *p, const char *key, uint64_t *out, gptoss_error *err) {
    if (gguf_as_u64(part_find_value(p, key), out)) return GPTOSS_OK;
    return error_set(err, GPTOSS_BAD_INPUT, "%s: metadata key %s is missing or no natural number", p->path, key);
}

static gptoss_status read_split_keys(const gguf_part *p, split_keys *out, gptoss_error *err) {
    split_keys keys = {0, 0, 0};
    if (part_find_value(p, "split.count")) {
        TRY(split_key(p, "split.count", &keys.count, err));
        if (keys.count > 1) {
            TRY(split_key(p, "split.no", &keys.number, err));
            TRY(split_key(p, "split.tensors.count", &keys.tensors, err));
        }
    }
    *out = keys;
    return GPTOSS_OK;
}

/* The name of a part must tell what its metadata tells. */
static gptoss_status check_split_name(const gguf_part *p, const split_keys *keys, split_name *out, gptoss_error *err) {
    unsigned long long number = keys->number + 1, count = keys->count;
    if (keys->count > 99999 || keys->number >= keys->count)
        return error_set(err, GPTOSS_BAD_INPUT, "%s: by its metadata (split.no, split.count) it is part %llu of %llu",
                         p->path, number, count);
    split_name name;
    if (!split_parse(p->path, &name))
        return error_set(err, GPTOSS_BAD_INPUT,
                         "%s: it is part %llu of %llu by its metadata, so that its name must end in "
                         "-%05llu-of-%05llu.gguf for the other parts to be found",
                         p->path, number, count, number, count);
    if (name.number != number || name.count != count)
        return error_set(err, GPTOSS_BAD_INPUT,
                         "%s: by its name it is part %u of %u, by its metadata part %llu of %llu", p->path, name.number,
                         name.count, number, count);
    *out = name;
    return GPTOSS_OK;
}

/* Reads the part with the 1-based `number` of the split that `known` belongs to. */
static gptoss_status read_other_part(const gguf_part *known, const split_name *name, const split_keys *keys,
                                     uint32_t number, gguf_part *out, gptoss_error *err) {
    char *path;
    TRY(split_path(known->path, name->stem, number, name->count, &path, err));
    gguf_part p = {0};
    gptoss_status status;
    if (access(path, F_OK) != 0 && errno == ENOENT)
        status = error_set(err, GPTOSS_BAD_INPUT, "%s: part %u of %u is missing; all parts must be in one folder", path,
                           number, name->count);
    else
        status = part_read(path, &p, err);
    free(path);
    split_keys theirs;
    split_name their_name;
    if (status == GPTOSS_OK) status = read_split_keys(&p, &theirs, err);
    if (status == GPTOSS_OK && (theirs.count != keys->count || theirs.tensors != keys->tensors))
        status =
            error_set(err, GPTOSS_BAD_INPUT,
                      "%s: it speaks of %llu parts with %llu tensors in all, but %s of %llu parts with %llu tensors",
                      p.path, (unsigned long long)theirs.count, (unsigned long long)theirs.tensors, known->path,
                      (unsigned long long)keys->count, (unsigned long long)keys->tensors);
    if (status == GPTOSS_OK) status = check_split_name(&p, &theirs, &their_name, err);
    if (status != GPTOSS_OK) {
        part_free(&p);
        return status;
    }
    *out = p;
    return GPTOSS_OK;
}

/* Reads the part at `path` and those it belongs with. On failure the caller releases what is in *file. */
static gptoss_status read_parts(gguf_file *file, const char *path, gptoss_error *err) {
    gguf_part given = {0};
    split_keys keys = {0, 0, 0};
    split_name name = {0, 1, 1};
    TRY(part_read(path, &given, err));
    gptoss_status status = read_split_keys(&given, &keys, err);
    bool is_split = keys.count > 1;
    if (status == GPTOSS_OK && is_split) status = check_split_name(&given, &keys, &name, err);
    if (status == GPTOSS_OK)
        status = mem_array(name.count, sizeof(gguf_part), "parts of a GGUF file", &file->parts, err);
    if (status != GPTOSS_OK) {
        part_free(&given);
        return status;
    }
    file->part_count = name.count;
    file->parts[name.number - 1] = given;
    uint64_t tensors = given.header.tensor_count;
    for (uint32_t i = 0; i < name.count; i++) {
        if (i == name.number - 1) continue;
        TRY(read_other_part(&given, &name, &keys, i + 1, &file->parts[i], err));
        tensors += file->parts[i].header.tensor_count;
    }
    if (is_split && tensors != keys.tensors)
        return error_set(err, GPTOSS_BAD_INPUT, "%s: its %u parts hold %llu tensors, but split.tensors.count says %llu",
                         path, name.count, (unsigned long long)tensors, (unsigned long long)keys.tensors);
    return GPTOSS_OK;
}

/* ---- the directory ---- */

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const gguf_tensor *const *)a)->name, (*(const gguf_tensor *const *)b)->name);
}

static gptoss_status join_directories(gguf_file *file, gptoss_error *err) {
    for (uint32_t i = 0; i < file->part_count; i++) file->tensor_count += file->parts[i].header.tensor_count;
    TRY(mem_array(file->tensor_count, sizeof file->tensors[0], "tensor directory", &file->tensors, err));
    TRY(mem_array(file->tensor_count, sizeof file->by_name[0], "tensor index", &file->by_name, err));
    size_t n = 0;
    for (uint32_t i = 0; i < file->part_count; i++) {
        gguf_header *h = &file->parts[i].header;
        for (size_t j = 0; j < h->tensor_count; j++, n++) {
            file->tensors[n] = h->tensors[j];
            file->tensors[n].part = i;
            file->by_name[n] = &file->tensors[n];
        }
        free(h->tensors);
        h->tensors = NULL;
    }
    qsort(file->by_name, n, sizeof file->by_name[0], compare_names);
    for (size_t i = 1; i < n; i++) {
        const gguf_tensor *t = file->by_name[i];
        if (compare_names(&file->by_name[i - 1], &file->by_name[i]) != 0) continue;
        char shown[QUOTE_NAME];
        return error_set(err, GPTOSS_BAD_INPUT, "%s: tensor %s appears twice", file->parts[t->part].path,
                         quote_text(t->name, strlen(t->name), shown, sizeof shown));
    }
    return GPTOSS_OK;
}

static uint64_t hash_headers(const gguf_file *file) {
    uint64_t hash = 14695981039346656037u;
    for (uint32_t i = 0; i < file->part_count; i++) {
        const gguf_header *h = &file->parts[i].header;
        for (size_t j = 0; j < h->size; j++) hash = (hash ^ h->bytes[j]) * 1099511628211u;
    }
    return hash;
}

gptoss_status gguf_open(const char *path, gguf_file **out, gptoss_error *err) {
    gguf_file *file;
    TRY(mem_array(1, sizeof *file, "GGUF file", &file, err));
    gptoss_status status = read_parts(file, path, err);
    if (status == GPTOSS_OK) status = join_directories(file, err);
    if (status != GPTOSS_OK) {
        gguf_close(file);
        return status;
    }
    file->fingerprint = hash_headers(file);
    *out = file;
    return GPTOSS_OK;
}

void gguf_close(gguf_file *file) {
    if (!file) return;
    for (uint32_t i = 0; i < file->part_count; i++) part_free(&file->parts[i]);
    free(file->parts);
    free(file->tensors);
    free(file->by_name);
    free(file);
}

/* ---- looking ---- */

const gguf_part *gguf_part_at(const gguf_file *file, uint32_t index) { return &file->parts[index]; }

uint32_t gguf_version(const gguf_file *file) { return file->parts[0].header.version; }
uint32_t gguf_part_count(const gguf_file *file) { return file->part_count; }
const char *gguf_part_path(const gguf_file *file, uint32_t index) { return file->parts[index].path; }
uint64_t gguf_part_size(const gguf_file *file, uint32_t index) { return file->parts[index].size; }
uint64_t gguf_alignment(const gguf_file *file) { return file->parts[0].alignment; }
uint64_t gguf_fingerprint(const gguf_file *file) { return file->fingerprint; }

size_t gguf_tensor_count(const gguf_file *file) { return file->tensor_count; }
const gguf_tensor *gguf_tensor_at(const gguf_file *file, size_t index) { return &file->tensors[index]; }

const gguf_tensor *gguf_find_tensor(const gguf_file *file, const char *name) {
    gguf_tensor wanted = {.name = name};
    const gguf_tensor *key = &wanted;
    const gguf_tensor **found = bsearch(&key, file->by_name, file->tensor_count, sizeof key, compare_names);
    return found ? *found : NULL;
}

size_t gguf_value_count(const gguf_file *file) { return file->parts[0].header.value_count; }
const gguf_value *gguf_value_at(const gguf_file *file, size_t index) { return &file->parts[0].header.values[index]; }
const gguf_value *gguf_find_value(const gguf_file *file, const char *key) {
    return part_find_value(&file->parts[0], key);
}
