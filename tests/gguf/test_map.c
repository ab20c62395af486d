#include "gguf/map.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/craft.h"

/* Two parts of PAGES pages or so each. Byte b of part p is pattern(p, b) wherever it is tensor data. */
enum { PAGES = 64, TENSORS = 2 };

static char paths[2][256];
static uint64_t page;

static uint8_t pattern(uint32_t part, uint64_t offset) { return (uint8_t)(offset * 7 + offset / 4096 * 31 + part); }

static void save_part(uint16_t number) {
    craft c = {0};
    uint64_t bytes = PAGES * page;
    craft_head(&c, 3, 1, 3);
    craft_key_split(&c, number, 2, TENSORS);
    craft_tensor(&c, number ? "b" : "a", TYPE_I8, 0, 1, (uint64_t[]){bytes});
    craft_align(&c, 32);
    size_t start = c.bytes.size;
    craft_data(&c, bytes);
    for (size_t i = start; i < c.bytes.size; i++) c.bytes.data[i] = (char)pattern(number, i);
    craft_save(&c, paths[number]);
    craft_free(&c);
}

static int make_files(void **state) {
    if (craft_folder_make(state) != 0) return -1;
    page = (uint64_t)sysconf(_SC_PAGESIZE);
    for (int i = 0; i < 2; i++)
        snprintf(paths[i], sizeof paths[i], "%s/m-%05d-of-00002.gguf", (const char *)*state, i + 1);
    save_part(0);
    save_part(1);
    return 0;
}

/* What the kernel says this process has mapped of a file: pages[i] maps of page i. Returns the number of mappings. */
static int mapped_pages(const char *path, int pages[PAGES + 2]) {
    FILE *f = fopen("/proc/self/maps", "r");
    assert_non_null(f);
    memset(pages, 0, (PAGES + 2) * sizeof pages[0]);
    char line[1024], rights[8];
    unsigned long long start, end, offset;
    int mappings = 0;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        const char *file = strchr(line, '/');
        if (!file || strcmp(file, path) != 0) continue;
        assert_int_equal(sscanf(line, "%llx-%llx %7s %llx", &start, &end, rights, &offset), 4);
        assert_true(rights[0] == 'r' && rights[1] == '-' && rights[2] == '-');
        for (; start < end; start += page, offset += page) {
            assert_true(offset / page < PAGES + 2);
            pages[offset / page]++;
        }
        mappings++;
    }
    fclose(f);
    return mappings;
}

static int open_files(void) {
    int count = 0;
    DIR *fds = opendir("/proc/self/fd");
    assert_non_null(fds);
    while (readdir(fds)) count++;
    closedir(fds);
    return count;
}

/* Maps `ranges`, closes the file, and checks: the pages mapped, each once; every byte of the ranges where it should be;
 * no address outside them. */
