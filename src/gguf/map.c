#include "gguf/map.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/part.h"

/* Requested bytes [offset, end) of a part; spans neither overlap nor touch. */
typedef struct span {
    uint32_t part;
    uint64_t offset, end;
    const uint8_t *address; /* of byte `offset` */
} span;

typedef struct mapping {
    void *address;
    size_t bytes; /* whole pages */
    bool is_told; /* the system tells what of it is in memory */
} mapping;

struct gguf_map {
    span *spans; /* by part and offset */
    size_t span_count;
    mapping *mappings;
    size_t mapping_count;
    uint64_t bytes;
};

static gptoss_status check_range(const gguf_file *file, const gguf_range *range, gptoss_error *err) {
    if (range->part >= gguf_part_count(file))
        return error_set(err, GPTOSS_MISUSE, "cannot map bytes of part %u of %u", range->part, gguf_part_count(file));
    uint64_t size = gguf_part_size(file, range->part);
    if (range->offset <= size && range->bytes <= size - range->offset) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "%s: cannot map %llu bytes at %llu of a file of %llu bytes",
                     gguf_part_path(file, range->part), (unsigned long long)range->bytes,
                     (unsigned long long)range->offset, (unsigned long long)size);
}

static int compare_spans(const void *a, const void *b) {
    const span *x = a, *y = b;
    if (x->part != y->part) return x->part < y->part ? -1 : 1;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* Sorts the spans and joins those that overlap or touch; returns how many are left. */
static size_t join_spans(span *spans, size_t count) {
    qsort(spans, count, sizeof spans[0], compare_spans);
    size_t kept = 0;
    for (size_t i = 0; i < count; i++) {
        span *last = kept ? &spans[kept - 1] : NULL;
        if (last && last->part == spans[i].part && spans[i].offset <= last->end) {
            if (spans[i].end > last->end) last->end = spans[i].end;
        } else {
            spans[kept++] = spans[i];
        }
    }
    return kept;
}

static uint64_t page_size(void) { return (uint64_t)sysconf(_SC_PAGESIZE); }
static uint64_t page_start(uint64_t offset) { return offset - offset % page_size(); }
static uint64_t page_end(uint64_t offset) { return page_start(offset + page_size() - 1); }

/* Where a page of the file is not in memory yet, the kernel reads 2 MiB around it into one page, if its file system
 * can: 500 times fewer entries of page tables to walk while weights stream by. Advice: whether it is taken is not our
 * concern. */
static void ask_for_huge_pages(void *address, size_t bytes) {
#ifdef MADV_HUGEPAGE
    madvise(address, bytes, MADV_HUGEPAGE);
#else
    (void)address;
    (void)bytes;
#endif
}

/* Of files that this process neither owns nor may write Linux says, since 5.2, that all of them is in memory. */
static bool may_be_told(const gguf_part *p, int fd) {
    struct stat info;
    return fstat(fd, &info) == 0 && (info.st_uid == geteuid() || access(p->path, W_OK) == 0);
}

/* Maps the pages of spans[0..count), all of one file and each beginning within or right behind the last one's pages. */
static gptoss_status map_run(gguf_map *map, const gguf_part *p, int fd, bool is_told, span *spans, size_t count,
                             gptoss_error *err) {
    uint64_t start = page_start(spans[0].offset), bytes = page_end(spans[count - 1].end) - start;
    /* Private or shared, unwritten pages are the page cache's own, the same for all ranks of a machine; private maps
     * also work on network file systems that refuse shared ones. */
    void *address =
        bytes <= SIZE_MAX ? mmap(NULL, (size_t)bytes, PROT_READ, MAP_PRIVATE, fd, (off_t)start) : MAP_FAILED;
    if (address == MAP_FAILED)
        return error_set_errno(err, errno == ENOMEM ? GPTOSS_NO_MEMORY : GPTOSS_IO, errno,
                               "%s: cannot map %llu bytes at %llu", p->path, (unsigned long long)bytes,
                               (unsigned long long)start);
    ask_for_huge_pages(address, (size_t)bytes);
    map->mappings[map->mapping_count++] = (mapping){address, (size_t)bytes, is_told};
    map->bytes += bytes;
    for (size_t i = 0; i < count; i++) spans[i].address = (const uint8_t *)address + (spans[i].offset - start);
    return GPTOSS_OK;
}

static gptoss_status map_part(gguf_map *map, const gguf_part *p, span *spans, size_t count, gptoss_error *err) {
    int fd = -1;
    TRY(part_reopen(p, &fd, err));
    bool is_told = may_be_told(p, fd);
    gptoss_status status = GPTOSS_OK;
    for (size_t i = 0, next; i < count && status == GPTOSS_OK; i = next) {
        for (next = i + 1; next < count; next++)
            if (page_start(spans[next].offset) > page_end(spans[next - 1].end)) break;
        status = map_run(map, p, fd, is_told, spans + i, next - i, err);
    }
    close(fd);
    return status;
}

static gptoss_status fill(gguf_map *map, const gguf_file *file, const gguf_range *ranges, size_t count,
                          gptoss_error *err) {
    TRY(mem_array(count, sizeof map->spans[0], "ranges to map", &map->spans, err));
    for (size_t i = 0; i < count; i++) {
        TRY(check_range(file, &ranges[i], err));
        if (ranges[i].bytes == 0) continue;
        map->spans[map->span_count++] =
            (span){ranges[i].part, ranges[i].offset, ranges[i].offset + ranges[i].bytes, NULL};
    }
    map->span_count = join_spans(map->spans, map->span_count);
    TRY(mem_array(map->span_count, sizeof map->mappings[0], "maps of a file", &map->mappings, err));
    for (size_t i = 0, next; i < map->span_count; i = next) {
        for (next = i + 1; next < map->span_count && map->spans[next].part == map->spans[i].part;) next++;
        TRY(map_part(map, gguf_part_at(file, map->spans[i].part), map->spans + i, next - i, err));
    }
    return GPTOSS_OK;
}

gptoss_status gguf_map_open(const gguf_file *file, const gguf_range *ranges, size_t count, gguf_map **out,
                            gptoss_error *err) {
    gguf_map *map;
    TRY(mem_array(1, sizeof *map, "map of a file", &map, err));
    gptoss_status status = fill(map, file, ranges, count, err);
    if (status != GPTOSS_OK) {
        gguf_map_close(map);
        return status;
    }
    *out = map;
    return GPTOSS_OK;
}

void gguf_map_close(gguf_map *map) {
    if (!map) return;
    for (size_t i = 0; i < map->mapping_count; i++) munmap(map->mappings[i].address, map->mappings[i].bytes);
    free(map->mappings);
    free(map->spans);
    free(map);
}

const void *gguf_map_at(const gguf_map *map, uint32_t part, uint64_t offset, uint64_t bytes) {
    size_t low = 0, high = map->span_count; /* spans[low - 1] begins at or before the place, spans[high] behind it */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const span *s = &map->spans[middle];
        if (s->part < part || (s->part == part && s->offset <= offset))
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0) return NULL;
    const span *s = &map->spans[low - 1];
    if (s->part != part || offset > s->end || bytes > s->end - offset) return NULL;
    return s->address + (offset - s->offset);
}

