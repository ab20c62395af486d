#include "serve/store.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/mem.h"

/* What the database's header says: whose it is, and how its tables look. */
enum { APPLICATION = 0x47504F53, VERSION = 2 };

static const char schema[] =
    "CREATE TABLE responses(number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, running INTEGER NOT NULL,"
    " bytes INTEGER NOT NULL, response TEXT NOT NULL, input TEXT NOT NULL);"
    "CREATE TABLE events(response INTEGER NOT NULL REFERENCES responses ON DELETE CASCADE, number INTEGER NOT NULL,"
    " text TEXT NOT NULL, PRIMARY KEY(response, number)) WITHOUT ROWID;";

/* Since version 2. */
static const char schema_of_items[] =
    "CREATE TABLE items(id TEXT NOT NULL, response INTEGER NOT NULL REFERENCES responses ON DELETE CASCADE,"
    " text TEXT NOT NULL, PRIMARY KEY(id, response)) WITHOUT ROWID;"
    "CREATE INDEX items_of_responses ON items(response);";

typedef enum query {
    BEGIN,
    COMMIT,
    ROLLBACK,
    ADD,
    ADD_EVENT,
    ADD_ITEM,
    CHANGE,
    FIND_NUMBER,
    FIND,
    FIND_EVENTS,
    FIND_ITEM,
    FIND_RUNNING,
    FIND_OLDEST,
    DROP,
    MEASURE,
    QUERIES
} query;

static const char *const queries[QUERIES] = {
    [BEGIN] = "BEGIN IMMEDIATE",
    [COMMIT] = "COMMIT",
    [ROLLBACK] = "ROLLBACK",
    [ADD] = "INSERT INTO responses(id, running, bytes, response, input) VALUES(?1, 1, ?2, ?3, ?4)",
    [ADD_EVENT] = "INSERT INTO events(response, number, text) VALUES(?1, ?2, ?3)",
    [ADD_ITEM] = "INSERT OR REPLACE INTO items(id, response, text) VALUES(?1, ?2, ?3)",
    [CHANGE] = "UPDATE responses SET running = ?2, response = ?3, bytes = length(CAST(?3 AS BLOB))"
               " + length(CAST(input AS BLOB)) + (SELECT coalesce(sum(length(CAST(text AS BLOB))), 0) FROM events"
               " WHERE events.response = ?1) + (SELECT coalesce(sum(length(CAST(text AS BLOB))), 0) FROM items"
               " WHERE items.response = ?1) WHERE number = ?1",
    [FIND_NUMBER] = "SELECT number, running, bytes FROM responses WHERE id = ?1",
    [FIND] = "SELECT response, input, running, (SELECT max(number) FROM events WHERE events.response ="
             " responses.number) FROM responses WHERE id = ?1",
    [FIND_EVENTS] = "SELECT number, text FROM events WHERE response = ?1 AND number > ?2 ORDER BY number LIMIT ?3",
    [FIND_ITEM] = "SELECT text FROM items WHERE id = ?1 ORDER BY response DESC LIMIT 1",
    [FIND_RUNNING] = "SELECT id FROM responses WHERE running ORDER BY number LIMIT 1",
    [FIND_OLDEST] = "SELECT number, bytes FROM responses WHERE NOT running AND number <"
                    " (SELECT max(number) FROM responses) ORDER BY number LIMIT 1",
    [DROP] = "DELETE FROM responses WHERE number = ?1",
    [MEASURE] = "SELECT coalesce(sum(bytes), 0) FROM responses",
};

struct store {
    pthread_mutex_t lock;
    sqlite3 *database;
    sqlite3_stmt *statements[QUERIES];
    const char *name; /* for messages; owned by the caller of store_open, or static */
    uint64_t bytes, limit;
};

/* ---- statements: all with the lock held, or before anybody else knows the store ---- */

static gptoss_status fail(const store *s, const char *what, gptoss_error *err) {
    int code = sqlite3_errcode(s->database);
    gptoss_status status = code == SQLITE_NOMEM ? GPTOSS_NO_MEMORY : GPTOSS_IO;
    return error_set(err, status, "%s: cannot %s: %s", s->name, what, sqlite3_errmsg(s->database));
}