static void check(const gguf_range *ranges, size_t count, int want_mappings) {
    gguf_file *file;
    gguf_map *map;
    assert_ok(gguf_open(paths[0], &file, err));
    int fds = open_files();
    assert_ok(gguf_map_open(file, ranges, count, &map, err));
    assert_int_equal(open_files(), fds);
    static uint8_t wanted[2][(PAGES + 2) * 65536]; /* bytes in a range; pages are at most 64 KiB */
    static uint8_t pages_wanted[2][PAGES + 2];
    uint64_t sizes[2] = {gguf_part_size(file, 0), gguf_part_size(file, 1)};
    gguf_close(file);

    memset(wanted, 0, sizeof wanted);
    memset(pages_wanted, 0, sizeof pages_wanted);
    for (size_t i = 0; i < count; i++)
        for (uint64_t k = ranges[i].offset; k < ranges[i].offset + ranges[i].bytes; k++) {
            wanted[ranges[i].part][k] = 1;
            pages_wanted[ranges[i].part][k / page] = 1;
        }
    int mappings = 0;
    uint64_t bytes = 0;
    for (uint32_t part = 0; part < 2; part++) {
        int pages[PAGES + 2];
        mappings += mapped_pages(paths[part], pages);
        for (uint64_t i = 0; i < PAGES + 2; i++) {
            assert_int_equal(pages[i], pages_wanted[part][i]);
            bytes += pages_wanted[part][i] * page;
        }
        for (uint64_t k = 0; k < sizes[part]; k++) {
            const uint8_t *at = gguf_map_at(map, part, k, 1);
            assert_int_equal(at != NULL, wanted[part][k]);
            if (at && k > page) assert_int_equal(*at, pattern(part, k));
        }
        assert_null(gguf_map_at(map, part, sizes[part], 1));
        assert_null(gguf_map_at(map, part, UINT64_MAX, 1));
    }
    assert_int_equal(mappings, want_mappings);
    assert_int_equal(gguf_map_bytes(map), bytes);
    size_t run_bytes, of_all_runs = 0, runs = 0;
    for (; gguf_map_run(map, runs, &run_bytes); runs++) of_all_runs += run_bytes;
    assert_int_equal(runs, want_mappings);
    assert_int_equal(of_all_runs, bytes);
    for (size_t i = 0; i < count; i++) {
        if (ranges[i].bytes == 0) continue;
        assert_non_null(gguf_map_at(map, ranges[i].part, ranges[i].offset, ranges[i].bytes));
        assert_null(gguf_map_at(map, ranges[i].part, ranges[i].offset, UINT64_MAX));
        assert_null(gguf_map_at(map, ranges[i].part, ranges[i].offset, sizes[ranges[i].part] + 1));
    }
    gguf_map_close(map);
    for (uint32_t part = 0; part < 2; part++) assert_int_equal(mapped_pages(paths[part], (int[PAGES + 2]){0}), 0);
}

static void the_pages_of_a_range_are_mapped(void **state) {
    (void)state;
    check((gguf_range[]){{0, 3 * page, page}}, 1, 1);
    check((gguf_range[]){{0, 3 * page + 5, 1}}, 1, 1);
    check((gguf_range[]){{1, 4 * page - 1, 2}}, 1, 1);
    check((gguf_range[]){{0, 0, 10}}, 1, 1);
}

static void ranges_that_share_or_adjoin_pages_become_one(void **state) {
    (void)state;
    check((gguf_range[]){{0, 9 * page + 10, 20}, {0, 9 * page + 100, 20}}, 2, 1);                  /* in one page */
    check((gguf_range[]){{0, 3 * page + 7, page}, {0, 5 * page + 7, 10}}, 2, 1);                   /* neighbours */
    check((gguf_range[]){{0, 3 * page, page}, {0, 5 * page, page}}, 2, 2);                         /* a page between */
    check((gguf_range[]){{0, 8 * page, 90}, {0, 8 * page + 40, 20}, {0, 8 * page + 90, 9}}, 3, 1); /* overlap, touch */
    check((gguf_range[]){{0, 5 * page, page}, {1, 6 * page, page}}, 2, 2); /* of different parts */
}

static void a_look_may_span_ranges_that_touch(void **state) {
    (void)state;
    gguf_file *file;
    gguf_map *map;
    assert_ok(gguf_open(paths[0], &file, err));
    const gguf_range ranges[] = {{0, 4 * page, page}, {0, 3 * page, page}, {0, 5 * page + 1, 10}};
    assert_ok(gguf_map_open(file, ranges, 3, &map, err));
    gguf_close(file);
    assert_non_null(gguf_map_at(map, 0, 3 * page, 2 * page));
    assert_null(gguf_map_at(map, 0, 3 * page, 2 * page + 1)); /* a byte that was not asked for, though it is mapped */
    assert_null(gguf_map_at(map, 0, 5 * page, 1));
    assert_non_null(gguf_map_at(map, 0, 5 * page + 1, 10));
    gguf_map_close(map);
}

