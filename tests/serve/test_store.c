/* The store of responses: in memory, in a file, and in files that are none. */
#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "serve/store.h"
#include "support.h"

enum { LIMIT = 1 << 20 };

static char folder[] = "/tmp/gptoss-store-XXXXXX";
static char path[64];

static int make_folder(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(path, sizeof path, "%s/responses.db", folder);
    return 0;
}

static int remove_files(void **state) {
    char name[80];
    (void)state;
    unlink(path);
    for (int i = 0; i < 2; i++) {
        snprintf(name, sizeof name, "%s%s", path, i ? "-wal" : "-shm");
        unlink(name);
    }
    return 0;
}

static int remove_folder(void **state) {
    remove_files(state);
    return rmdir(folder);
}

static store *open_store(const char *where, uint64_t limit) {
    store *s = NULL;
    assert_ok(store_open(where, limit, &s, err));
    return s;
}

static bool has(store *s, const char *id) {
    store_entry e = {0};
    bool found = false;
    assert_ok(store_find(s, id, &e, &found, err));
    store_entry_free(&e);
    return found;
}

static void write_events(store *s, const char *id, int first, int count, const char *response) {
    char texts[8][16];
    store_event events[8];
    assert_true(count <= 8);
    for (int i = 0; i < count; i++) {
        snprintf(texts[i], sizeof texts[i], "<%d>", first + i);
        events[i] = (store_event){first + i, texts[i], strlen(texts[i])};
    }
    const store_change change = {
        .events = events, .count = (size_t)count, .response = response, .ended = response != NULL};
    assert_ok(store_write(s, id, &change, err));
}

/* All events after a number, put together. */
static void check_events(store *s, const char *id, int64_t after, const char *wanted, bool wanted_running) {
    buffer all = {0};
    bool running = false;
    for (int64_t before = after - 1; before != after;) {
        before = after;
        assert_ok(store_read_events(s, id, &after, &all, &running, err));
    }
    assert_string_equal(all.data ? all.data : "", wanted);
    assert_int_equal(running, wanted_running);
    buffer_free(&all);
}

static void check_life(store *s) {
    store_entry e = {0};
    bool found, deleted;
    assert_ok(store_add(s, "a", "{\"new\":1}", "[\"question\"]", err));
    assert_ok(store_find(s, "a", &e, &found, err));
    assert_true(found && e.running && e.last_event == -1);
    assert_string_equal(e.response.data, "{\"new\":1}");
    assert_string_equal(e.input.data, "[\"question\"]");
    store_entry_free(&e);
    write_events(s, "a", 0, 3, NULL);
    check_events(s, "a", -1, "<0><1><2>", true);
    write_events(s, "a", 3, 2, "{\"done\":1}");
    check_events(s, "a", 1, "<2><3><4>", false);
    check_events(s, "a", 4, "", false);
    e = (store_entry){0};
    assert_ok(store_find(s, "a", &e, &found, err));
    assert_true(found && !e.running && e.last_event == 4);
    assert_string_equal(e.response.data, "{\"done\":1}");
    store_entry_free(&e);
    assert_ok(store_delete(s, "a", &deleted, err));
    assert_true(deleted && !has(s, "a"));
    assert_ok(store_delete(s, "a", &deleted, err));
    assert_false(deleted);
    check_events(s, "a", -1, "", false);
}

static void keeps_responses_and_events(void **state) {
    (void)state;
    store *s = open_store(NULL, LIMIT);
    check_life(s);
    store_close(s);
    s = open_store(path, LIMIT);
    check_life(s);
    store_close(s);
}

static void takes_any_id(void **state) {
    (void)state;
    static const char *const ids[] = {"",        "'; DROP TABLE responses; --", "%", "\xF0\x9F\x98\x80", "a\"b\\c",
                                      "\xFF\xFE"};
    store *s = open_store(NULL, LIMIT);
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) assert_false(has(s, ids[i]));
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) assert_ok(store_add(s, ids[i], "{}", "[]", err));
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) assert_true(has(s, ids[i]));
    gptoss_error why;
    assert_int_equal(store_add(s, "%", "{}", "[]", &why), GPTOSS_IO); /* there is one */
    assert_ok(store_add(s, "b", "{}", "[]", err));                    /* nothing is left half done */
    store_close(s);
}

