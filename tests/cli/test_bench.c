/* `gptoss-dist bench` as a user meets it: every form of the result has what was asked for, whatever the speeds are. */
#include <math.h>
#include <signal.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "process.h"
#include "support.h"

#define MODEL TEST_DATA "/golden/q8_0-mxfp4.gguf"
#define ARGUMENTS(...) ((const char *const[]){"bench", __VA_ARGS__, NULL})
#define SMALL "--gguf", MODEL, "--reps", "2", "--gen", "3"

static void expect_success(const process_result *r) {
    if (r->exit_status != 0) fail_msg("exit status %d, stderr: %s", r->exit_status, r->err.data);
}

static double number(const cJSON *object, const char *name) {
    const cJSON *item = cJSON_GetObjectItem(object, name);
    if (!cJSON_IsNumber(item)) fail_msg("%s is not a number", name);
    return item->valuedouble;
}

static bool is_generation(const cJSON *row) {
    const char *work = cJSON_GetStringValue(cJSON_GetObjectItem(row, "work"));
    assert_true(strcmp(work, "generate") == 0 || strcmp(work, "prompt") == 0);
    return strcmp(work, "generate") == 0;
}

/* The result of one run with --json: the last line of its output. */
static cJSON *run_json(int ranks, const char *const *arguments) {
    process_result r = process_run(ranks, arguments, NULL);
    expect_success(&r);
    assert_true(r.out.size > 2);
    cJSON *json = cJSON_Parse(process_last_line(&r));
    assert_non_null(json);
    process_free(&r);
    return json;
}

/* The phases of each rank fill the time of a token, which the speeds tell too. */
static void check_phases(const cJSON *row, int ranks) {
    static const char *const names[] = {"attention", "experts", "output", "waiting", "transfer", "other"};
    const cJSON *all = cJSON_GetObjectItem(row, "phases_ms_per_token"), *one;
    assert_int_equal(cJSON_GetArraySize(all), ranks);
    cJSON_ArrayForEach(one, all) {
        double sum = 0;
        assert_int_equal(cJSON_GetArraySize(one), 6);
        for (size_t i = 0; i < 6; i++) {
            assert_true(number(one, names[i]) >= 0);
            sum += number(one, names[i]);
        }
        assert_true(number(one, "attention") > 0 && number(one, "experts") > 0);
        assert_true(sum >= 0.99e3 / number(row, "tps_max"));
        /* On other ranks the work may reach past the end of rank 0's clock by as much as it takes to tell them. */
        if (one == all->child) assert_true(sum <= 1.02e3 / number(row, "tps_min"));
    }
}

static void check_row(const cJSON *row, int ranks) {
    assert_true(number(row, "tps_min") > 0);
    assert_true(number(row, "tps") >= number(row, "tps_min") && number(row, "tps") <= number(row, "tps_max"));
    assert_true(number(row, "read_gbps") > 0 && number(row, "tokens") > 0);
    assert_int_equal(cJSON_HasObjectItem(row, "share"), is_generation(row) && number(row, "streams") == 1);
    check_phases(row, ranks);
}

static void json_tells_speeds_memory_and_start_on_any_ranks(void **state) {
    (void)state;
    double bytes = 0;
    for (int ranks = 0; ranks <= 3; ranks++) {
        cJSON *json = run_json(ranks, ARGUMENTS(SMALL, "--prompt", "20", "--threads", "2", "--json"));
        int n = ranks ? ranks : 1;
        const cJSON *rows = cJSON_GetObjectItem(json, "rows"), *row;
        assert_int_equal(cJSON_GetArraySize(rows), 2);
        cJSON_ArrayForEach(row, rows) check_row(row, n);
        assert_true(number(json, "prompt_tps") == number(cJSON_GetArrayItem(rows, 0), "tps"));
        assert_true(number(json, "gen_tps") == number(cJSON_GetArrayItem(rows, 1), "tps"));
        assert_true(number(json, "read_gbps") > 0);
        assert_true(number(json, "start_s") > 0 && number(json, "start_s") < 600);
        assert_int_equal(number(json, "ranks"), n);
        assert_int_equal(number(json, "threads"), 2);
        if (ranks == 0) bytes = number(json, "bytes_per_token");
        assert_true(bytes > 0 && number(json, "bytes_per_token") == bytes); /* however the layers are dealt */
        assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "cpu_bind")), "core");
        assert_non_null(cJSON_GetStringValue(cJSON_GetObjectItem(json, "isa")));
        cJSON_Delete(json);
    }
}

