/* The command line of `serve`: what cannot mean anything is refused before a model is opened. */
#include "cli/serve_options.h"
#include "support.h"

static const cluster alone = {.size = 1, .local_size = 1};

/* The status of `serve --gguf x` with a flag and its value; its words go to *why. */
static gptoss_status parse(const char *flag, const char *value, gptoss_error *why) {
    char *argv[] = {(char *)"serve", (char *)"--gguf", (char *)"x", (char *)flag, (char *)value};
    serve_options o;
    *why = (gptoss_error){0};
    gptoss_status status = serve_options_parse(&alone, 5, argv, NULL, &o, why);
    serve_options_free(&o);
    return status;
}

static void expect_refusal(const char *flag, const char *value) {
    gptoss_error why;
    gptoss_status status = parse(flag, value, &why);
    if (status != GPTOSS_MISUSE || strncmp(why.text, flag, strlen(flag)) != 0)
        fail_msg("%s \"%s\": %s: %s", flag, value, gptoss_status_name(status), why.text);
}

static void expect_success(const char *flag, const char *value) {
    gptoss_error why;
    if (parse(flag, value, &why) != GPTOSS_OK) fail_msg("%s \"%s\": %s", flag, value, why.text);
}

/* Browsers compare it byte for byte with what they sent. */
static void origins_are_what_browsers_send(void **state) {
    (void)state;
    static const char *const good[] = {"*", "https://example.org", "http://localhost:3000", "https://[::1]:8443"};
    static const char *const bad[] = {"",        "example.org",           "https://",         "https://example.org/",
                                      "ftp://x", "https://a.org/b",       "https://a.org?b",  "https://a, https://b",
                                      "**",      "https://a.org\r\nX: y", "https://b\xC3\xA9"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) expect_success("--cors-origin", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) expect_refusal("--cors-origin", bad[i]);
}

static void names_are_not_empty(void **state) {
    (void)state;
    expect_success("--alias", "gpt-oss");
    expect_refusal("--alias", "");
}

static void headers_are_constrained_or_not(void **state) {
    (void)state;
    static const char *const good[] = {"on", "off"}, *const bad[] = {"", "no", "ON", "off "};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) expect_success("--constrain-headers", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) expect_refusal("--constrain-headers", bad[i]);
}

static void addresses_have_a_host_and_a_port(void **state) {
    (void)state;
    static const char *const good[] = {"127.0.0.1:0", "[::1]:9899", "localhost:65535"};
    static const char *const bad[] = {"", ":1", "localhost", "localhost:", "localhost:65536", "[::1]", "[]:1", "a:-1"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) expect_success("--bind", good[i]);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) expect_refusal("--bind", bad[i]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(origins_are_what_browsers_send),
        cmocka_unit_test(names_are_not_empty),
        cmocka_unit_test(headers_are_constrained_or_not),
        cmocka_unit_test(addresses_have_a_host_and_a_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
