#include "engine/kept_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "base/folder.h"
#include "base/mem.h"

enum { VERSION = 1 }; /* of the format, and of the arithmetic that made the pages */
static const char MAGIC[8] = "GPTKEPT";

typedef struct header {
    char magic[8];
    uint64_t version;
    digest key, generation, model;
    uint64_t n_words, pages[KV_KINDS], page_bytes[KV_KINDS];
    digest head; /* of all above and the words */
} header;
_Static_assert(sizeof(header) == 120, "no padding in the file");

struct kept_file {
    buffer path, partial_path;
    int fd; /* -1: none */
    bool unfinished;
    header header;
    prefix_image image; /* of a file that was opened */
};

static gptoss_status make(const kept_name *name, kept_file **out, gptoss_error *err) {
    kept_file *f;
    char key[DIGEST_TEXT];
    digest_print(name->key, key);
    TRY(mem_array(1, sizeof *f, "prompt cache", &f, err));
    f->fd = -1;
    gptoss_status status = buffer_printf(&f->path, err, "%s/%s.prompts", name->dir, key);
    if (status == GPTOSS_OK) status = buffer_printf(&f->partial_path, err, "%s.partial", f->path.data);
    if (status != GPTOSS_OK) {
        kept_file_close(f);
        return status;
    }
    *out = f;
    return GPTOSS_OK;
}

void kept_file_close(kept_file *f) {
    if (!f) return;
    if (f->unfinished) unlink(f->partial_path.data);
    if (f->fd >= 0) close(f->fd); /* and with it goes the lock */
    buffer_free(&f->path);
    buffer_free(&f->partial_path);
    prefix_image_free(&f->image);
    free(f);
}

digest kept_file_generation(const kept_file *f) { return f->header.generation; }

prefix_image *kept_file_image(kept_file *f) { return &f->image; }

static gptoss_status digest_of_head(const header *h, const uint32_t *words, digest *out, gptoss_error *err) {
    digest_state *d;
    TRY(digest_begin(&d, err));
    digest_add(d, h, offsetof(header, head));
    digest_add(d, words, h->n_words * sizeof *words);
    *out = digest_so_far(d);
    digest_end(d);
    return GPTOSS_OK;
}

/* ---- reading ---- */

static gptoss_status damaged(const kept_file *f, gptoss_error *err) {
    return error_set(err, GPTOSS_BAD_INPUT, "%s is damaged", f->path.data);
}

static gptoss_status read_all(const kept_file *f, void *to, uint64_t size, gptoss_error *err) {
    for (char *at = to; size > 0;) {
        ssize_t got = read(f->fd, at, size < 1u << 30 ? size : 1u << 30);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot read %s", f->path.data);
        if (got == 0) return damaged(f, err);
        at += got, size -= (uint64_t)got;
    }
    return GPTOSS_OK;
}

/* Whether the lengths in the header are those of a file of `size` bytes. A page is a number of some point, so there are
 * no more of them than words. */
static bool lengths_fit(const header *h, uint64_t size) {
    uint64_t all = sizeof *h + sizeof(digest);
    if (h->n_words > size / sizeof(uint32_t)) return false;
    all += h->n_words * sizeof(uint32_t);
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) {
        uint64_t bytes;
        if (h->pages[kind] > h->n_words || h->pages[kind] > INT32_MAX ||
            !mem_mul_u64(h->pages[kind], h->page_bytes[kind], &bytes) || !mem_add_u64(all, bytes, &all))
            return false;
    }
    return all == size;
}

