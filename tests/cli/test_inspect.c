#include <math.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "cli/commands.h"
#include "cli/inspect_report.h"
#include "gguf/craft.h"

static char path[256];
static gptoss_error failure; /* what the command complained of last */

/* In place of the program's own, which prints. */
int command_fail(const gptoss_error *err) {
    failure = *err;
    return err->status == GPTOSS_MISUSE || err->status == GPTOSS_BAD_INPUT ? 2 : 1;
}

static int make_folder(void **state) {
    if (craft_folder_make(state) != 0) return -1;
    snprintf(path, sizeof path, "%s/inspected.gguf", (const char *)*state);
    return 0;
}

static gguf_file *open_file(const char *file_path) {
    gguf_file *file = NULL;
    assert_ok(gguf_open(file_path, &file, err));
    return file;
}

static gguf_file *save_and_open(craft *c) {
    craft_save(c, path);
    craft_free(c);
    return open_file(path);
}

/* The caller frees it. Closes the file. */
static char *printed(gguf_file *file, bool json, inspect_options options) {
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    if (json)
        inspect_print_json(out, file, &options);
    else
        inspect_print_text(out, file, &options);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(strlen(text), size);
    gguf_close(file);
    return text;
}

static const inspect_options brief = {true, true, false}, full = {true, true, true};

static cJSON *parsed(gguf_file *file, inspect_options options) {
    char *text = printed(file, true, options);
    const char *end;
    cJSON *root = cJSON_ParseWithOpts(text, &end, true);
    if (!root) fail_msg("no JSON: %s", text);
    free(text);
    return root;
}

static const cJSON *member(const cJSON *object, const char *name) {
    const cJSON *found = cJSON_GetObjectItemCaseSensitive(object, name);
    if (!found) fail_msg("no member %s", name);
    return found;
}

/* Of a metadata key. */
static const cJSON *value(const cJSON *root, const char *key) {
    return member(member(member(root, "metadata"), key), "value");
}

static void assert_number(const cJSON *item, double want) {
    assert_true(cJSON_IsNumber(item));
    assert_true(item->valuedouble == want);
}

static void assert_text(const cJSON *item, const char *want) {
    assert_true(cJSON_IsString(item));
    assert_string_equal(item->valuestring, want);
}

static void craft_numbers(craft *c) {
    craft_head(c, 3, 0, 13);
    craft_key(c, "u8", GGUF_U8), craft_u8(c, 255);
    craft_key(c, "i8", GGUF_I8), craft_u8(c, (uint8_t)-128);
    craft_key(c, "i32", GGUF_I32), craft_u32(c, (uint32_t)-5);
    craft_key(c, "u64", GGUF_U64), craft_u64(c, UINT64_C(1) << 53);
    craft_key(c, "u64+", GGUF_U64), craft_u64(c, (UINT64_C(1) << 53) + 1);
    craft_key(c, "i64", GGUF_I64), craft_u64(c, (uint64_t)INT64_MIN);
    craft_key(c, "f32", GGUF_F32), craft_f32(c, 0.1f);
    craft_key(c, "f64", GGUF_F64), craft_f64(c, 0.1);
    craft_key(c, "large", GGUF_F32), craft_f32(c, 150000);
    craft_key(c, "nan", GGUF_F32), craft_f32(c, NAN);
    craft_key(c, "infinite", GGUF_F64), craft_f64(c, -INFINITY);
    craft_key(c, "tiny", GGUF_F64), craft_f64(c, 5e-324);
    craft_key(c, "bool", GGUF_BOOL), craft_bool(c, true);
}

static void json_numbers_are_exact(void **state) {
    (void)state;
    craft c = {0};
    craft_numbers(&c);
    cJSON *root = parsed(save_and_open(&c), brief);
    assert_number(value(root, "u8"), 255);
    assert_number(value(root, "i8"), -128);
    assert_number(value(root, "i32"), -5);
    assert_number(value(root, "u64"), 9007199254740992.0);
    assert_text(value(root, "u64+"), "9007199254740993");
    assert_text(value(root, "i64"), "-9223372036854775808");
    assert_true((float)value(root, "f32")->valuedouble == 0.1f);
    assert_number(value(root, "f64"), 0.1);
    assert_number(value(root, "large"), 150000);
    assert_text(value(root, "nan"), "NaN");
    assert_text(value(root, "infinite"), "-Infinity");
    assert_number(value(root, "tiny"), 5e-324);
    assert_true(cJSON_IsTrue(value(root, "bool")));
    assert_text(member(member(member(root, "metadata"), "i8"), "kind"), "i8");
    assert_number(member(root, "version"), 3);
    assert_number(member(root, "alignment"), 32);
    assert_int_equal(cJSON_GetArraySize(member(root, "tensors")), 0);
    cJSON_Delete(root);
}