static sqlite3_stmt *use(const store *s, query q) {
    sqlite3_reset(s->statements[q]);
    sqlite3_clear_bindings(s->statements[q]);
    return s->statements[q];
}

/* For one that has no rows. */
static gptoss_status run(const store *s, query q, const char *what, gptoss_error *err) {
    int code = sqlite3_step(s->statements[q]);
    gptoss_status status = code == SQLITE_DONE ? GPTOSS_OK : fail(s, what, err);
    sqlite3_reset(s->statements[q]);
    return status;
}

/* To the next row; *more is false after the last. The statement must be reset when no further row is wanted. */
static gptoss_status next_row(const store *s, query q, const char *what, bool *more, gptoss_error *err) {
    int code = sqlite3_step(s->statements[q]);
    *more = code == SQLITE_ROW;
    if (code == SQLITE_ROW) return GPTOSS_OK;
    gptoss_status status = code == SQLITE_DONE ? GPTOSS_OK : fail(s, what, err);
    sqlite3_reset(s->statements[q]);
    return status;
}

static void bind_text(sqlite3_stmt *statement, int place, const char *text, size_t size) {
    sqlite3_bind_text64(statement, place, text, size, SQLITE_STATIC, SQLITE_UTF8);
}

static gptoss_status column(const store *s, query q, int place, buffer *out, gptoss_error *err) {
    const void *text = sqlite3_column_text(s->statements[q], place);
    if (!text) return fail(s, "read", err);
    return buffer_append(out, text, (size_t)sqlite3_column_bytes(s->statements[q], place), err);
}

typedef struct row {
    sqlite3_int64 number, bytes;
    bool found, running;
} row;

static gptoss_status find_row(const store *s, const char *id, row *out, gptoss_error *err) {
    sqlite3_stmt *statement = use(s, FIND_NUMBER);
    bind_text(statement, 1, id, strlen(id));
    *out = (row){0};
    TRY(next_row(s, FIND_NUMBER, "find a response", &out->found, err));
    if (!out->found) return GPTOSS_OK;
    out->number = sqlite3_column_int64(statement, 0);
    out->running = sqlite3_column_int(statement, 1);
    out->bytes = sqlite3_column_int64(statement, 2);
    sqlite3_reset(statement);
    return GPTOSS_OK;
}

static gptoss_status drop(store *s, sqlite3_int64 number, sqlite3_int64 bytes, gptoss_error *err) {
    sqlite3_bind_int64(use(s, DROP), 1, number);
    TRY(run(s, DROP, "delete a response", err));
    s->bytes -= (uint64_t)bytes;
    return GPTOSS_OK;
}

static gptoss_status drop_oldest(store *s, gptoss_error *err) {
    while (s->bytes > s->limit) {
        bool more;
        sqlite3_stmt *statement = use(s, FIND_OLDEST);
        TRY(next_row(s, FIND_OLDEST, "find the oldest response", &more, err));
        if (!more) return GPTOSS_OK;
        sqlite3_int64 number = sqlite3_column_int64(statement, 0), bytes = sqlite3_column_int64(statement, 1);
        sqlite3_reset(statement);
        TRY(drop(s, number, bytes, err));
    }
    return GPTOSS_OK;
}

/* ---- opening ---- */

static gptoss_status execute(const store *s, const char *text, const char *what, gptoss_error *err) {
    return sqlite3_exec(s->database, text, NULL, NULL, NULL) == SQLITE_OK ? GPTOSS_OK : fail(s, what, err);
}

static gptoss_status read_number(const store *s, const char *text, sqlite3_int64 *out, gptoss_error *err) {
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(s->database, text, -1, &statement, NULL);
    if (code == SQLITE_OK) code = sqlite3_step(statement);
    if (code == SQLITE_ROW) *out = sqlite3_column_int64(statement, 0);
    gptoss_status status = code == SQLITE_ROW ? GPTOSS_OK : fail(s, "read it", err);
    sqlite3_finalize(statement);
    return status;
}