static void tells_many_events_in_parts(void **state) {
    (void)state;
    store *s = open_store(NULL, LIMIT);
    buffer wanted = {0};
    assert_ok(store_add(s, "a", "{}", "[]", err));
    for (int i = 0; i < 1000; i += 8) write_events(s, "a", i, 8, NULL);
    for (int i = 0; i < 1000; i++) assert_ok(buffer_printf(&wanted, err, "<%d>", i));
    check_events(s, "a", -1, wanted.data, true);
    buffer_free(&wanted);
    store_close(s);
}

static void drops_the_oldest(void **state) {
    (void)state;
    enum { COUNT = 20, BYTES = 1000 };
    char id[8], text[BYTES + 1];
    memset(text, ' ', BYTES);
    text[BYTES] = '\0';
    store *s = open_store(path, 5 * BYTES + 100);
    assert_ok(store_add(s, "runs", "{}", "[]", err));
    for (int i = 0; i < COUNT; i++) {
        snprintf(id, sizeof id, "r%d", i);
        assert_ok(store_add(s, id, "", "[]", err));
        const store_change end = {.response = text, .ended = true};
        assert_ok(store_write(s, id, &end, err));
    }
    for (int reopened = 0; reopened < 2; reopened++) {
        for (int i = 0; i < COUNT; i++) {
            snprintf(id, sizeof id, "r%d", i);
            assert_int_equal(has(s, id), i >= COUNT - 5);
        }
        assert_true(has(s, "runs"));
        store_close(s);
        s = open_store(path, 5 * BYTES + 100);
    }
    store_close(s);
    s = open_store(path, 1); /* the newest stays */
    assert_true(has(s, "r19") && !has(s, "r18") && has(s, "runs"));
    store_close(s);
}

static void survives_a_sudden_death(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        store *s = NULL;
        const store_event events[] = {{0, "zero", 4}, {1, "one", 3}};
        const store_change begun = {.events = events, .count = 2}, over = {.response = "{\"b\":2}", .ended = true};
        if (store_open(path, LIMIT, &s, NULL) == GPTOSS_OK &&
            store_add(s, "a", "{\"a\":1}", "[1]", NULL) == GPTOSS_OK &&
            store_write(s, "a", &begun, NULL) == GPTOSS_OK && store_add(s, "b", "{}", "[2]", NULL) == GPTOSS_OK &&
            store_write(s, "b", &over, NULL) == GPTOSS_OK)
            raise(SIGKILL);
        _exit(1);
    }
    int how = 0;
    assert_int_equal(waitpid(child, &how, 0), child);
    assert_true(WIFSIGNALED(how));
    store *s = open_store(path, LIMIT);
    buffer id = {0};
    bool found = false;
    assert_ok(store_find_running(s, &id, &found, err));
    assert_true(found);
    assert_string_equal(id.data, "a");
    check_events(s, "a", -1, "zeroone", true);
    const store_change failed = {.response = "{\"a\":0}", .ended = true};
    assert_ok(store_write(s, "a", &failed, err));
    buffer_clear(&id);
    assert_ok(store_find_running(s, &id, &found, err));
    assert_false(found);
    assert_true(has(s, "b"));
    buffer_free(&id);
    store_close(s);
}

static void check_item(store *s, const char *id, const char *wanted) {
    buffer text = {0};
    bool found = false;
    assert_ok(store_find_item(s, id, &text, &found, err));
    assert_int_equal(found, wanted != NULL);
    if (wanted) assert_string_equal(text.data, wanted);
    buffer_free(&text);
}

static void add_items(store *s, const char *response, const store_item *items, size_t count) {
    const store_change change = {.items = items, .item_count = count};
    assert_ok(store_add(s, response, "{}", "[]", err));
    assert_ok(store_write(s, response, &change, err));
}