static void text_numbers_are_short(void **state) {
    (void)state;
    craft c = {0};
    craft_numbers(&c);
    char *text = printed(save_and_open(&c), false, brief);
    static const char *const lines[] = {
        "  u8        u8    255\n",
        "  f32       f32   0.1\n",
        "  f64       f64   0.1\n",
        "  large     f32   150000\n",
        "  nan       f32   NaN\n",
        "  bool      bool  true\n",
        "metadata: 13 keys\n",
        "tensors: 0\n",
        "  u64+      u64   9007199254740993\n",
    };
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++)
        if (!strstr(text, lines[i])) fail_msg("no line '%s' in\n%s", lines[i], text);
    free(text);
}

static void craft_arrays(craft *c) {
    craft_head(c, 3, 0, 3);
    craft_key(c, "words", GGUF_ARRAY), craft_array(c, GGUF_STRING, 20);
    for (char i = 0; i < 20; i++) craft_string(c, (char[]){(char)('a' + i), 0});
    craft_key(c, "nested", GGUF_ARRAY), craft_array(c, GGUF_ARRAY, 3);
    craft_array(c, GGUF_U16, 12);
    for (uint16_t i = 0; i < 12; i++) craft_u16(c, i);
    craft_array(c, GGUF_STRING, 1), craft_string(c, "in");
    craft_array(c, GGUF_BOOL, 2), craft_bool(c, true), craft_bool(c, false);
    craft_key(c, "none", GGUF_ARRAY), craft_array(c, GGUF_F32, 0);
}

static void long_arrays_are_cut_unless_all_is_wanted(void **state) {
    (void)state;
    for (int is_full = 0; is_full < 2; is_full++) {
        craft c = {0};
        craft_arrays(&c);
        cJSON *root = parsed(save_and_open(&c), is_full ? full : brief);
        const cJSON *words = member(member(root, "metadata"), "words");
        assert_text(member(words, "kind"), "array");
        assert_text(member(words, "element"), "string");
        assert_number(member(words, "count"), 20);
        assert_int_equal(cJSON_IsTrue(member(words, "complete")), is_full);
        assert_int_equal(cJSON_GetArraySize(member(words, "value")), is_full ? 20 : 8);
        assert_text(cJSON_GetArrayItem(member(words, "value"), 7), "h");

        const cJSON *nested = value(root, "nested");
        assert_int_equal(cJSON_GetArraySize(nested), 3);
        const cJSON *inner = cJSON_GetArrayItem(nested, 0);
        assert_number(member(inner, "count"), 12);
        assert_int_equal(cJSON_IsTrue(member(inner, "complete")), is_full);
        assert_int_equal(cJSON_GetArraySize(member(inner, "value")), is_full ? 12 : 8);
        assert_text(cJSON_GetArrayItem(member(cJSON_GetArrayItem(nested, 1), "value"), 0), "in");
        assert_true(cJSON_IsFalse(cJSON_GetArrayItem(member(cJSON_GetArrayItem(nested, 2), "value"), 1)));
        assert_int_equal(cJSON_GetArraySize(value(root, "none")), 0);
        cJSON_Delete(root);

        craft_arrays(&c);
        char *text = printed(save_and_open(&c), false, is_full ? full : brief);
        assert_non_null(strstr(text, is_full ? "\"r\", \"s\", \"t\"]\n"
                                             : "string[20]  [\"a\", \"b\", \"c\", \"d\", \"e\", ...]\n"));
        assert_non_null(strstr(text, is_full ? "[[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11], [\"in\"], [true, false]]\n"
                                             : "[[0, 1, 2, 3, 4, ...], [\"in\"], [true, false]]\n"));
        free(text);
    }
}

#define BAD "\xEF\xBF\xBD"

