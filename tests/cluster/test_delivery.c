/* A slice from rank 0 to rank 1, and what may go wrong on either side. */
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buffer.h"
#include "cluster/cluster.h"
#include "cluster/delivery.h"
#include "gguf/synth.h"
#include "model/slice_file.h"
#include "support.h"

static cluster world;
static char model_path[96], whole_path[96], cache[96]; /* the last two: rank 1's */

typedef struct seen {
    uint64_t sent_from, sent; /* first and last count of bytes while sending; 0: nothing was sent */
    uint64_t received;
} seen;

static void watch(void *context, const char *what, uint64_t done, uint64_t all) {
    seen *s = context;
    assert_true(done <= all);
    if (strstr(what, "sending") && !s->sent_from) s->sent_from = done;
    if (strstr(what, "sending")) s->sent = done;
    if (strstr(what, "receiving")) s->received = done;
}

typedef struct source {
    gguf_file *file;
    hparams hp;
    extent what;
} source;

static source open_source(const char *path) {
    source s;
    assert_ok(gguf_open(path, &s.file, err));
    assert_ok(hparams_read(s.file, &s.hp, err));
    const slice last = slice_of_layers(&s.hp, 3, s.hp.n_layers, s.hp.n_layers, false);
    s.what = extent_of_slice(&last);
    return s;
}

typedef struct outcome {
    gptoss_status status;
    gptoss_error err;
    char *path; /* on rank 1 */
    seen seen;
} outcome;

/* Rank 0 sends what is in `path`, or that it cannot when path is NULL; rank 1 receives. */
static outcome deliver(const char *path, const char *to_cache) {
    outcome o = {0};
    const delivery how = {world.rank == 0 ? NULL : to_cache, watch, &o.seen};
    if (world.rank == 1) {
        o.status = delivery_receive(0, &how, &o.path, &o.err);
    } else if (path) {
        source s = open_source(path);
        slice_image *image;
        assert_ok(slice_image_open(s.file, &s.hp, &s.what, &image, err));
        o.status = delivery_send(image, 1, &how, &o.err);
        slice_image_close(image);
        gguf_close(s.file);
    } else {
        o.status = delivery_send(NULL, 1, &how, &o.err);
    }
    /* What rank 0 saw is for both to know. */
    seen all[2];
    cluster_gather(&world, (uint64_t *)&o.seen, sizeof o.seen / sizeof(uint64_t), (uint64_t *)all);
    if (world.rank == 0) all[0] = o.seen;
    cluster_broadcast(&world, &all[0], sizeof all[0]);
    o.seen.sent_from = all[0].sent_from;
    o.seen.sent = all[0].sent;
    return o;
}

/* Rank 1 has exactly the file that the slice would be. */
static void expect_whole(outcome *o) {
    if (o->status != GPTOSS_OK) fail_msg("rank %d: %s", world.rank, o->err.text);
    if (world.rank != 1) return;
    buffer got = {0}, want = {0};
    assert_non_null(o->path);
    assert_ok(buffer_read_file(&got, o->path, 1 << 28, err));
    assert_ok(buffer_read_file(&want, whole_path, 1 << 28, err));
    assert_int_equal(got.size, want.size);
    assert_memory_equal(got.data, want.data, want.size);
    buffer_free(&got);
    buffer_free(&want);
    free(o->path);
}

static void shell(const char *format, const char *argument) {
    char command[512];
    snprintf(command, sizeof command, format, argument);
    if (world.rank == 1) assert_int_equal(system(command), 0);
}

static void clear_cache(void) { shell("rm -rf '%s'", cache); }

static uint64_t most_resident(void) {
    struct rusage usage;
    assert_int_equal(getrusage(RUSAGE_SELF, &usage), 0);
    return (uint64_t)usage.ru_maxrss << 10;
}

static void a_slice_is_sent_once(void **state) {
    (void)state;
    clear_cache();
    uint64_t before = most_resident();
    outcome o = deliver(model_path, cache);
    if (world.rank == 0) assert_true(most_resident() - before < 32 << 20); /* the slice is larger */
    uint64_t size = o.seen.sent;
    assert_true(size > 40 << 20);
    if (world.rank == 1) assert_int_equal(o.seen.received, size);
    expect_whole(&o);
    o = deliver(model_path, cache);
    assert_int_equal(o.seen.sent, 0);
    expect_whole(&o);
}

