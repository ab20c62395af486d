/* The server over TLS, with certificates made here. */
#include <sys/socket.h>
#include <unistd.h>

#include <gnutls/x509.h>

#include "serve/client.h"
#include "support.h"

enum { PEM_BYTES = 8192 };

/* ---- certificates ---- */

static char folder[] = "/tmp/gptoss-tls-XXXXXX";

static const char *path_in_folder(const char *name) {
    static char paths[8][64];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static void write_text(const char *name, const char *text, size_t size) {
    FILE *f = fopen(path_in_folder(name), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, size, f), size);
    fclose(f);
}

static void must(int result) {
    if (result < 0) fail_msg("GnuTLS: %s", gnutls_strerror(result));
}

static void write_key(gnutls_x509_privkey_t key, const char *name) {
    char pem[PEM_BYTES];
    size_t size = sizeof pem;
    must(gnutls_x509_privkey_export(key, GNUTLS_X509_FMT_PEM, pem, &size));
    write_text(name, pem, size);
}

/* A key, and a certificate for "localhost" signed with it. */
static void make_identity(const char *certificate_name, const char *key_name) {
    gnutls_x509_privkey_t key;
    gnutls_x509_crt_t certificate;
    char pem[PEM_BYTES];
    size_t size = sizeof pem;
    must(gnutls_x509_privkey_init(&key));
    must(gnutls_x509_privkey_generate(key, GNUTLS_PK_EC, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0));
    must(gnutls_x509_crt_init(&certificate));
    must(gnutls_x509_crt_set_version(certificate, 3));
    must(gnutls_x509_crt_set_serial(certificate, "\x01", 1));
    must(gnutls_x509_crt_set_activation_time(certificate, time(NULL) - 3600));
    must(gnutls_x509_crt_set_expiration_time(certificate, time(NULL) + 86400));
    must(gnutls_x509_crt_set_dn(certificate, "CN=localhost", NULL));
    must(gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, "localhost", 9, GNUTLS_FSAN_SET));
    must(gnutls_x509_crt_set_key(certificate, key));
    must(gnutls_x509_crt_sign2(certificate, certificate, key, GNUTLS_DIG_SHA256, 0));
    must(gnutls_x509_crt_export(certificate, GNUTLS_X509_FMT_PEM, pem, &size));
    write_text(certificate_name, pem, size);
    write_key(key, key_name);
    gnutls_x509_crt_deinit(certificate);
    gnutls_x509_privkey_deinit(key);
}

static int make_files(void **state) {
    (void)state;
    if (!mkdtemp(folder)) return -1;
    make_identity("cert.pem", "key.pem");
    make_identity("other-cert.pem", "other-key.pem");
    write_text("empty.pem", "", 0);
    write_text("noise.pem", "\x30\x82\x00\x01 not PEM", 13);
    write_text("broken.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", 57);
    return 0;
}

static int remove_files(void **state) {
    (void)state;
    static const char *const names[] = {"cert.pem",  "key.pem",   "other-cert.pem", "other-key.pem",
                                        "empty.pem", "noise.pem", "broken.pem"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) unlink(path_in_folder(names[i]));
    return rmdir(folder);
}

/* ---- a client that trusts one certificate ---- */

typedef struct secret_line {
    int socket;
    gnutls_session_t session;
    gnutls_certificate_credentials_t trust;
} secret_line;

/* The result of the handshake: negative when there is no line. */
static int line_open(int port, const char *trusted, const char *priorities, secret_line *l) {
    int result;
    l->socket = client_connect(port);
    must(gnutls_certificate_allocate_credentials(&l->trust));
    must(gnutls_certificate_set_x509_trust_file(l->trust, trusted, GNUTLS_X509_FMT_PEM));
    must(gnutls_init(&l->session, GNUTLS_CLIENT));
    must(gnutls_priority_set_direct(l->session, priorities, NULL));
    must(gnutls_credentials_set(l->session, GNUTLS_CRD_CERTIFICATE, l->trust));
    must(gnutls_server_name_set(l->session, GNUTLS_NAME_DNS, "localhost", 9));
    gnutls_session_set_verify_cert(l->session, "localhost", 0);
    gnutls_transport_set_int(l->session, l->socket);
    do result = gnutls_handshake(l->session);
    while (result < 0 && !gnutls_error_is_fatal(result));
    return result;
}

static void line_close(secret_line *l) {
    gnutls_deinit(l->session);
    gnutls_certificate_free_credentials(l->trust);
    close(l->socket);
}

/* Sends a request, and returns all that comes back; the caller frees it. */
static char *line_ask(secret_line *l, const char *request) {
    buffer all = {0};
    char block[4096];
    ssize_t got;
    assert_int_equal(gnutls_record_send(l->session, request, strlen(request)), strlen(request));
    while ((got = gnutls_record_recv(l->session, block, sizeof block)) > 0 || got == GNUTLS_E_AGAIN)
        if (got > 0) assert_ok(buffer_append(&all, block, (size_t)got, err));
    assert_non_null(all.data);
    return all.data;
}