/* Makes sure that the file is there for this user alone, as it will hold conversations, and says well why it cannot. */
static gptoss_status touch(const char *path, gptoss_error *err) {
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return error_set_errno(err, GPTOSS_MISUSE, errno, "--store: cannot open %s", path);
    close(fd);
    return GPTOSS_OK;
}

/* Creates tables, and marks the database as one of this version. */
static gptoss_status create(const store *s, const char *tables, gptoss_error *err) {
    char *all = sqlite3_mprintf("BEGIN; %s %s PRAGMA application_id = %d; PRAGMA user_version = %d; COMMIT;", tables,
                                schema_of_items, APPLICATION, VERSION);
    gptoss_status status =
        all ? execute(s, all, "create its tables", err) : error_set(err, GPTOSS_NO_MEMORY, "out of memory");
    sqlite3_free(all);
    return status;
}

/* An empty database gets its tables; another must be ours. */
static gptoss_status check_or_create(const store *s, gptoss_error *err) {
    sqlite3_int64 application, version, tables;
    TRY(read_number(s, "PRAGMA application_id", &application, err));
    TRY(read_number(s, "PRAGMA user_version", &version, err));
    TRY(read_number(s, "SELECT count(*) FROM sqlite_schema", &tables, err));
    if (application == APPLICATION && version == VERSION) return GPTOSS_OK;
    if (application == APPLICATION && version == 1) return create(s, "", err);
    if (application == APPLICATION)
        return error_set(err, GPTOSS_MISUSE,
                         "--store: %s was written by another version of this program (form %lld, not %d)", s->name,
                         (long long)version, VERSION);
    if (application != 0 || version != 0 || tables != 0)
        return error_set(err, GPTOSS_MISUSE, "--store: %s is the database of another program; give another file",
                         s->name);
    return create(s, schema, err);
}

static gptoss_status explain(const store *s, gptoss_error *err) {
    switch (sqlite3_errcode(s->database)) {
    case SQLITE_NOTADB:
        return error_set(err, GPTOSS_MISUSE, "--store: %s is no SQLite database; give another file", s->name);
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return error_set(err, GPTOSS_MISUSE, "--store: another process uses %s; give another file", s->name);
    default: return err && err->status != GPTOSS_OK ? err->status : fail(s, "open it", err);
    }
}

static gptoss_status open_database(store *s, const char *path, gptoss_error *err) {
    int flags = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX;
    if (path) TRY(touch(path, err));
    if (sqlite3_open_v2(path ? path : ":memory:", &s->database, flags, NULL) != SQLITE_OK)
        return fail(s, "open it", err);
    sqlite3_extended_result_codes(s->database, 0);
    /* The lock is held as long as the process lives: a second server would take this one's running responses for left
     * behind. Nothing is written before the check has told that the file is ours. */
    TRY(execute(s, "PRAGMA locking_mode = EXCLUSIVE; PRAGMA foreign_keys = ON;", "open it", err));
    TRY(check_or_create(s, err));
    TRY(execute(s, "PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; BEGIN IMMEDIATE; COMMIT;", "open it", err));
    sqlite3_int64 bytes;
    for (int i = 0; i < QUERIES; i++)
        if (sqlite3_prepare_v3(s->database, queries[i], -1, SQLITE_PREPARE_PERSISTENT, &s->statements[i], NULL) !=
            SQLITE_OK)
            return fail(s, "use its tables", err);
    TRY(read_number(s, queries[MEASURE], &bytes, err));
    s->bytes = (uint64_t)bytes;
    return drop_oldest(s, err);
}

gptoss_status store_open(const char *path, uint64_t limit, store **out, gptoss_error *err) {
    store *s;
    gptoss_error why = {0};
    TRY(mem_array(1, sizeof *s, "the store of responses", &s, err));
    s->name = path ? path : "the store of responses";
    s->limit = limit;
    pthread_mutex_init(&s->lock, NULL);
    gptoss_status status = open_database(s, path, &why);
    if (status != GPTOSS_OK) {
        if (s->database) status = explain(s, &why);
        if (err) *err = why;
        store_close(s);
        return status;
    }
    *out = s;
    return GPTOSS_OK;
}

