#include "serve/listen.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the system keeps of an answer that its client does not read; without a limit it would be megabytes each. */
enum { BACKLOG = 511, SEND_BUFFER = 256 << 10 };

static bool is_loopback(const struct sockaddr *a) {
    if (a->sa_family == AF_INET) return ntohl(((const struct sockaddr_in *)a)->sin_addr.s_addr) >> 24 == 127;
    return a->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&((const struct sockaddr_in6 *)a)->sin6_addr);
}

static gptoss_status bind_and_listen(const struct addrinfo *a, const char *host, const char *port, int *out,
                                     gptoss_error *err) {
    int yes = 1, fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return error_set_errno(err, GPTOSS_IO, errno, "cannot open a socket to listen on");
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER}, sizeof(int)); /* connections inherit it */
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) {
        *out = fd;
        return GPTOSS_OK;
    }
    int reason = errno;
    close(fd);
    return error_set_errno(err, GPTOSS_MISUSE, reason, "cannot listen on %s port %s%s", host, port,
                           reason == EADDRINUSE ? " (another program does; choose another port with --bind)" : "");
}

static void name_address(int fd, const char *scheme, char *url, size_t size) {
    struct sockaddr_storage a;
    socklen_t length = sizeof a;
    char host[NI_MAXHOST] = "?", port[NI_MAXSERV] = "?";
    if (getsockname(fd, (struct sockaddr *)&a, &length) == 0)
        getnameinfo((struct sockaddr *)&a, length, host, sizeof host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV);
    bool six = a.ss_family == AF_INET6;
    snprintf(url, size, "%s://%s%.200s%s:%s", scheme, six ? "[" : "", host, six ? "]" : "", port);
}

gptoss_status listen_open(const char *host, const char *port, bool open_to_others, const char *scheme, int *out,
                          char *url, size_t size, gptoss_error *err) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    int problem = getaddrinfo(host, port, &hints, &found);
    if (problem)
        return error_set(err, GPTOSS_MISUSE, "cannot listen on %s port %s: %s", host, port, gai_strerror(problem));
    gptoss_status status;
    if (!open_to_others && !is_loopback(found->ai_addr))
        status =
            error_set(err, GPTOSS_MISUSE,
                      "%s can be reached from other machines: give --api-key-file FILE so that only those who know "
                      "the key are served, or --insecure to serve everybody",
                      host);
    else
        status = bind_and_listen(found, host, port, out, err);
    freeaddrinfo(found);
    if (status == GPTOSS_OK) name_address(*out, scheme, url, size);
    return status;
}