static void finds_items(void **state) {
    (void)state;
    store *s = open_store(path, LIMIT);
    const store_item first[] = {{"m", "1"}, {"n", "old"}, {"n", "2"}}, second[] = {{"m", "3"}};
    const store_change over = {.response = "{}", .ended = true};
    bool deleted;
    add_items(s, "a", first, 3);
    check_item(s, "m", "1");
    check_item(s, "n", "2");
    check_item(s, "a", NULL);
    add_items(s, "b", second, 1);
    check_item(s, "m", "3");
    assert_ok(store_write(s, "a", &over, err));
    assert_ok(store_write(s, "b", &over, err));
    store_close(s);
    s = open_store(path, LIMIT);
    check_item(s, "m", "3");
    assert_ok(store_delete(s, "b", &deleted, err));
    check_item(s, "m", "1");
    store_close(s);
}

/* Items count among what is kept, and go with their responses. */
static void drops_items_of_old_responses(void **state) {
    (void)state;
    enum { SIZE = LIMIT / 3 };
    store *s = open_store(NULL, LIMIT);
    char *text = malloc(SIZE + 1), id[] = "a", item[] = "ma";
    const store_change over = {.response = "{}", .ended = true};
    assert_non_null(text);
    memset(text, 'x', SIZE);
    text[SIZE] = '\0';
    for (int i = 0; i < 5; i++) {
        id[0] = item[1] = (char)('a' + i);
        const store_item one = {item, text};
        add_items(s, id, &one, 1);
        assert_ok(store_write(s, id, &over, err));
    }
    assert_false(has(s, "a"));
    check_item(s, "ma", NULL);
    check_item(s, "mb", NULL);
    check_item(s, "me", text);
    free(text);
    store_close(s);
}

static void check_refusal(const char *where, const char *words) {
    store *s = NULL;
    gptoss_error why = {0};
    assert_int_equal(store_open(where, LIMIT, &s, &why), GPTOSS_MISUSE);
    if (!strstr(why.text, words) || !strstr(why.text, "--store")) fail_msg("%s: %s", where, why.text);
    assert_null(s);
}

static void write_file(const char *text, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    assert_int_equal(fclose(f), 0);
}

static void refuses_other_files(void **state) {
    (void)state;
    char text[4096] = "This is a letter to a friend, and no database. ";
    check_refusal("/nowhere/responses.db", "cannot open /nowhere/responses.db");
    check_refusal(folder, "cannot open");
    write_file(text, strlen(text));
    check_refusal(path, "is no SQLite database");
    write_file(text, sizeof text);
    check_refusal(path, "is no SQLite database");
    char now[sizeof text];
    FILE *f = fopen(path, "rb");
    assert_int_equal(fread(now, 1, sizeof now, f), sizeof now);
    fclose(f);
    assert_memory_equal(now, text, sizeof text); /* and leaves them alone */
}