static void texts_are_safe_to_show(void **state) {
    (void)state;
    char longer[300];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    craft c = {0};
    craft_head(&c, 3, 1, 3);
    craft_key_text(&c, "k\x1B[2J\xFF", "a\"b\\c\n\t\x01\x7F\xC3\x28 \xE2\x82\xAC\xE2\x80\xAE end");
    craft_key_text(&c, "quote\"key", "");
    craft_key_text(&c, "long", longer);
    craft_tensor(&c, "t\n\xC0\"", TYPE_F32, 0, 1, (uint64_t[]){1});
    craft_align(&c, 32), craft_data(&c, 4);
    craft_save(&c, path);
    craft_free(&c);

    cJSON *root = parsed(open_file(path), brief);
    assert_text(value(root, "k\x1B[2J" BAD), "a\"b\\c\n\t\x01\x7F" BAD "( \xE2\x82\xAC\xE2\x80\xAE end");
    assert_text(value(root, "quote\"key"), "");
    assert_text(value(root, "long"), longer);
    assert_text(member(cJSON_GetArrayItem(member(root, "tensors"), 0), "name"), "t\n" BAD "\"");
    cJSON_Delete(root);

    for (int json = 0; json < 2; json++) {
        char *text = printed(open_file(path), json, full);
        for (const char *at = text; *at; at++) assert_true(*at == '\n' || ((unsigned char)*at >= 0x20 && *at != 0x7F));
        assert_null(strstr(text, "\xE2\x80\xAE"));
        assert_null(strchr(text, '\xFF'));
        assert_non_null(strstr(text, longer));
        free(text);
    }
    char *text = printed(open_file(path), false, brief);
    assert_null(strstr(text, longer));
    assert_non_null(strstr(text, "xxx...\"\n"));
    assert_non_null(strstr(text, "  k" BAD "[2J" BAD "     string  \"a\\\"b\\\\c\\n\\t" BAD BAD BAD "( \xE2\x82\xAC" BAD
                                 " end\"\n"));
    free(text);
}

static void tensors_and_their_sums_are_shown(void **state) {
    (void)state;
    craft c = {0};
    craft_head(&c, 3, 4, 0);
    craft_tensor(&c, "experts", TYPE_MXFP4, 0, 3, (uint64_t[]){64, 4, 2}); /* 512 weights, 272 bytes */
    craft_tensor(&c, "b", TYPE_F32, 288, 1, (uint64_t[]){8});              /* 8, 32 */
    craft_tensor(&c, "new", 1000, 320, 1, (uint64_t[]){100});              /* 100, nobody knows */
    craft_tensor(&c, "a", TYPE_F32, 352, 2, (uint64_t[]){2, 2});           /* 4, 16 */
    craft_align(&c, 32), craft_data(&c, 368);
    craft_save(&c, path);
    craft_free(&c);
    cJSON *root = parsed(open_file(path), brief);
    const cJSON *t = cJSON_GetArrayItem(member(root, "tensors"), 0);
    assert_text(member(t, "name"), "experts");
    assert_text(member(t, "type"), "MXFP4");
    assert_number(member(t, "type_number"), 39);
    assert_int_equal(cJSON_GetArraySize(member(t, "dims")), 3);
    assert_number(cJSON_GetArrayItem(member(t, "dims"), 1), 4);
    assert_number(member(t, "bytes"), 272);
    assert_number(member(t, "part"), 1);
    gguf_file *file = open_file(path);
    assert_number(member(t, "offset"), (double)gguf_tensor_at(file, 0)->offset);
    gguf_close(file);
    t = cJSON_GetArrayItem(member(root, "tensors"), 2);
    assert_true(cJSON_IsNull(member(t, "type")));
    assert_number(member(t, "type_number"), 1000);
    assert_true(cJSON_IsNull(member(t, "bytes")));
    const cJSON *types = member(root, "types");
    assert_int_equal(cJSON_GetArraySize(types), 3);
    assert_text(member(cJSON_GetArrayItem(types, 0), "type"), "MXFP4");
    assert_text(member(cJSON_GetArrayItem(types, 1), "type"), "F32");
    assert_number(member(cJSON_GetArrayItem(types, 1), "tensors"), 2);
    assert_number(member(cJSON_GetArrayItem(types, 1), "weights"), 12);
    assert_number(member(cJSON_GetArrayItem(types, 1), "bytes"), 48);
    assert_number(member(member(root, "total"), "tensors"), 4);
    assert_number(member(member(root, "total"), "weights"), 624);
    assert_number(member(member(root, "total"), "bytes"), 320);
    double bits = member(member(root, "total"), "bits_per_weight")->valuedouble;
    assert_true(fabs(bits - 8.0 * 320 / 524) < 1e-4);
    cJSON_Delete(root);

    char *text = printed(open_file(path), false, brief);
    assert_non_null(strstr(text, "  experts  MXFP4      64 x 4 x 2 "));
    assert_non_null(strstr(text, "  new      type 1000  100 "));
    assert_non_null(strstr(text, "4.89 bits per weight"));
    free(text);
}