static void order_and_empty_ranges_do_not_matter(void **state) {
    (void)state;
    check((gguf_range[]){{1, 40 * page, 9}, {0, 20 * page, 9}, {1, 2 * page, 0}, {0, 2 * page, 9}, {1, 4 * page, 9}}, 5,
          4);
    check((gguf_range[]){{0, 3 * page, 0}}, 1, 0);
    check(NULL, 0, 0);
}

static void the_last_bytes_of_a_file_can_be_mapped(void **state) {
    (void)state;
    struct stat info;
    assert_int_equal(stat(paths[0], &info), 0);
    uint64_t size = (uint64_t)info.st_size;
    check((gguf_range[]){{0, size - 3, 3}, {1, 0, size}}, 2, 2);
    check((gguf_range[]){{0, size, 0}}, 1, 0);
}

static void many_random_ranges_are_mapped_exactly(void **state) {
    (void)state;
    uint64_t seed = 1;
    for (int round = 0; round < 20; round++) {
        gguf_range ranges[12];
        for (size_t i = 0; i < 12; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            uint64_t bytes = seed >> 33 & 3 ? (seed >> 40) % 300 : (seed >> 40) % (4 * page);
            ranges[i] = (gguf_range){(uint32_t)(seed >> 60 & 1), (seed >> 20) % (PAGES * page - bytes), bytes};
        }
        /* Not checked here: how many mappings; that follows from the pages, each mapped once. */
        gguf_file *file;
        gguf_map *map;
        assert_ok(gguf_open(paths[0], &file, err));
        assert_ok(gguf_map_open(file, ranges, 12, &map, err));
        int runs = 0;
        for (uint32_t part = 0; part < 2; part++) runs += mapped_pages(paths[part], (int[PAGES + 2]){0});
        gguf_map_close(map);
        gguf_close(file);
        check(ranges, 12, runs);
    }
}

static void ranges_outside_the_file_are_misuse(void **state) {
    (void)state;
    gguf_file *file;
    gguf_map *map = NULL;
    assert_ok(gguf_open(paths[0], &file, err));
    uint64_t size = gguf_part_size(file, 1);
    const gguf_range bad[] = {{2, 0, 1}, {1, size, 1}, {1, 0, size + 1}, {1, UINT64_MAX, 2}, {1, 2, UINT64_MAX}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        gptoss_error fault = {0};
        gguf_range ranges[] = {{0, 4 * page, 10}, bad[i]};
        assert_int_equal(gguf_map_open(file, ranges, 2, &map, &fault), GPTOSS_MISUSE);
        assert_true(strlen(fault.text) > 0);
        assert_null(map);
        assert_int_equal(mapped_pages(paths[0], (int[PAGES + 2]){0}), 0);
    }
    gguf_close(file);
    gguf_map_close(NULL);
}

static void a_file_replaced_since_it_was_opened_is_refused(void **state) {
    (void)state;
    gguf_file *file;
    gguf_map *map = NULL;
    assert_ok(gguf_open(paths[0], &file, err));
    const gguf_range ranges[] = {{0, page, 10}, {1, page, 10}};
    struct stat info;
    assert_int_equal(stat(paths[1], &info), 0);
    assert_int_equal(truncate(paths[1], 2 * page), 0);
    gptoss_error fault = {0};
    assert_int_equal(gguf_map_open(file, ranges, 2, &map, &fault), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(fault.text, paths[1]));
    assert_int_equal(mapped_pages(paths[0], (int[PAGES + 2]){0}), 0); /* undone */
    save_part(1);
    char other[300]; /* the same bytes, but another file */
    snprintf(other, sizeof other, "%s.other", paths[0]);
    assert_int_equal(rename(paths[0], other), 0);
    save_part(0);
    assert_int_equal(gguf_map_open(file, ranges, 1, &map, &fault), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(fault.text, paths[0]));
    assert_int_equal(rename(other, paths[0]), 0);
    assert_int_equal(remove(paths[1]), 0);
    assert_int_equal(gguf_map_open(file, ranges, 2, &map, &fault), GPTOSS_BAD_INPUT);
    assert_non_null(strstr(fault.text, paths[1]));
    assert_null(map);
    gguf_close(file);
    save_part(1);
}