static void an_interrupted_transfer_goes_on(void **state) {
    (void)state;
    clear_cache();
    outcome o = deliver(model_path, cache);
    uint64_t size = o.seen.sent;
    expect_whole(&o);
    shell("cd '%s' && for f in *.gguf; do mv $f $f.partial && truncate -s 20000001 $f.partial; done", cache);
    o = deliver(model_path, cache);
    assert_true(o.seen.sent_from > 20000001 && o.seen.sent == size);
    expect_whole(&o);
    /* All had come, but for the name. */
    shell("cd '%s' && for f in *.gguf; do mv $f $f.partial; done", cache);
    o = deliver(model_path, cache);
    assert_int_equal(o.seen.sent, 0);
    expect_whole(&o);
}

static void damage_in_the_cache_is_repaired(void **state) {
    (void)state;
    clear_cache();
    outcome o = deliver(model_path, cache);
    uint64_t size = o.seen.sent;
    expect_whole(&o);
    const char *const damages[] = {
        "cd '%s' && for f in *.gguf; do printf X | dd of=$f bs=1 seek=30000000 conv=notrunc status=none; done",
        "cd '%s' && for f in *.gguf; do truncate -s 1000 $f; done",
        "cd '%s' && for f in *.gguf; do echo more >> $f; done",
        "cd '%s' && for f in *.gguf; do head -c 10000000 /dev/zero > $f.partial; rm $f; done",
        "cd '%s' && for f in *.gguf; do mv $f $f.partial; printf X | dd of=$f.partial conv=notrunc status=none; done",
    };
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        shell(damages[i], cache);
        o = deliver(model_path, cache);
        assert_int_equal(o.seen.sent, size);
        expect_whole(&o);
    }
}

static void a_receiver_without_room_says_so(void **state) {
    (void)state;
    struct rlimit before, now;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    signal(SIGXFSZ, SIG_IGN);
    /* In the first block, in the middle, in the last. */
    source s = open_source(model_path);
    slice_image *image;
    assert_ok(slice_image_open(s.file, &s.hp, &s.what, &image, err));
    const uint64_t limits[] = {1000, 30 << 20, slice_image_bytes(image) - 1};
    slice_image_close(image);
    gguf_close(s.file);
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        clear_cache();
        now = (struct rlimit){limits[i], before.rlim_max};
        if (world.rank == 1) assert_int_equal(setrlimit(RLIMIT_FSIZE, &now), 0);
        outcome o = deliver(model_path, cache);
        setrlimit(RLIMIT_FSIZE, &before);
        assert_int_equal(o.status, world.rank == 1 ? GPTOSS_IO : GPTOSS_OK);
        if (world.rank == 1) assert_non_null(strstr(o.err.text, "cannot write"));
        assert_null(o.path);
    }
    outcome o = deliver(model_path, cache); /* only a byte is missing */
    assert_int_equal(o.seen.sent_from, o.seen.sent);
    expect_whole(&o);
    o = deliver(model_path, NULL);
    assert_int_equal(o.status, world.rank == 1 ? GPTOSS_MISUSE : GPTOSS_OK);
    if (world.rank == 1) assert_non_null(strstr(o.err.text, "--cache"));
    o = deliver(model_path, "/proc/none");
    assert_int_equal(o.status, world.rank == 1 ? GPTOSS_IO : GPTOSS_OK);
}

static void a_sender_that_fails_has_the_error(void **state) {
    (void)state;
    clear_cache();
    outcome o = deliver(NULL, cache);
    assert_int_equal(o.status, GPTOSS_OK); /* whoever could not open the image tells why */
    assert_null(o.path);
    /* A file that shrinks while it is read: before its digest is known, and afterwards. */
    o = (outcome){0};
    const delivery how = {world.rank == 1 ? cache : NULL, NULL, NULL};
    if (world.rank == 1) {
        assert_int_equal(delivery_receive(0, &how, &o.path, &o.err), GPTOSS_OK);
        assert_null(o.path);
    } else {
        char copy[128], command[300];
        snprintf(copy, sizeof copy, "%s.copy", model_path);
        snprintf(command, sizeof command, "cp '%s' '%s'", model_path, copy);
        assert_int_equal(system(command), 0);
        source s = open_source(copy);
        slice_image *image;
        assert_ok(slice_image_open(s.file, &s.hp, &s.what, &image, err));
        assert_int_equal(truncate(copy, 20 << 20), 0);
        assert_int_equal(delivery_send(image, 1, &how, &o.err), GPTOSS_BAD_INPUT);
        assert_non_null(strstr(o.err.text, "shrank"));
        slice_image_close(image);
        gguf_close(s.file);
        unlink(copy);
    }
}

