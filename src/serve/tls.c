#include "serve/tls.h"

#include <string.h>

#include <gnutls/x509.h>
#include <microhttpd.h>

enum { FILE_BYTES = 1 << 20 };

/* ---- reading ---- */

static gptoss_status read_file(const char *path, const char *flag, buffer *out, gptoss_error *err) {
    gptoss_status status = buffer_read_file(out, path, FILE_BYTES, err);
    return status == GPTOSS_OK ? status : error_prefix(err, status, "%s", flag);
}

static gnutls_datum_t datum(const buffer *text) {
    return (gnutls_datum_t){(unsigned char *)text->data, (unsigned)text->size};
}

/* ---- checking: each file alone, so that the message can say which one is wrong ---- */

static gptoss_status check_certificate(const buffer *text, const char *path, gptoss_error *err) {
    gnutls_x509_crt_t *chain = NULL;
    unsigned count = 0;
    const gnutls_datum_t data = datum(text);
    int problem = gnutls_x509_crt_list_import2(&chain, &count, &data, GNUTLS_X509_FMT_PEM, 0);
    if (problem < 0)
        return error_set(err, GPTOSS_MISUSE, "--tls-cert: %s holds no certificate in PEM form: %s", path,
                         gnutls_strerror(problem));
    for (unsigned i = 0; i < count; i++) gnutls_x509_crt_deinit(chain[i]);
    gnutls_free(chain);
    return GPTOSS_OK;
}

static gptoss_status check_key(const buffer *text, const char *path, gptoss_error *err) {
    gnutls_x509_privkey_t key;
    const gnutls_datum_t data = datum(text);
    if (gnutls_x509_privkey_init(&key) < 0) return error_set(err, GPTOSS_NO_MEMORY, "out of memory for a key");
    int problem = gnutls_x509_privkey_import2(key, &data, GNUTLS_X509_FMT_PEM, NULL, 0);
    gnutls_x509_privkey_deinit(key);
    if (problem >= 0) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "--tls-key: %s holds no private key in PEM form without a password: %s", path,
                     gnutls_strerror(problem));
}

static gptoss_status check_pair(const tls_identity *t, const char *certificate_path, const char *key_path,
                                gptoss_error *err) {
    gnutls_certificate_credentials_t both;
    const gnutls_datum_t certificate = datum(&t->certificate), key = datum(&t->key);
    if (gnutls_certificate_allocate_credentials(&both) < 0)
        return error_set(err, GPTOSS_NO_MEMORY, "out of memory for a certificate");
    int problem = gnutls_certificate_set_x509_key_mem(both, &certificate, &key, GNUTLS_X509_FMT_PEM);
    gnutls_certificate_free_credentials(both);
    if (problem >= 0) return GPTOSS_OK;
    return error_set(err, GPTOSS_MISUSE, "the certificate in %s and the key in %s do not go together: %s",
                     certificate_path, key_path, gnutls_strerror(problem));
}

static gptoss_status read_and_check(const char *certificate_path, const char *key_path, tls_identity *t,
                                    gptoss_error *err) {
    TRY(read_file(certificate_path, "--tls-cert", &t->certificate, err));
    TRY(read_file(key_path, "--tls-key", &t->key, err));
    TRY(check_certificate(&t->certificate, certificate_path, err));
    TRY(check_key(&t->key, key_path, err));
    return check_pair(t, certificate_path, key_path, err);
}

gptoss_status tls_identity_read(const char *certificate_path, const char *key_path, tls_identity *out,
                                gptoss_error *err) {
    if (MHD_is_feature_supported(MHD_FEATURE_TLS) != MHD_YES)
        return error_set(err, GPTOSS_MISUSE,
                         "this program's HTTP library was built without TLS: leave --tls-cert out, or put a proxy that "
                         "has TLS in front");
    gptoss_status status = read_and_check(certificate_path, key_path, out, err);
    if (status != GPTOSS_OK) tls_identity_free(out);
    return status;
}

void tls_identity_free(tls_identity *t) {
    if (t->key.data) explicit_bzero(t->key.data, t->key.size);
    buffer_free(&t->key);
    buffer_free(&t->certificate);
}