/* One row for each combination, in the order of the lists. */
static void lists_are_swept(void **state) {
    (void)state;
    cJSON *json =
        run_json(2, ARGUMENTS(SMALL, "--prompt", "5,9", "--depth", "0,40,7", "--streams", "1,3", "--chunk", "4,16",
                              "--threads", "1,2", "--isa", "reference", "--cpu-bind", "none", "--json"));
    const cJSON *rows = cJSON_GetObjectItem(json, "rows"), *row;
    assert_int_equal(cJSON_GetArraySize(rows), 2 * 2 * 3 * (2 + 2));
    static const int threads[] = {1, 2}, chunks[] = {4, 16}, depths[] = {0, 40, 7}, prompts[] = {5, 9},
                     streams[] = {1, 3};
    int i = 0;
    cJSON_ArrayForEach(row, rows) {
        check_row(row, 2);
        assert_int_equal(number(row, "threads"), threads[i / 24]);
        assert_int_equal(number(row, "chunk"), chunks[i / 12 % 2]);
        assert_int_equal(number(row, "depth"), depths[i / 4 % 3]);
        assert_int_equal(is_generation(row), i % 4 >= 2);
        assert_int_equal(number(row, "tokens"), i % 4 >= 2 ? 3 : prompts[i % 2]);
        assert_int_equal(number(row, "streams"), i % 4 >= 2 ? streams[i % 2] : 1);
        i++;
    }
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "isa")), "reference");
    assert_string_equal(cJSON_GetStringValue(cJSON_GetObjectItem(json, "cpu_bind")), "none");
    cJSON_Delete(json);
}

static void either_kind_of_work_can_be_left_out(void **state) {
    (void)state;
    cJSON *json = run_json(0, ARGUMENTS("--gguf", MODEL, "--prompt", "0", "--gen", "2", "--json"));
    assert_int_equal(cJSON_GetArraySize(cJSON_GetObjectItem(json, "rows")), 1);
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "prompt_tps")) && number(json, "gen_tps") > 0);
    cJSON_Delete(json);
    json = run_json(0, ARGUMENTS("--gguf", MODEL, "--prompt", "2", "--gen", "0", "--json", "--layers", "2"));
    assert_true(cJSON_IsNull(cJSON_GetObjectItem(json, "gen_tps")) && number(json, "prompt_tps") > 0);
    assert_int_equal(number(json, "layers"), 2);
    cJSON_Delete(json);
}

static int count(const char *text, const char *what) {
    int n = 0;
    for (; (text = strstr(text, what)); text += strlen(what)) n++;
    return n;
}

static void the_table_has_a_line_a_row_and_a_line_a_rank(void **state) {
    (void)state;
    process_result r = process_run(2, ARGUMENTS(SMALL, "--prompt", "4", "--streams", "1,2"), NULL);
    expect_success(&r);
    assert_int_equal(count(r.out.data, "\nprompt 4 "), 1);
    assert_int_equal(count(r.out.data, "\ngenerate 3 "), 2);
    assert_int_equal(count(r.out.data, " rank 0: attention "), 3);
    assert_int_equal(count(r.out.data, " rank 1: attention "), 3);
    assert_int_equal(count(r.out.data, " ms a token\n"), 6);
    for (char *line = strtok(r.out.data, "\n"); line; line = strtok(NULL, "\n"))
        if (strlen(line) > 110) fail_msg("too wide: %s", line);
    process_free(&r);
}

static void csv_has_equally_many_fields_in_each_line(void **state) {
    (void)state;
    process_result r = process_run(2, ARGUMENTS(SMALL, "--prompt", "4", "--streams", "1,2", "--csv"), NULL);
    expect_success(&r);
    int lines = 0;
    for (char *line = strtok(r.out.data, "\n"); line; line = strtok(NULL, "\n"), lines++) {
        assert_int_equal(count(line, ","), 17);
        if (lines == 0) assert_ptr_equal(strstr(line, "work,tokens,depth,"), line);
    }
    assert_int_equal(lines, 1 + 3 * 2);
    process_free(&r);
}