static void every_failed_allocation_is_reported(void **state) {
    (void)state;
    gguf_file *file;
    assert_ok(gguf_open(paths[0], &file, err));
    const gguf_range ranges[] = {{0, page, 10}, {1, page, 10}};
    for (long n = 0;; n++) {
        assert_true(n < 20);
        gguf_map *map = NULL;
        mem_fail_after(n);
        gptoss_status status = gguf_map_open(file, ranges, 2, &map, NULL);
        mem_fail_after(-1);
        if (status == GPTOSS_OK) {
            assert_true(n > 1);
            gguf_map_close(map);
            break;
        }
        assert_int_equal(status, GPTOSS_NO_MEMORY);
        assert_null(map);
    }
    gguf_close(file);
}

/* Bytes of a mapping that this process has touched. */
static unsigned long long touched(const void *address) {
    FILE *f = fopen("/proc/self/smaps", "r");
    char line[1024];
    unsigned long long start, end, kib = 0;
    bool here = false;
    while (f && fgets(line, sizeof line, f)) {
        if (sscanf(line, "%llx-%llx", &start, &end) == 2)
            here = start <= (uintptr_t)address && (uintptr_t)address < end;
        if (here && sscanf(line, "Rss: %llu", &kib) == 1) break;
    }
    if (f) fclose(f);
    return kib << 10;
}

enum { UNTESTABLE = 77 };

/* As another user: whether loading touches all of a mapping. */
static int load_as_nobody(void) {
    gguf_file *file;
    gguf_map *map;
    size_t bytes;
    if (setuid(65534) != 0) return UNTESTABLE;
    if (gguf_open(paths[0], &file, NULL) != GPTOSS_OK ||
        gguf_map_open(file, (gguf_range[]){{0, 0, PAGES * page}}, 1, &map, NULL) != GPTOSS_OK)
        return 1;
    const volatile uint8_t *run = gguf_map_run(map, 0, &bytes);
    if (madvise((void *)(uintptr_t)run, bytes, -1) == 0) return UNTESTABLE; /* an emulator, which takes no advice */
    gguf_map_load(map, NULL, NULL);
    unsigned long long loaded = touched((const void *)run);
    for (size_t i = 0; i < bytes; i += page) (void)run[i];
    if (touched((const void *)run) != PAGES * page) return UNTESTABLE; /* the system does not tell */
    return loaded == PAGES * page ? 0 : 1;
}

/* Which pages of another's file are in memory the system does not tell: all must be asked for. */
static void anothers_file_is_loaded(void **state) {
    int status = 1;
    if (geteuid() != 0) skip();
    assert_int_equal(chmod(*state, 0755), 0);
    pid_t child = fork();
    if (child == 0) _exit(load_as_nobody());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == UNTESTABLE) skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_pages_of_a_range_are_mapped),
        cmocka_unit_test(ranges_that_share_or_adjoin_pages_become_one),
        cmocka_unit_test(a_look_may_span_ranges_that_touch),
        cmocka_unit_test(order_and_empty_ranges_do_not_matter),
        cmocka_unit_test(the_last_bytes_of_a_file_can_be_mapped),
        cmocka_unit_test(many_random_ranges_are_mapped_exactly),
        cmocka_unit_test(anothers_file_is_loaded),
        cmocka_unit_test(ranges_outside_the_file_are_misuse),
        cmocka_unit_test(a_file_replaced_since_it_was_opened_is_refused),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, make_files, craft_folder_remove);
}