static gptoss_status read_image(const kept_name *name, const wave_limits *limits, kept_file *f, gptoss_error *err) {
    header *h = &f->header;
    struct stat info;
    digest head;
    if (fstat(f->fd, &info) != 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot stat %s", f->path.data);
    if (!S_ISREG(info.st_mode)) return damaged(f, err);
    TRY(read_all(f, h, sizeof *h, err));
    if (memcmp(h->magic, MAGIC, sizeof MAGIC) != 0) return damaged(f, err);
    if (h->version != VERSION)
        return error_set(err, GPTOSS_BAD_INPUT, "%s was written by another version", f->path.data);
    if (!digest_equal(h->key, name->key) || memcmp(h->page_bytes, name->page_bytes, sizeof h->page_bytes) != 0)
        return error_set(err, GPTOSS_BAD_INPUT, "%s was written for another model, rank or flags", f->path.data);
    if (!lengths_fit(h, (uint64_t)info.st_size)) return damaged(f, err);
    TRY(mem_array(h->n_words, sizeof *f->image.words, "prompt cache", &f->image.words, err));
    f->image.n_words = h->n_words;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++) f->image.pages[kind] = (uint32_t)h->pages[kind];
    TRY(read_all(f, f->image.words, h->n_words * sizeof *f->image.words, err));
    TRY(digest_of_head(h, f->image.words, &head, err));
    if (!digest_equal(head, h->head) || !prefix_image_is_valid(&f->image, limits)) return damaged(f, err);
    return GPTOSS_OK;
}

