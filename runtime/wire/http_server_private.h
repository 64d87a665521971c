/* What http_server.c (listening, connections) and http_exchange.c (requests, answers) share. */
#ifndef VR_WIRE_HTTP_SERVER_PRIVATE_H
#define VR_WIRE_HTTP_SERVER_PRIVATE_H

#include <microhttpd.h>

#include "base/buf.h"
#include "wire/http_certs.h"
#include "wire/http_server.h"

/* A connection that libmicrohttpd has: its socket context. */
struct vr_connection {
    struct vr_server *server;
    int fd;
    const struct vr_cert *cert; /* to show in the handshake */
    char *peer;
    bool busy; /* with a request */
    bool client_checked, client_refused;
    char *client_name;
    char **client_groups;
};

struct vr_server {
    struct vr_loop *loop;
    struct vr_server_options options; /* its texts are not kept */
    int fd;
    int port;
    struct MHD_Daemon *daemon; /* NULL: stopped */
    struct vr_poll *listener;
    struct vr_poll *activity; /* of libmicrohttpd's epoll */
    struct vr_timer *timer;
    uint64_t due;           /* when the timer fires */
    struct vr_timer *retry; /* after accept ran out of descriptors */
    unsigned progress;      /* counts libmicrohttpd's calls: of bytes that moved */
    unsigned seen;          /* progress at the last look */
    unsigned idle_runs;     /* runs since then */
    bool kicked;
    bool closing;
    struct vr_timer *grace;
    void (*closed)(void *payload);
    void *closed_payload;
    struct vr_certs *certs;
    const struct vr_cert *cert; /* the listener's own */
    struct peer *peers;         /* accepted, not handed over yet */
    struct vr_server *plain;    /* whose what comes without TLS is; may be NULL */
    struct vr_server *plain_of; /* the other way round */
    struct vr_exchange *exchanges;
};

/* Lets libmicrohttpd run on the next turn. */
void vr_server_kick(struct vr_server *server);
/* After an exchange ended: a closing server may be done. */
void vr_server_settle(struct vr_server *server);

/* libmicrohttpd's callbacks about requests; cls is the server. */
void *vr_exchange_on_target(void *cls, const char *target, struct MHD_Connection *connection);
enum MHD_Result vr_exchange_on_request(void *cls, struct MHD_Connection *connection,
                                       const char *url, const char *method, const char *version,
                                       const char *upload, size_t *upload_size, void **context);
void vr_exchange_on_completed(void *cls, struct MHD_Connection *connection, void **context,
                              enum MHD_RequestTerminationCode why);
void vr_exchange_close_all(struct vr_server *server, bool streams_only);

#endif
