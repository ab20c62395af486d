/* listen.h: the socket that the server listens on. */
#ifndef SERVE_LISTEN_H
#define SERVE_LISTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

/* Opens a listening socket on host (a name or address; IPv6 without brackets) and port. Unless `open_to_others`, every
 * address but those of the loopback is refused. url[size] receives where it listens, "SCHEME://127.0.0.1:9899".
 * GPTOSS_MISUSE names what cannot be had. */
gptoss_status listen_open(const char *host, const char *port, bool open_to_others, const char *scheme, int *socket,
                          char *url, size_t size, gptoss_error *err);

#endif