enum { LOAD_STEP = 16 << 20 };

static bool in_memory(const mapping *m, const uint8_t *address, size_t bytes) {
    unsigned char resident[LOAD_STEP / 4096];
    size_t pages = (bytes + page_size() - 1) / page_size();
    if (!m->is_told || mincore((void *)address, bytes, resident) != 0) return false;
    for (size_t i = 0; i < pages; i++)
        if (!(resident[i] & 1)) return false;
    return true;
}

static void fault_in(const uint8_t *address, size_t bytes) {
#ifdef MADV_POPULATE_READ
    if (madvise((void *)address, bytes, MADV_POPULATE_READ) == 0) return;
#endif
    const volatile uint8_t *page = address;
    for (size_t i = 0; i < bytes; i += page_size()) (void)page[i];
}

void gguf_map_load(const gguf_map *map, gguf_load_report *report, void *context) {
    uint64_t done = 0;
    for (size_t i = 0; i < map->mapping_count; i++) {
        const mapping *m = &map->mappings[i];
        for (size_t at = 0; at < m->bytes; at += LOAD_STEP) {
            const uint8_t *address = (const uint8_t *)m->address + at;
            size_t bytes = m->bytes - at < LOAD_STEP ? m->bytes - at : LOAD_STEP;
            if (!in_memory(m, address, bytes)) fault_in(address, bytes);
            done += bytes;
            if (report && !report(context, done, map->bytes)) return;
        }
    }
}

uint64_t gguf_map_bytes(const gguf_map *map) { return map->bytes; }

const void *gguf_map_run(const gguf_map *map, size_t index, size_t *bytes) {
    if (index >= map->mapping_count) return NULL;
    *bytes = map->mappings[index].bytes;
    return map->mappings[index].address;
}