static void the_picture_shows_what_was_swept(void **state) {
    (void)state;
    char path[256];
    snprintf(path, sizeof path, "%s/gptoss-bench-%d.svg", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    static const struct {
        const char *depth, *streams;
        int charts, lines, points;
    } cases[] = {{"0", "1", 1, 1, 1}, {"0,30", "1", 2, 2, 4}, {"0", "1,2,5", 1, 1, 3}, {"30,0", "1,2", 3, 5, 10}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        process_result r = process_run(
            0,
            ARGUMENTS(SMALL, "--prompt", "4", "--depth", cases[i].depth, "--streams", cases[i].streams, "--plot", path),
            NULL);
        expect_success(&r);
        process_free(&r);
        buffer svg = {0};
        assert_ok(buffer_read_file(&svg, path, 1 << 20, err));
        assert_int_equal(strncmp(svg.data, "<svg ", 5), 0);
        assert_string_equal(svg.data + svg.size - 7, "</svg>\n");
        assert_int_equal(count(svg.data, "class=\"title\""), cases[i].charts);
        assert_int_equal(count(svg.data, "<polyline"), cases[i].lines);
        assert_int_equal(count(svg.data, "<circle"), cases[i].points);
        assert_null(strstr(svg.data, "nan"));
        buffer_free(&svg);
    }
    unlink(path);
}

/* A token goes to rank 1 and back, and a single process sends nothing. */
static void modelled_hops_are_never_too_short(void **state) {
    (void)state;
    cJSON *json =
        run_json(2, ARGUMENTS(SMALL, "--prompt", "0", "--link-model", "latency=4ms,bandwidth=10Mbit", "--json"));
    assert_true(number(json, "gen_tps") < 1 / 8e-3);
    cJSON_Delete(json);
    json = run_json(0, ARGUMENTS(SMALL, "--prompt", "0", "--link-model", "latency=1ms", "--json"));
    assert_true(number(json, "gen_tps") > 0);
    cJSON_Delete(json);
}

/* Sleeping stages take what was asked for, at least, and never do better than the ideal that is told beside. */
static void simulated_stages_take_their_time(void **state) {
    (void)state;
    /* One repetition: the mean of speeds is more than the speed of mean times. */
    for (int ranks = 0; ranks <= 4; ranks += 2) {
        int n = ranks ? ranks : 1;
        cJSON *json =
            run_json(ranks, ARGUMENTS("--gguf", MODEL, "--reps", "1", "--gen", "3", "--prompt", "3", "--threads", "1",
                                      "--streams", "1,8", "--simulate", "stage=4ms", "--json"));
        const cJSON *rows = cJSON_GetObjectItem(json, "rows"), *row, *phases;
        assert_int_equal(cJSON_GetArraySize(rows), 3);
        cJSON_ArrayForEach(row, rows) {
            double tokens_a_wave =
                is_generation(row) ? number(row, "streams") / (number(row, "streams") > 1 ? n : 1) : 3;
            cJSON_ArrayForEach(phases, cJSON_GetObjectItem(row, "phases_ms_per_token"))
                assert_true((number(phases, "attention") + number(phases, "experts")) * tokens_a_wave >= 3.999);
            if (!is_generation(row)) continue;
            assert_true(number(row, "ideal_tps") <= number(row, "streams") * 250 / n + 1e-3);
            assert_true(number(row, "tps") <= number(row, "ideal_tps") * 1.001);
            assert_int_equal(cJSON_HasObjectItem(row, "hop_us"), number(row, "streams") == 1);
        }
        cJSON_Delete(json);
    }
}

static void simulated_stages_can_be_measured(void **state) {
    (void)state;
    cJSON *json =
        run_json(2, ARGUMENTS(SMALL, "--prompt", "40", "--streams", "1,3", "--simulate", "measured", "--json"));
    const cJSON *row;
    cJSON_ArrayForEach(row, cJSON_GetObjectItem(json, "rows")) check_phases(row, 2);
    cJSON_Delete(json);
}

/* ---- --trace ---- */

static cJSON *read_json(const char *path) {
    buffer text = {0};
    assert_ok(buffer_read_file(&text, path, 16 << 20, err));
    cJSON *json = cJSON_ParseWithLength(text.data, text.size);
    if (!json) fail_msg("%s is not JSON", path);
    buffer_free(&text);
    return json;
}

static bool is_span_of(const cJSON *event, int rank) {
    return strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(event, "ph")), "X") == 0 && number(event, "pid") == rank;
}

/* Milliseconds in spans of a category, and that spans of a rank come one after the other. */
static double sum_spans(const cJSON *events, int rank, const char *category) {
    const cJSON *event;
    double sum = 0, end = -1e300;
    cJSON_ArrayForEach(event, events) {
        if (!is_span_of(event, rank)) continue;
        double begin = number(event, "ts"), length = number(event, "dur");
        if (begin < end - 0.0021 || length < 0)
            fail_msg("rank %d: a span at %.3f us begins before %.3f", rank, begin, end);
        end = begin + length;
        if (strcmp(cJSON_GetStringValue(cJSON_GetObjectItem(event, "cat")), category) == 0) sum += length / 1e3;
        const cJSON *arguments = cJSON_GetObjectItem(event, "args");
        assert_true(number(arguments, "wave") >= 0 && number(arguments, "tokens") <= 128);
        assert_true(number(arguments, "sequences") <= number(arguments, "tokens"));
    }
    return sum;
}

