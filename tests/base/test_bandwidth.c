/* Reading memory for its speed: all of it, by any team, whatever its size and place. */
#include <sys/mman.h>
#include <unistd.h>

#include "base/bandwidth.h"
#include "support.h"

static void any_runs_can_be_read(void **state) {
    (void)state;
    static uint8_t data[100000];
    for (int threads = 1; threads <= 3; threads++) {
        team *t;
        assert_ok(team_open(threads, &t, err));
        const bandwidth_run runs[] = {{data + 1, 1}, {data, sizeof data}, {data + 3, 0}, {data + 7, 6400}};
        assert_true(bandwidth_read(t, runs, 4) > 0);
        assert_true(bandwidth_read(t, runs, 0) == 0);
        team_close(t);
    }
}

static size_t touched_pages(uint8_t *memory, size_t pages, size_t page) {
    unsigned char resident[256];
    size_t touched = 0;
    assert_int_equal(mincore(memory, pages * page, resident), 0);
    for (size_t i = 0; i < pages; i++) touched += resident[i] & 1;
    return touched;
}

/* A file's pages come into memory when they are read, and its every page was. */
static void every_page_is_read(void **state) {
    (void)state;
    enum { PAGES = 200 };
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(ftruncate(fileno(f), PAGES * (off_t)page), 0);
    uint8_t *memory = mmap(NULL, PAGES * page, PROT_READ, MAP_PRIVATE, fileno(f), 0);
    assert_true(memory != MAP_FAILED);
    team *t;
    assert_ok(team_open(2, &t, err));
    assert_true(bandwidth_read(t, &(bandwidth_run){memory, PAGES * page}, 1) > 0);
    assert_int_equal(touched_pages(memory, PAGES, page), PAGES);
    team_close(t);
    munmap(memory, PAGES * page);
    fclose(f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_runs_can_be_read),
        cmocka_unit_test(every_page_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