static void sections_can_be_chosen(void **state) {
    (void)state;
    craft c = {0};
    craft_head(&c, 3, 1, 1);
    craft_key_text(&c, "the.key", "v");
    craft_tensor(&c, "the.tensor", TYPE_I8, 0, 1, (uint64_t[]){1});
    craft_align(&c, 32), craft_data(&c, 1);
    craft_save(&c, path);
    craft_free(&c);
    for (int json = 0; json < 2; json++)
        for (int sections = 0; sections < 4; sections++) {
            char *text = printed(open_file(path), json, (inspect_options){sections & 1, sections & 2, false});
            assert_int_equal(strstr(text, "the.key") != NULL, (sections & 1) != 0);
            assert_int_equal(strstr(text, "the.tensor") != NULL, (sections & 2) != 0);
            free(text);
        }
}

static void parts_of_a_split_file_are_listed(void **state) {
    char parts[2][256];
    for (uint16_t i = 0; i < 2; i++) {
        snprintf(parts[i], sizeof parts[i], "%s/s-%05d-of-00002.gguf", (const char *)*state, i + 1);
        craft c = {0};
        craft_head(&c, 3, 1, 3);
        craft_key_split(&c, i, 2, 2);
        craft_tensor(&c, i ? "second" : "first", TYPE_I8, 0, 1, (uint64_t[]){9});
        craft_align(&c, 32), craft_data(&c, 9);
        craft_save(&c, parts[i]);
        craft_free(&c);
    }
    cJSON *root = parsed(open_file(parts[1]), brief);
    for (int i = 0; i < 2; i++) {
        assert_text(member(cJSON_GetArrayItem(member(root, "parts"), i), "path"), parts[i]);
        assert_number(member(cJSON_GetArrayItem(member(root, "tensors"), i), "part"), i + 1);
    }
    double size[2];
    for (int i = 0; i < 2; i++) size[i] = member(cJSON_GetArrayItem(member(root, "parts"), i), "bytes")->valuedouble;
    assert_true(size[0] > 100 && size[1] > 100);
    assert_number(member(root, "bytes"), size[0] + size[1]);
    cJSON_Delete(root);
    char *text = printed(open_file(parts[0]), false, brief);
    assert_non_null(strstr(text, parts[1]));
    assert_non_null(strstr(text, "2 parts"));
    free(text);
}

/* Runs the command with standard output going to `output` (a path), and gives its status. */
static int run(char *const *arguments, const char *output) {
    int count = 0;
    while (arguments[count]) count++;
    fflush(stdout);
    int saved = dup(STDOUT_FILENO);
    assert_non_null(freopen(output, "w", stdout));
    failure = (gptoss_error){0};
    int status = inspect_command(count, (char **)(uintptr_t)arguments);
    fflush(stdout);
    clearerr(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    return status;
}

static void the_command_tells_misuse_from_trouble(void **state) {
    (void)state;
    char golden_path[512];
    snprintf(golden_path, sizeof golden_path, "%s/golden/f32.gguf", TEST_DATA);
    assert_int_equal(run((char *[]){"inspect", golden_path, NULL}, "/dev/null"), 0);
    assert_int_equal(run((char *[]){"inspect", golden_path, "--json", "--full", "--tensors", NULL}, "/dev/null"), 0);
    assert_int_equal(run((char *[]){"inspect", "--help", NULL}, "/dev/null"), 0);
    assert_int_equal(run((char *[]){"inspect", NULL}, "/dev/null"), 2);
    assert_int_equal(run((char *[]){"inspect", golden_path, golden_path, NULL}, "/dev/null"), 2);
    assert_int_equal(run((char *[]){"inspect", "--jsno", golden_path, NULL}, "/dev/null"), 2);
    assert_non_null(strstr(failure.text, "--jsno"));
    assert_int_equal(run((char *[]){"inspect", "/no/such/file.gguf", NULL}, "/dev/null"), 2);
    assert_non_null(strstr(failure.text, "/no/such/file.gguf"));
    assert_int_equal(run((char *[]){"inspect", golden_path, NULL}, "/dev/full"), 1);
    assert_non_null(strstr(failure.text, "standard output"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(json_numbers_are_exact),
        cmocka_unit_test(text_numbers_are_short),
        cmocka_unit_test(long_arrays_are_cut_unless_all_is_wanted),
        cmocka_unit_test(texts_are_safe_to_show),
        cmocka_unit_test(tensors_and_their_sums_are_shown),
        cmocka_unit_test(sections_can_be_chosen),
        cmocka_unit_test(parts_of_a_split_file_are_listed),
        cmocka_unit_test(the_command_tells_misuse_from_trouble),
    };
    return cmocka_run_group_tests(tests, make_folder, craft_folder_remove);
}