/* Milliseconds a step of one rank, traced, beside what the result tells of them. */
static void check_traced(const cJSON *events, const cJSON *told, int rank, int steps) {
    double compute = sum_spans(events, rank, "compute") / steps, wait = sum_spans(events, rank, "wait") / steps;
    double transfer = sum_spans(events, rank, "transfer") / steps, all = 0;
    const cJSON *phase;
    cJSON_ArrayForEach(phase, told) all += phase->valuedouble;
    double told_compute = number(told, "attention") + number(told, "experts") + number(told, "output");
    if (compute < told_compute * 0.999) fail_msg("rank %d: %g of compute, %g traced", rank, told_compute, compute);
    if (rank > 0) return; /* it waits before rank 0 begins, and after it ends */
    double told_wait = number(told, "waiting"), told_transfer = number(told, "transfer");
    if (fabs(wait - told_wait) > 0.02) fail_msg("%g of waiting, %g traced", told_wait, wait);
    if (fabs(transfer - told_transfer) > 0.02) fail_msg("%g of transfers, %g traced", told_transfer, transfer);
    if (compute + wait + transfer > all * 1.001) fail_msg("%g ms a step, %g traced", all, compute + wait + transfer);
}

/* Spans too short to be worth one are left out. */
static void a_trace_agrees_with_the_phases(void **state) {
    (void)state;
    enum { STEPS = 12 };
    char path[256];
    snprintf(path, sizeof path, "%s/gptoss-bench-%d.json", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    for (int ranks = 0; ranks <= 3; ranks += 3) {
        cJSON *json = run_json(ranks, ARGUMENTS("--gguf", MODEL, "--reps", "1", "--gen", "12", "--prompt", "0",
                                                "--link-model", "latency=1ms", "--trace", path, "--json"));
        const cJSON *row = cJSON_GetArrayItem(cJSON_GetObjectItem(json, "rows"), 0);
        cJSON *trace = read_json(path);
        const cJSON *events = cJSON_GetObjectItem(trace, "traceEvents");
        for (int rank = 0; rank < (ranks ? ranks : 1); rank++) {
            check_traced(events, cJSON_GetArrayItem(cJSON_GetObjectItem(row, "phases_ms_per_token"), rank), rank,
                         STEPS);
            double transfer = sum_spans(events, rank, "transfer") / STEPS;
            if (ranks && transfer < 0.999) fail_msg("rank %d: transfers of 1 ms took %g", rank, transfer);
        }
        cJSON_Delete(trace);
        cJSON_Delete(json);
    }
    unlink(path);
}

/* Every refusal: exit status 2, one line from one rank that names the trouble, nothing on standard output. */
static void misuse_is_refused_in_one_line(void **state) {
    (void)state;
    const struct {
        const char *const *arguments;
        const char *names;
    } cases[] = {
        {ARGUMENTS("--prompt", "4"), "--gguf"},
        {ARGUMENTS("--gguf", MODEL, "--prompt", "0", "--gen", "0"), "nothing to measure"},
        {ARGUMENTS("--gguf", MODEL, "--depth", "1,,2"), "--depth"},
        {ARGUMENTS("--gguf", MODEL, "--depth", ""), "--depth"},
        {ARGUMENTS("--gguf", MODEL, "--streams", "0"), "--streams"},
        {ARGUMENTS("--gguf", MODEL, "--reps", "0"), "--reps"},
        {ARGUMENTS("--gguf", MODEL, "--json", "--csv"), "exclude"},
        {ARGUMENTS("--gguf", MODEL, "--dept", "1"), "--depth"},
        {ARGUMENTS("--gguf", MODEL, "--depth", "200000"), "the model was made for 131072"},
        {ARGUMENTS("--gguf", MODEL, "--isa", "z80"), "--isa"},
        {ARGUMENTS("--gguf", MODEL, "--cpu-bind", "all"), "--cpu-bind"},
        {ARGUMENTS("--gguf", MODEL, "--layers", "99"), "--layers"},
        {ARGUMENTS("--gguf", MODEL, "--link-model", "latency=fast"), "--link-model: latency is a time such as 200us"},
        {ARGUMENTS("--gguf", MODEL, "--plot", "/nonexistent/x.svg"), "--plot"},
        {ARGUMENTS("--gguf", MODEL, "--trace", "/nonexistent/x.json"), "--trace"},
        {ARGUMENTS("--gguf", MODEL, "--simulate", "fast"), "--simulate is stage=TIME or measured"},
        {ARGUMENTS("--gguf", MODEL, "--simulate", "stage=5"), "--simulate: stage is a time"},
        {ARGUMENTS("--gguf", MODEL, "--simulate", "stage=0ms"), "--simulate: a stage takes some time"},
        {ARGUMENTS("--gguf", MODEL, "--depth", "1,2,3,4,5,6,7,8,9,10,11", "--streams", "1,2,3,4,5,6,7,8,9,10,11",
                   "--chunk", "1,2,3,4,5,6,7,8,9,10,11"),
         "measurements"},
        {ARGUMENTS("--gguf", "/nonexistent.gguf"), "/nonexistent.gguf"},
        {ARGUMENTS("--gguf", TEST_DATA "/golden/f32.json"), "f32.json"},
    };
    unsetenv("GPT_OSS_GGUF_PATH");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        process_result r = process_run(i % 3 == 0 ? 2 : 0, cases[i].arguments, NULL);
        if (r.exit_status != 2) fail_msg("case %zu: exit status %d, stderr: %s", i, r.exit_status, r.err.data);
        assert_int_equal(r.out.size, 0);
        char *line = strstr(r.err.data, "gptoss-dist: ");
        if (!line || !strstr(line, cases[i].names)) fail_msg("case %zu: %s", i, r.err.data);
        assert_null(strstr(line + 1, "gptoss-dist: ")); /* once */
        process_free(&r);
    }
}