void store_close(store *s) {
    if (!s) return;
    for (int i = 0; i < QUERIES; i++) sqlite3_finalize(s->statements[i]);
    sqlite3_close(s->database);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* ---- writing ---- */

/* Ends what BEGIN began: with all that was done, or with nothing of it. */
static gptoss_status end_writing(store *s, gptoss_status status, uint64_t bytes_before, gptoss_error *err) {
    if (status == GPTOSS_OK) {
        use(s, COMMIT);
        status = run(s, COMMIT, "write", err);
    }
    if (status == GPTOSS_OK) return GPTOSS_OK;
    s->bytes = bytes_before;
    gptoss_error ignored;
    use(s, ROLLBACK);
    if (!sqlite3_get_autocommit(s->database)) run(s, ROLLBACK, "undo", &ignored);
    return status;
}

static gptoss_status add(store *s, const char *id, const char *response, const char *input, gptoss_error *err) {
    size_t response_size = strlen(response), input_size = strlen(input);
    sqlite3_stmt *statement = use(s, ADD);
    bind_text(statement, 1, id, strlen(id));
    sqlite3_bind_int64(statement, 2, (sqlite3_int64)(response_size + input_size));
    bind_text(statement, 3, response, response_size);
    bind_text(statement, 4, input, input_size);
    TRY(run(s, ADD, "add a response", err));
    s->bytes += response_size + input_size;
    return drop_oldest(s, err);
}

gptoss_status store_add(store *s, const char *id, const char *response, const char *input, gptoss_error *err) {
    pthread_mutex_lock(&s->lock);
    uint64_t before = s->bytes;
    use(s, BEGIN);
    gptoss_status status = run(s, BEGIN, "write", err);
    if (status == GPTOSS_OK) status = end_writing(s, add(s, id, response, input, err), before, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static gptoss_status add_items(const store *s, sqlite3_int64 response, const store_item *items, size_t count,
                               gptoss_error *err) {
    for (size_t i = 0; i < count; i++) {
        sqlite3_stmt *statement = use(s, ADD_ITEM);
        bind_text(statement, 1, items[i].id, strlen(items[i].id));
        sqlite3_bind_int64(statement, 2, response);
        bind_text(statement, 3, items[i].text, strlen(items[i].text));
        TRY(run(s, ADD_ITEM, "add an item", err));
    }
    return GPTOSS_OK;
}

static gptoss_status write_change(store *s, const char *id, const store_change *c, gptoss_error *err) {
    row r, changed;
    TRY(find_row(s, id, &r, err));
    if (!r.found) return GPTOSS_OK;
    for (size_t i = 0; i < c->count; i++) {
        sqlite3_stmt *statement = use(s, ADD_EVENT);
        sqlite3_bind_int64(statement, 1, r.number);
        sqlite3_bind_int64(statement, 2, c->events[i].number);
        bind_text(statement, 3, c->events[i].text, c->events[i].size);
        TRY(run(s, ADD_EVENT, "add an event", err));
    }
    TRY(add_items(s, r.number, c->items, c->item_count, err));
    if (!c->response) return GPTOSS_OK;
    sqlite3_stmt *statement = use(s, CHANGE);
    sqlite3_bind_int64(statement, 1, r.number);
    sqlite3_bind_int(statement, 2, !c->ended);
    bind_text(statement, 3, c->response, strlen(c->response));
    TRY(run(s, CHANGE, "change a response", err));
    TRY(find_row(s, id, &changed, err));
    s->bytes += (uint64_t)(changed.bytes - r.bytes);
    return drop_oldest(s, err);
}

gptoss_status store_write(store *s, const char *id, const store_change *change, gptoss_error *err) {
    pthread_mutex_lock(&s->lock);
    uint64_t before = s->bytes;
    use(s, BEGIN);
    gptoss_status status = run(s, BEGIN, "write", err);
    if (status == GPTOSS_OK) status = end_writing(s, write_change(s, id, change, err), before, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

gptoss_status store_delete(store *s, const char *id, bool *deleted, gptoss_error *err) {
    row r;
    pthread_mutex_lock(&s->lock);
    gptoss_status status = find_row(s, id, &r, err);
    if (status == GPTOSS_OK && r.found) status = drop(s, r.number, r.bytes, err);
    pthread_mutex_unlock(&s->lock);
    *deleted = status == GPTOSS_OK && r.found;
    return status;
}

/* ---- reading ---- */

void store_entry_free(store_entry *e) {
    buffer_free(&e->response);
    buffer_free(&e->input);
}

static gptoss_status find(const store *s, const char *id, store_entry *out, bool *found, gptoss_error *err) {
    sqlite3_stmt *statement = use(s, FIND);
    bind_text(statement, 1, id, strlen(id));
    TRY(next_row(s, FIND, "find a response", found, err));
    if (!*found) return GPTOSS_OK;
    gptoss_status status = column(s, FIND, 0, &out->response, err);
    if (status == GPTOSS_OK) status = column(s, FIND, 1, &out->input, err);
    out->running = sqlite3_column_int(statement, 2);
    bool none = sqlite3_column_type(statement, 3) == SQLITE_NULL;
    out->last_event = none ? -1 : sqlite3_column_int64(statement, 3);
    sqlite3_reset(statement);
    return status;
}

gptoss_status store_find(store *s, const char *id, store_entry *out, bool *found, gptoss_error *err) {
    pthread_mutex_lock(&s->lock);
    gptoss_status status = find(s, id, out, found, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

gptoss_status store_find_item(store *s, const char *id, buffer *out, bool *found, gptoss_error *err) {
    pthread_mutex_lock(&s->lock);
    sqlite3_stmt *statement = use(s, FIND_ITEM);
    bind_text(statement, 1, id, strlen(id));
    gptoss_status status = next_row(s, FIND_ITEM, "find an item", found, err);
    if (status == GPTOSS_OK && *found) status = column(s, FIND_ITEM, 0, out, err);
    sqlite3_reset(statement);
    pthread_mutex_unlock(&s->lock);
    return status;
}

static gptoss_status read_events(const store *s, const char *id, int64_t *after, buffer *out, bool *running,
                                 gptoss_error *err) {
    enum { AT_ONCE = 256 };
    row r;
    bool more = false;
    TRY(find_row(s, id, &r, err));
    *running = r.running;
    if (!r.found) return GPTOSS_OK;
    sqlite3_stmt *statement = use(s, FIND_EVENTS);
    sqlite3_bind_int64(statement, 1, r.number);
    sqlite3_bind_int64(statement, 2, *after);
    sqlite3_bind_int(statement, 3, AT_ONCE);
    gptoss_status status = next_row(s, FIND_EVENTS, "read events", &more, err);
    while (status == GPTOSS_OK && more) {
        status = column(s, FIND_EVENTS, 1, out, err);
        if (status != GPTOSS_OK) break;
        *after = sqlite3_column_int64(statement, 0);
        status = next_row(s, FIND_EVENTS, "read events", &more, err);
    }
    sqlite3_reset(statement);
    return status;
}

gptoss_status store_read_events(store *s, const char *id, int64_t *after, buffer *out, bool *running,
                                gptoss_error *err) {
    pthread_mutex_lock(&s->lock);
    gptoss_status status = read_events(s, id, after, out, running, err);
    pthread_mutex_unlock(&s->lock);
    return status;
}

gptoss_status store_find_running(store *s, buffer *id, bool *found, gptoss_error *err) {
    pthread_mutex_lock(&s->lock);
    use(s, FIND_RUNNING);
    gptoss_status status = next_row(s, FIND_RUNNING, "find a response", found, err);
    if (status == GPTOSS_OK && *found) status = column(s, FIND_RUNNING, 0, id, err);
    sqlite3_reset(s->statements[FIND_RUNNING]);
    pthread_mutex_unlock(&s->lock);
    return status;
}