static void execute(const char *text) {
    sqlite3 *database;
    assert_int_equal(sqlite3_open(path, &database), SQLITE_OK);
    assert_int_equal(sqlite3_exec(database, text, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(database);
}

static void refuses_other_databases(void **state) {
    (void)state;
    execute("CREATE TABLE recipes(name TEXT)");
    check_refusal(path, "another program");
    remove_files(NULL);
    store_close(open_store(path, LIMIT));
    execute("PRAGMA user_version = 99");
    check_refusal(path, "another version");
}

/* Files of version 1 have no items. */
static void takes_over_files_of_before(void **state) {
    (void)state;
    store *s = open_store(path, LIMIT);
    assert_ok(store_add(s, "a", "{}", "[]", err));
    store_close(s);
    execute("DROP TABLE items; PRAGMA user_version = 1");
    s = open_store(path, LIMIT);
    assert_true(has(s, "a"));
    const store_item item = {"m", "1"};
    add_items(s, "b", &item, 1);
    check_item(s, "m", "1");
    store_close(s);
}

static void refuses_a_file_in_use(void **state) {
    (void)state;
    pid_t child = fork();
    if (child == 0) {
        store *s = NULL;
        if (store_open(path, LIMIT, &s, NULL) == GPTOSS_OK) pause();
        _exit(1);
    }
    gptoss_error why = {0};
    store *s = NULL;
    for (int i = 0; i < 500; i++, usleep(10000)) {
        struct stat st;
        if (stat(path, &st) == 0 && st.st_size > 0) break;
    }
    usleep(100000);
    assert_int_equal(store_open(path, LIMIT, &s, &why), GPTOSS_MISUSE);
    assert_non_null(strstr(why.text, "another process uses"));
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    store_close(open_store(path, LIMIT));
}

static void is_for_its_owner_alone(void **state) {
    (void)state;
    struct stat st;
    store *s = open_store(path, LIMIT);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    store_close(s);
}

typedef struct writer {
    pthread_t thread;
    store *store;
    int number;
} writer;

static void *write_much(void *context) {
    enum { ROUNDS = 50 };
    const writer *w = context;
    char id[32];
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(id, sizeof id, "%d-%d", w->number, i);
        const store_event events[] = {{0, id, strlen(id)}, {1, "!", 1}};
        const store_change end = {.events = events, .count = 2, .response = "{}", .ended = true};
        buffer text = {0};
        int64_t after = -1;
        bool running;
        gptoss_error err;
        if (store_add(w->store, id, "{}", "[]", &err) != GPTOSS_OK ||
            store_write(w->store, id, &end, &err) != GPTOSS_OK ||
            store_read_events(w->store, id, &after, &text, &running, &err) != GPTOSS_OK)
            return NULL;
        bool right = after == 1 && !running && memcmp(text.data, id, strlen(id)) == 0;
        buffer_free(&text);
        if (!right) return NULL;
    }
    return context;
}

static void serves_many_threads(void **state) {
    (void)state;
    enum { THREADS = 8 };
    writer writers[THREADS];
    store *s = open_store(path, LIMIT);
    for (int i = 0; i < THREADS; i++) {
        writers[i] = (writer){.store = s, .number = i};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_much, &writers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        void *result;
        assert_int_equal(pthread_join(writers[i].thread, &result), 0);
        assert_non_null(result);
    }
    store_close(s);
}

static void says_when_there_is_no_room(void **state) {
    (void)state;
    char *text = malloc(8 << 20);
    memset(text, 'x', 8 << 20);
    text[(8 << 20) - 1] = '\0';
    pid_t child = fork();
    if (child == 0) { /* the limit is the process's */
        signal(SIGXFSZ, SIG_IGN);
        store *s = NULL;
        gptoss_error why = {0};
        const struct rlimit limit = {1 << 20, 1 << 20};
        bool right = store_open(path, 1 << 30, &s, &why) == GPTOSS_OK && setrlimit(RLIMIT_FSIZE, &limit) == 0 &&
                     store_add(s, "a", text, "[]", &why) == GPTOSS_IO && strstr(why.text, "cannot") &&
                     store_add(s, "b", "{}", "[]", &why) == GPTOSS_OK;
        _exit(right ? 0 : 1);
    }
    int how = 0;
    waitpid(child, &how, 0);
    assert_int_equal(how, 0);
    free(text);
    store *s = open_store(path, LIMIT);
    assert_true(has(s, "b") && !has(s, "a"));
    store_close(s);
}

int main(void) {
#define TEST(name) cmocka_unit_test_teardown(name, remove_files)
    const struct CMUnitTest tests[] = {
        TEST(keeps_responses_and_events),
        TEST(takes_any_id),
        TEST(tells_many_events_in_parts),
        TEST(drops_the_oldest),
        TEST(finds_items),
        TEST(drops_items_of_old_responses),
        TEST(takes_over_files_of_before),
        TEST(survives_a_sudden_death),
        TEST(refuses_other_files),
        TEST(refuses_other_databases),
        TEST(refuses_a_file_in_use),
        TEST(is_for_its_owner_alone),
        TEST(serves_many_threads),
        TEST(says_when_there_is_no_room),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
