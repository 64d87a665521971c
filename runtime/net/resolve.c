/* A lookup outlives those who wait for it: getaddrinfo cannot be stopped once a thread runs it, so
 * cancelling only takes the waiter off the list, and the answer is kept for whoever asks next. */
#include "net/resolve.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/buf.h"

enum { KEEP_MS = 60 * 1000, KEEP_FAILED_MS = 1000, KEEP_NAMES = 256 };

struct lookup {
    struct lookup *next;
    struct vr_loop *loop;
    char *host;
    uv_getaddrinfo_t request;
    bool running;
    uint64_t expires;
    char *addresses;
    struct vr_error err;
    struct vr_resolve *waiters;
};

struct vr_resolve {
    struct vr_resolve *next;
    struct lookup *lookup; /* NULL: answered from what is kept, by the timer */
    struct vr_timer *timer;
    char *addresses;
    struct vr_error err;
    vr_resolve_cb cb;
    void *payload;
};

static struct lookup *lookups;
static size_t lookup_count;

static void lookup_free(struct lookup *lookup)
{
    free(lookup->host);
    free(lookup->addresses);
    vr_error_clear(&lookup->err);
    free(lookup);
}

/* Drops the answers that are too old, and the oldest one when there are too many. */
static void prune(uint64_t now)
{
    struct lookup **last = NULL;
    for (struct lookup **at = &lookups; *at;) {
        struct lookup *lookup = *at;
        if (!lookup->running && lookup->expires <= now) {
            *at = lookup->next;
            lookup_free(lookup);
            lookup_count--;
            continue;
        }
        if (!lookup->running)
            last = at;
        at = &lookup->next;
    }
    if (lookup_count >= KEEP_NAMES && last) {
        struct lookup *oldest = *last;
        *last = oldest->next;
        lookup_free(oldest);
        lookup_count--;
    }
}

static char *join_addresses(const struct addrinfo *found)
{
    struct vr_buf text = {0};
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        char name[INET6_ADDRSTRLEN];
        const char *comma = text.length ? "," : "";
        if (at->ai_family == AF_INET) {
            uv_ip4_name((const struct sockaddr_in *)at->ai_addr, name, sizeof name);
            vr_buf_printf(&text, "%s%s", comma, name);
        } else if (at->ai_family == AF_INET6) {
            uv_ip6_name((const struct sockaddr_in6 *)at->ai_addr, name, sizeof name);
            vr_buf_printf(&text, "%s[%s]", comma, name);
        }
    }
    return vr_buf_steal(&text);
}

static void describe(struct lookup *lookup, int status)
{
    if (status == UV_EAI_NONAME || status == UV_EAI_NODATA)
        vr_error_set(&lookup->err, "resolve", "%s: no such host", lookup->host);
    else if (status == UV_EAI_AGAIN)
        vr_error_set(&lookup->err, "resolve", "%s: the name server does not answer", lookup->host);
    else
        vr_error_set(&lookup->err, "resolve", "%s: cannot be resolved: %s", lookup->host,
                     uv_strerror(status));
}

static void finish(struct vr_resolve *resolve, const char *addresses, const struct vr_error *err)
{
    resolve->cb(resolve->payload, addresses, err);
    free(resolve->addresses);
    vr_error_clear(&resolve->err);
    free(resolve);
}

static void found(uv_getaddrinfo_t *request, int status, struct addrinfo *list)
{
    struct lookup *lookup = request->data;
    lookup->running = false;
    if (status == 0)
        lookup->addresses = join_addresses(list);
    else
        describe(lookup, status);
    uv_freeaddrinfo(list);
    lookup->expires = vr_loop_now(lookup->loop) + (status == 0 ? KEEP_MS : KEEP_FAILED_MS);
    /* A callback may cancel another waiter or start a lookup that prunes: one waiter at a time,
     * none kept in hand. */
    char *addresses = vr_strdup(lookup->addresses);
    struct vr_error err = {0};
    if (!addresses)
        vr_error_copy(&err, &lookup->err);
    lookup->running = true;
    while (lookup->waiters) {
        struct vr_resolve *resolve = lookup->waiters;
        lookup->waiters = resolve->next;
        finish(resolve, addresses, addresses ? NULL : &err);
    }
    lookup->running = false;
    free(addresses);
    vr_error_clear(&err);
}

static void answer_kept(void *payload)
{
    struct vr_resolve *resolve = payload;
    resolve->timer = NULL;
    finish(resolve, resolve->addresses, resolve->addresses ? NULL : &resolve->err);
}

static struct lookup *lookup_new(struct vr_loop *loop, const char *host)
{
    struct lookup *lookup = vr_alloc(sizeof *lookup);
    lookup->loop = loop;
    lookup->host = vr_strdup(host);
    lookup->request.data = lookup;
    lookup->next = lookups;
    lookups = lookup;
    lookup_count++;
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_ADDRCONFIG};
    int status = uv_getaddrinfo(vr_loop_uv(loop), &lookup->request, found, host, NULL, &hints);
    if (status == 0)
        lookup->running = true;
    else
        describe(lookup, status);
    return lookup;
}

static struct lookup *lookup_find(struct vr_loop *loop, const char *host)
{
    for (struct lookup *at = lookups; at; at = at->next) {
        if (at->loop == loop && strcasecmp(at->host, host) == 0)
            return at;
    }
    return NULL;
}

struct vr_resolve *vr_resolve_start(struct vr_loop *loop, const char *host, vr_resolve_cb cb,
                                    void *payload)
{
    prune(vr_loop_now(loop));
    struct vr_resolve *resolve = vr_alloc(sizeof *resolve);
    resolve->cb = cb;
    resolve->payload = payload;
    struct lookup *lookup = lookup_find(loop, host);
    if (!lookup)
        lookup = lookup_new(loop, host);
    if (lookup->running) {
        resolve->lookup = lookup;
        resolve->next = lookup->waiters;
        lookup->waiters = resolve;
        return resolve;
    }
    resolve->addresses = vr_strdup(lookup->addresses);
    if (!resolve->addresses)
        vr_error_copy(&resolve->err, &lookup->err);
    resolve->timer = vr_timer_start(loop, 0, answer_kept, resolve);
    return resolve;
}

void vr_resolve_cancel(struct vr_resolve *resolve)
{
    if (!resolve)
        return;
    if (resolve->lookup) {
        struct vr_resolve **at = &resolve->lookup->waiters;
        while (*at != resolve)
            at = &(*at)->next;
        *at = resolve->next;
    }
    vr_timer_cancel(resolve->timer);
    free(resolve->addresses);
    vr_error_clear(&resolve->err);
    free(resolve);
}

bool vr_resolve_is_address(const char *host)
{
    struct in6_addr scratch;
    return host[0] == '[' || inet_pton(AF_INET, host, &scratch) == 1 ||
           inet_pton(AF_INET6, host, &scratch) == 1;
}

bool vr_resolve_is_loopback(const char *host)
{
    struct in_addr v4;
    if (inet_pton(AF_INET, host, &v4) == 1)
        return (ntohl(v4.s_addr) >> 24) == 127;
    return strcasecmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           strcmp(host, "[::1]") == 0;
}