/* The same, in the middle of the transfer. */
static char shrinking[128];

static void shrink(void *context, const char *what, uint64_t done, uint64_t all) {
    (void)context;
    (void)all;
    if (strstr(what, "sending") && done > 8 << 20) assert_int_equal(truncate(shrinking, 16 << 20), 0);
}

static void a_sender_that_fails_midway_has_the_error(void **state) {
    (void)state;
    clear_cache();
    outcome o = {0};
    const delivery how = {world.rank == 1 ? cache : NULL, world.rank == 0 ? shrink : NULL, NULL};
    if (world.rank == 1) {
        assert_int_equal(delivery_receive(0, &how, &o.path, &o.err), GPTOSS_OK);
        assert_null(o.path);
        shell("cd '%s' && ls *.partial > /dev/null && ! ls *.gguf 2> /dev/null", cache);
    } else {
        char command[300];
        snprintf(shrinking, sizeof shrinking, "%s.copy", model_path);
        snprintf(command, sizeof command, "cp '%s' '%s'", model_path, shrinking);
        assert_int_equal(system(command), 0);
        source s = open_source(shrinking);
        slice_image *image;
        assert_ok(slice_image_open(s.file, &s.hp, &s.what, &image, err));
        assert_int_equal(delivery_send(image, 1, &how, &o.err), GPTOSS_BAD_INPUT);
        assert_non_null(strstr(o.err.text, "shrank"));
        slice_image_close(image);
        gguf_close(s.file);
        unlink(shrinking);
    }
    outcome after = deliver(model_path, cache); /* and nothing is left over that disturbs the next one */
    expect_whole(&after);
}

static void make_files(void) {
    int number = (int)getpid();
    cluster_broadcast(&world, &number, sizeof number);
    snprintf(model_path, sizeof model_path, "%s/gptoss-delivery-%d.gguf", P_tmpdir, number);
    snprintf(whole_path, sizeof whole_path, "%s/gptoss-delivery-%d-slice.gguf", P_tmpdir, number);
    snprintf(cache, sizeof cache, "%s/gptoss-delivery-%d-cache", P_tmpdir, number);
    if (world.rank == 0) {
        synth_options o = {.shape = *synth_find_shape("tiny"),
                           .type_attn = TYPE_Q8_0,
                           .type_experts = TYPE_MXFP4,
                           .threads = 1,
                           .replace = true};
        synth_report report;
        o.shape.layers = 18;
        assert_ok(synth_write(model_path, &o, &report, err));
        source s = open_source(model_path);
        slice_file f;
        assert_ok(slice_file_plan(s.file, &s.hp, &s.what, &f, err));
        assert_ok(slice_file_write(&f, s.file, whole_path, true, NULL, NULL, err));
        slice_file_free(&f);
        gguf_close(s.file);
    }
    cluster_agree(&world, GPTOSS_OK, NULL);
}

static int remove_files(void **state) {
    (void)state;
    clear_cache();
    cluster_agree(&world, GPTOSS_OK, NULL);
    if (world.rank == 0) {
        unlink(model_path);
        unlink(whole_path);
    }
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_slice_is_sent_once),
        cmocka_unit_test(an_interrupted_transfer_goes_on),
        cmocka_unit_test(damage_in_the_cache_is_repaired),
        cmocka_unit_test(a_receiver_without_room_says_so),
        cmocka_unit_test(a_sender_that_fails_has_the_error),
        cmocka_unit_test(a_sender_that_fails_midway_has_the_error),
    };
    gptoss_error err;
    if (cluster_open(getenv("OMPI_COMM_WORLD_SIZE") != NULL, &world, &err) != GPTOSS_OK) return 1;
    make_files();
    int failures = cmocka_run_group_tests(tests, NULL, remove_files);
    cluster_close(&world);
    return failures;
}
