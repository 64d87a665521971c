/* HTTP/1.1 requests on the loop, by libcurl. Connections are kept and used again; names are
 * resolved by the loop. */
#ifndef VR_WIRE_HTTP_H
#define VR_WIRE_HTTP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "net/loop.h"

/* Everything is copied. NULL and 0 mean "as usual". */
struct vr_http_options {
    const char *method;         /* GET */
    const char *url;            /* http or https */
    const char *const *headers; /* "Name: value", or "Name;" without a value; ends with NULL */
    const void *body;           /* NULL: none */
    size_t body_length;
    double timeout;          /* seconds for all of it (when streaming: up to the head); 0: 300 */
    double connect_timeout;  /* seconds until TLS stands; 0: 30 */
    const char *ca;          /* PEM text: trust these only; NULL: the system's */
    const char *cert;        /* PEM text: the client's certificate and its chain */
    const char *key;         /* PEM text: its key */
    bool insecure;           /* accept any certificate */
    const char *connect_to;  /* "address:port" to dial instead of the URL's host */
    const char *server_name; /* expected in the certificate and sent as SNI, not the URL's host */
    const char *proxy;       /* URL; NULL: as the environment says, never for loopback; "": none */
    const char *user_agent;  /* vmrun/VERSION */
    bool stream;             /* the body is taken in pieces and the sender waits for the taker */
    size_t max_body;         /* bytes of a body that is not streamed; 0: 256 MiB */
};

struct vr_http;
/* Called on the loop after each change: the head is there, there is more body, it ended. It must
 * only take note (wake somebody): it may not call any function of this file. */
typedef void (*vr_http_cb)(void *payload);

/* Never fails by itself: what is wrong with the request shows in vr_http_error, later. Ended by
 * vr_http_free. */
struct vr_http *vr_http_start(struct vr_loop *loop, const struct vr_http_options *options,
                              vr_http_cb cb, void *payload);
void vr_http_free(struct vr_http *http); /* at any time: stops what still runs; NULL is fine */

bool vr_http_ended(const struct vr_http *http);
/* NULL: no failure so far. Codes: "url", "resolve", "connect", "tls", "timeout", "reset",
 * "protocol", "too_large". */
const struct vr_error *vr_http_error(const struct vr_http *http);
int vr_http_status(const struct vr_http *http); /* 0: there is no head yet */
const json_t *
vr_http_headers(const struct vr_http *http); /* object of strings; names in lower case */
/* What arrived and was not consumed; valid until the next turn of the loop. */
const char *vr_http_body(const struct vr_http *http, size_t *length);
void vr_http_consume(struct vr_http *http); /* all of it; a sender that had to wait goes on */

/* Closes the connections that are kept. Requests that still run must have been freed. */
void vr_http_shutdown(struct vr_loop *loop);

#endif
