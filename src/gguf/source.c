#include "gguf/source.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "gguf/part.h"

struct gguf_source {
    const gguf_file *file;
    int *fds; /* of the parts */
    uint32_t opened;
};

gptoss_status gguf_source_open(const gguf_file *file, gguf_source **out, gptoss_error *err) {
    gguf_source *s;
    TRY(mem_array(1, sizeof *s, "source of tensors", &s, err));
    s->file = file;
    gptoss_status status = mem_array(gguf_part_count(file), sizeof *s->fds, "source of tensors", &s->fds, err);
    while (status == GPTOSS_OK && s->opened < gguf_part_count(file)) {
        status = part_reopen(gguf_part_at(file, s->opened), &s->fds[s->opened], err);
        if (status == GPTOSS_OK) s->opened++;
    }
    if (status != GPTOSS_OK) {
        gguf_source_close(s);
        return status;
    }
    *out = s;
    return GPTOSS_OK;
}

void gguf_source_close(gguf_source *s) {
    if (!s) return;
    for (uint32_t i = 0; i < s->opened; i++) close(s->fds[i]);
    free(s->fds);
    free(s);
}

gptoss_status gguf_source_read(const gguf_source *s, uint32_t part, uint64_t offset, void *bytes, size_t size,
                               gptoss_error *err) {
    uint8_t *to = bytes;
    while (size > 0) {
        ssize_t got = pread(s->fds[part], to, size, (off_t)offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot read %s", gguf_part_path(s->file, part));
        if (got == 0)
            return error_set(err, GPTOSS_BAD_INPUT, "%s: the file shrank while it was read",
                             gguf_part_path(s->file, part));
        to += got, size -= (size_t)got, offset += (uint64_t)got;
    }
    return GPTOSS_OK;
}