/* ---- tests ---- */

static void serves_over_tls_alone(void **state) {
    (void)state;
    const char *const flags[] = {
        "--tls-cert", path_in_folder("cert.pem"), "--tls-key", path_in_folder("key.pem"), "--threads", "1", NULL};
    served s = served_start(2, flags);
    secret_line l;
    must(line_open(s.port, path_in_folder("cert.pem"), "NORMAL", &l));
    char *text = line_ask(&l, "GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    assert_non_null(strstr(text, "HTTP/1.1 200 "));
    assert_non_null(strstr(text, "{\"status\":\"ready\"}"));
    free(text);
    line_close(&l);

    must(line_open(s.port, path_in_folder("cert.pem"), "NORMAL:-VERS-ALL:+VERS-TLS1.2", &l));
    static const char body[] = "{\"prompt\":\"What is 2+2?\",\"temperature\":0,\"stream\":true}";
    char request[300];
    snprintf(request, sizeof request,
             "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
             strlen(body), body);
    text = line_ask(&l, request);
    assert_non_null(strstr(text, "\"finish_reason\":\"stop\""));
    assert_non_null(strstr(text, "data: [DONE]"));
    free(text);
    line_close(&l);

    /* neither those who trust somebody else, nor old versions, nor plain HTTP */
    assert_true(line_open(s.port, path_in_folder("other-cert.pem"), "NORMAL", &l) < 0);
    line_close(&l);
    assert_true(line_open(s.port, path_in_folder("cert.pem"), "NORMAL:-VERS-ALL:+VERS-TLS1.1", &l) < 0);
    line_close(&l);
    client_answer a = client_ask(s.port, "GET", "/health", NULL, NULL);
    assert_int_equal(a.http, 0);
    client_answer_free(&a);

    process_result r = served_stop(&s);
    assert_int_equal(r.exit_status, 0);
    process_free(&r);
}

static void frees_the_place_of_a_client_that_left(void **state) {
    (void)state;
    const char *const flags[] = {
        "--tls-cert", path_in_folder("cert.pem"), "--tls-key", path_in_folder("key.pem"), "--threads", "1", NULL};
    served s = served_start(1, flags);
    secret_line l;
    must(line_open(s.port, path_in_folder("cert.pem"), "NORMAL", &l));
    static const char body[] =
        "{\"prompt\":\"Tell me everything.\",\"temperature\":2,\"max_tokens\":30000,\"stream\":true}";
    char request[300], first[64];
    snprintf(request, sizeof request,
             "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
    assert_true(gnutls_record_send(l.session, request, strlen(request)) > 0);
    assert_true(gnutls_record_recv(l.session, first, sizeof first) > 0);
    line_close(&l);
    process_result r = served_stop(&s); /* at once, where a place that is still taken would make it wait */
    assert_int_equal(r.exit_status, 0);
    process_free(&r);
}

static void says_what_is_wrong_with_a_file(void **state) {
    (void)state;
    static const struct {
        const char *certificate, *key; /* NULL: not given */
        const char *words;
    } cases[] = {
        {"cert.pem", NULL, "--tls-cert and --tls-key belong together"},
        {NULL, "key.pem", "--tls-cert and --tls-key belong together"},
        {"none.pem", "key.pem", "--tls-cert: cannot open "},
        {"cert.pem", "none.pem", "--tls-key: cannot open "},
        {".", "key.pem", "--tls-cert: cannot read "},
        {"empty.pem", "key.pem", "no certificate in PEM form"},
        {"noise.pem", "key.pem", "no certificate in PEM form"},
        {"broken.pem", "key.pem", "no certificate in PEM form"},
        {"key.pem", "cert.pem", "no certificate in PEM form"},
        {"cert.pem", "noise.pem", "no private key in PEM form"},
        {"cert.pem", "cert.pem", "no private key in PEM form"},
        {"cert.pem", "other-key.pem", "do not go together"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *arguments[12] = {"serve", "--gguf", DEMO_MODEL, "--bind", "127.0.0.1:0"};
        size_t count = 5;
        if (cases[i].certificate) {
            arguments[count++] = "--tls-cert";
            arguments[count++] = path_in_folder(cases[i].certificate);
        }
        if (cases[i].key) {
            arguments[count++] = "--tls-key";
            arguments[count++] = path_in_folder(cases[i].key);
        }
        process_expect_only(0, arguments, 2, "", cases[i].words);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(serves_over_tls_alone),
        cmocka_unit_test(frees_the_place_of_a_client_that_left),
        cmocka_unit_test(says_what_is_wrong_with_a_file),
    };
    return cmocka_run_group_tests(tests, make_files, remove_files);
}