gptoss_status kept_file_open(const kept_name *name, const wave_limits *limits, kept_file **out, gptoss_error *err) {
    kept_file *f;
    *out = NULL;
    TRY(make(name, &f, err));
    f->fd = open(f->path.data, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    bool is_there = f->fd >= 0 || (errno != ENOENT && errno != ENOTDIR);
    gptoss_status status = GPTOSS_OK;
    if (f->fd >= 0)
        status = read_image(name, limits, f, err);
    else if (is_there)
        status = error_set_errno(err, GPTOSS_IO, errno, "cannot open %s", f->path.data);
    if (status != GPTOSS_OK || !is_there) {
        kept_file_close(f);
        return status;
    }
    *out = f;
    return GPTOSS_OK;
}

static gptoss_status load_pages(const kept_file *f, const kv_cache *cache, int32_t *const slots[KV_KINDS],
                                uint8_t *page, digest_state *d, gptoss_error *err) {
    digest wanted;
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        for (uint64_t i = 0; i < f->header.pages[kind] && f->header.page_bytes[kind] > 0; i++) {
            TRY(read_all(f, page, f->header.page_bytes[kind], err));
            digest_add(d, page, f->header.page_bytes[kind]);
            if (slots[kind][i] >= 0) kv_cache_put_page(cache, kind, (uint32_t)slots[kind][i], page);
        }
    TRY(read_all(f, &wanted, sizeof wanted, err));
    return digest_equal(wanted, digest_so_far(d)) ? GPTOSS_OK : damaged(f, err);
}

static uint64_t largest(const uint64_t bytes[KV_KINDS]) {
    return bytes[KV_FULL] > bytes[KV_WINDOW] ? bytes[KV_FULL] : bytes[KV_WINDOW];
}

gptoss_status kept_file_load(const kept_file *f, digest model, const kv_cache *cache, int32_t *const slots[KV_KINDS],
                             gptoss_error *err) {
    uint8_t *page;
    digest_state *d;
    if (!digest_equal(model, f->header.model))
        return error_set(err, GPTOSS_BAD_INPUT, "%s was written for other weights", f->path.data);
    TRY(mem_array(1, largest(f->header.page_bytes), "prompt cache", &page, err));
    gptoss_status status = digest_begin(&d, err);
    if (status == GPTOSS_OK) {
        status = load_pages(f, cache, slots, page, d, err);
        digest_end(d);
    }
    free(page);
    return status;
}

/* ---- writing ---- */

static gptoss_status write_all(const kept_file *f, const void *from, uint64_t size, gptoss_error *err) {
    for (const char *at = from; size > 0;) {
        ssize_t written = write(f->fd, at, size < 1u << 30 ? size : 1u << 30);
        if (written < 0 && errno == EINTR) continue;
        if (written <= 0)
            return error_set_errno(err, GPTOSS_IO, written < 0 ? errno : ENOSPC, "cannot write %s",
                                   f->partial_path.data);
        at += written, size -= (uint64_t)written;
    }
    return GPTOSS_OK;
}

static gptoss_status create(const kept_name *name, kept_file *f, gptoss_error *err) {
    const char *path = f->partial_path.data;
    TRY(folder_make(name->dir, err));
    f->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600); /* prompts are nobody else's business */
    if (f->fd < 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot write %s", path);
    if (flock(f->fd, LOCK_EX | LOCK_NB) != 0 || !folder_still_has(f->fd, path))
        return error_set(err, GPTOSS_MISUSE, "another process is writing %s", path);
    f->unfinished = true;
    if (ftruncate(f->fd, 0) != 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot empty %s", path);
    return GPTOSS_OK;
}

static gptoss_status write_pages(const kept_file *f, const prefix_snapshot *s, const kv_cache *cache, uint8_t *page,
                                 digest_state *d, gptoss_error *err) {
    for (kv_kind kind = 0; kind < KV_KINDS; kind++)
        for (uint32_t i = 0; i < s->image.pages[kind] && f->header.page_bytes[kind] > 0; i++) {
            kv_cache_take_page(cache, kind, s->sources[kind][i], page);
            digest_add(d, page, f->header.page_bytes[kind]);
            TRY(write_all(f, page, f->header.page_bytes[kind], err));
        }
    digest all = digest_so_far(d);
    return write_all(f, &all, sizeof all, err);
}

static gptoss_status fill(kept_file *f, const prefix_snapshot *s, const kv_cache *cache, gptoss_error *err) {
    header *h = &f->header;
    uint8_t *page;
    digest_state *d;
    TRY(digest_of_head(h, s->image.words, &h->head, err));
    TRY(write_all(f, h, sizeof *h, err));
    TRY(write_all(f, s->image.words, s->image.n_words * sizeof *s->image.words, err));
    TRY(mem_array(1, largest(h->page_bytes), "prompt cache", &page, err));
    gptoss_status status = digest_begin(&d, err);
    if (status == GPTOSS_OK) {
        status = write_pages(f, s, cache, page, d, err);
        digest_end(d);
    }
    free(page);
    if (status == GPTOSS_OK && fsync(f->fd) != 0) /* after a power cut a file with its name must be whole */
        status = error_set_errno(err, GPTOSS_IO, errno, "cannot write %s", f->partial_path.data);
    return status;
}

gptoss_status kept_file_write(const kept_name *name, digest generation, digest model, const prefix_snapshot *s,
                              const kv_cache *cache, kept_file **out, gptoss_error *err) {
    kept_file *f;
    TRY(make(name, &f, err));
    f->header = (header){.version = VERSION,
                         .key = name->key,
                         .generation = generation,
                         .model = model,
                         .n_words = s->image.n_words,
                         .pages = {s->image.pages[KV_FULL], s->image.pages[KV_WINDOW]},
                         .page_bytes = {name->page_bytes[KV_FULL], name->page_bytes[KV_WINDOW]}};
    memcpy(f->header.magic, MAGIC, sizeof MAGIC);
    gptoss_status status = create(name, f, err);
    if (status == GPTOSS_OK) status = fill(f, s, cache, err);
    if (status != GPTOSS_OK) {
        kept_file_close(f);
        return status;
    }
    *out = f;
    return GPTOSS_OK;
}

gptoss_status kept_file_finish(kept_file *f, gptoss_error *err) {
    if (rename(f->partial_path.data, f->path.data) != 0)
        return error_set_errno(err, GPTOSS_IO, errno, "cannot rename %s to %s", f->partial_path.data, f->path.data);
    f->unfinished = false;
    return GPTOSS_OK;
}
