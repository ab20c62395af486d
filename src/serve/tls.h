/* tls.h: the certificate and the key with which the server shows its clients who it is. */
#ifndef SERVE_TLS_H
#define SERVE_TLS_H

#include "base/buffer.h"

typedef struct tls_identity {
    buffer certificate, key; /* PEM; owned */
} tls_identity;

/* Reads both, and checks that they are what they should be and belong together. GPTOSS_MISUSE when the HTTP library was
 * built without TLS. *out is empty after a failure. */
gptoss_status tls_identity_read(const char *certificate_path, const char *key_path, tls_identity *out,
                                gptoss_error *err);
void tls_identity_free(tls_identity *t);

#endif