static void an_interrupt_ends_all_ranks(void **state) {
    (void)state;
    for (int ranks = 0; ranks <= 2; ranks += 2) {
        const char **command = process_command(ranks, ARGUMENTS("--gguf", MODEL, "--gen", "100000", "--prompt", "0"));
        process p = process_start(command, NULL);
        usleep(1500000);
        kill(p.pid, SIGINT);
        process_result r = process_wait(&p, 20);
        assert_int_not_equal(r.exit_status, 0);
        assert_int_not_equal(r.exit_status, -1);
        process_free(&r);
        free(command);
    }
}

static int occurrences(const char *text, const char *what) {
    int count = 0;
    for (; (text = strstr(text, what)); text++) count++;
    return count;
}

/* A prompt of four chunks and three steps: seven waves in the layers of each rank. */
static void a_trace_can_be_a_drawing(void **state) {
    (void)state;
    char path[256];
    buffer picture = {0};
    snprintf(path, sizeof path, "%s/gptoss-bench-%d.svg", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp", (int)getpid());
    cJSON_Delete(run_json(2, ARGUMENTS("--gguf", MODEL, "--reps", "1", "--gen", "3", "--prompt", "16", "--chunk", "4",
                                       "--trace", path, "--json")));
    assert_ok(buffer_read_file(&picture, path, 1 << 20, err));
    assert_int_equal(strncmp(picture.data, "<svg ", 5), 0);
    assert_non_null(strstr(picture.data, "</svg>"));
    assert_int_equal(occurrences(picture.data, ">rank "), 2);
    assert_int_equal(occurrences(picture.data, ", layers: "), 2 * 7);
    assert_int_equal(occurrences(picture.data, ", layers: 4 tokens, "), 2 * 4);
    assert_null(strstr(picture.data, "nan"));
    buffer_free(&picture);
    unlink(path);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_tells_speeds_memory_and_start_on_any_ranks),
        cmocka_unit_test(lists_are_swept),
        cmocka_unit_test(either_kind_of_work_can_be_left_out),
        cmocka_unit_test(the_table_has_a_line_a_row_and_a_line_a_rank),
        cmocka_unit_test(csv_has_equally_many_fields_in_each_line),
        cmocka_unit_test(the_picture_shows_what_was_swept),
        cmocka_unit_test(modelled_hops_are_never_too_short),
        cmocka_unit_test(simulated_stages_take_their_time),
        cmocka_unit_test(simulated_stages_can_be_measured),
        cmocka_unit_test(a_trace_agrees_with_the_phases),
        cmocka_unit_test(a_trace_can_be_a_drawing),
        cmocka_unit_test(misuse_is_refused_in_one_line),
        cmocka_unit_test(an_interrupt_ends_all_ranks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
