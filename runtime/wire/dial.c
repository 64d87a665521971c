/* One address at a time. An address that does not answer must not use up the caller's time while
 * there are others, so it gets a few seconds unless it is the last. */
#include "wire/dial.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "net/resolve.h"

#define PATIENCE 4.0 /* seconds for an address that is not the last */

struct vr_dial {
    struct vr_loop *loop;
    int port;
    vr_dial_cb cb;
    void *payload;
    struct vr_resolve *resolve;
    char *addresses; /* what is left to try */
    char *next;
    int fd;
    struct vr_poll *poll;
    struct vr_timer *timer;
    struct vr_error err; /* of the last address */
};

static void try_next(struct vr_dial *dial);

static void stop(struct vr_dial *dial)
{
    vr_poll_free(dial->poll);
    vr_timer_cancel(dial->timer);
    dial->poll = NULL;
    dial->timer = NULL;
}

static void dial_free(struct vr_dial *dial)
{
    stop(dial);
    vr_resolve_cancel(dial->resolve);
    if (dial->fd >= 0)
        close(dial->fd);
    vr_error_clear(&dial->err);
    free(dial->addresses);
    free(dial);
}

/* Ends the dial: with the descriptor, or with the error of the last address. */
static void finish(struct vr_dial *dial)
{
    int fd = dial->fd;
    struct vr_error err = {0};
    vr_error_move(&err, &dial->err);
    vr_dial_cb cb = dial->cb;
    void *payload = dial->payload;
    dial->fd = -1;
    dial_free(dial);
    cb(payload, fd, fd < 0 ? &err : NULL);
    vr_error_clear(&err);
}

static void attempt_failed(struct vr_dial *dial, int number)
{
    stop(dial);
    if (dial->fd >= 0)
        close(dial->fd);
    dial->fd = -1;
    vr_error_set(&dial->err, "connect", "cannot connect: %s", strerror(number));
    try_next(dial);
}

static void writable(void *payload, int events)
{
    (void)events;
    struct vr_dial *dial = payload;
    int number = 0;
    socklen_t size = sizeof(number);
    if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &number, &size) != 0)
        number = errno;
    if (number != 0) {
        attempt_failed(dial, number);
        return;
    }
    stop(dial);
    finish(dial);
}

static void too_slow(void *payload)
{
    struct vr_dial *dial = payload;
    dial->timer = NULL;
    attempt_failed(dial, ETIMEDOUT);
}

/* "1.2.3.4" or "[::1]" to a socket address; its size, or 0. */
static socklen_t parse_address(const char *text, int port, struct sockaddr_storage *out)
{
    memset(out, 0, sizeof(*out));
    struct sockaddr_in *v4 = (struct sockaddr_in *)out;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)out;
    char plain[INET6_ADDRSTRLEN + 2];
    const char *start = text[0] == '[' ? text + 1 : text;
    size_t length = strcspn(start, "]");
    if (length >= sizeof(plain))
        return 0;
    memcpy(plain, start, length);
    plain[length] = '\0';
    if (inet_pton(AF_INET, plain, &v4->sin_addr) == 1) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        return sizeof(*v4);
    }
    if (inet_pton(AF_INET6, plain, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        return sizeof(*v6);
    }
    return 0;
}

static void attempt(struct vr_dial *dial, const char *text)
{
    struct sockaddr_storage address;
    socklen_t size = parse_address(text, dial->port, &address);
    if (size == 0) {
        attempt_failed(dial, EAFNOSUPPORT);
        return;
    }
    dial->fd = socket(address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->fd < 0) {
        attempt_failed(dial, errno);
        return;
    }
    setsockopt(dial->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (connect(dial->fd, (struct sockaddr *)&address, size) == 0) {
        finish(dial);
        return;
    }
    if (errno != EINPROGRESS) {
        attempt_failed(dial, errno);
        return;
    }
    dial->poll = vr_poll_new(dial->loop, dial->fd, writable, dial);
    vr_poll_set(dial->poll, VR_POLL_WRITE);
    if (dial->next)
        dial->timer = vr_timer_start(dial->loop, PATIENCE, too_slow, dial);
}

static void try_next(struct vr_dial *dial)
{
    char *text = strsep(&dial->next, ",");
    if (text)
        attempt(dial, text);
    else
        finish(dial);
}

static void resolved(void *payload, const char *addresses, const struct vr_error *err)
{
    struct vr_dial *dial = payload;
    dial->resolve = NULL;
    if (!addresses) {
        vr_error_copy(&dial->err, err);
        finish(dial);
        return;
    }
    dial->addresses = dial->next = vr_strdup(addresses);
    try_next(dial);
}

struct vr_dial *vr_dial_start(struct vr_loop *loop, const char *host, int port, vr_dial_cb cb,
                              void *payload)
{
    struct vr_dial *dial = vr_alloc(sizeof(*dial));
    dial->loop = loop;
    dial->port = port;
    dial->cb = cb;
    dial->payload = payload;
    dial->fd = -1;
    dial->resolve = vr_resolve_start(loop, host, resolved, dial);
    return dial;
}

void vr_dial_cancel(struct vr_dial *dial)
{
    if (dial)
        dial_free(dial);
}
