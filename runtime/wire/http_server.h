/* The emulator's HTTP/1.1 server: plain, TLS, and a proxy that ends TLS itself. libmicrohttpd
 * speaks HTTP; accept, CONNECT and the choice of a certificate come before it gets the socket. */
#ifndef VR_WIRE_HTTP_SERVER_H
#define VR_WIRE_HTTP_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "net/loop.h"

struct vr_server;
struct vr_exchange;
struct vr_ask;

struct vr_server_options {
    const char *host; /* an address of 127.0.0.0/8, or ::1; NULL: 127.0.0.1 */
    int port;         /* 0: any */
    bool tls;
    const char *cert, *key; /* PEM: shown when no other is asked for; may be NULL with ask_names */
    const char *client_ca;  /* PEM: whose client certificates count; NULL: none is asked for */
    bool ask_names;         /* on_ask decides which certificate a server name gets */
    bool ask_proxy;         /* CONNECT is understood; on_ask decides */
    size_t max_body;        /* of a request; 0: 64 MiB. Above: 413 */
    /* Both are called on the loop and must answer later, not from inside. */
    void (*on_request)(void *payload, struct vr_exchange *exchange);
    void (*on_ask)(void *payload, struct vr_ask *ask);
    void *payload;
};

/* Listens at once. NULL with an error: "address" (not loopback), "in_use", "tls", "io". */
struct vr_server *vr_server_new(struct vr_loop *loop, const struct vr_server_options *options,
                                struct vr_error *err);
int vr_server_port(const struct vr_server *server);
/* Connections that speak plain HTTP to a TLS server go to another one, which does not: a proxy's
 * port serves both `CONNECT` and `GET http://...`. Ends when one of them stops listening. */
void vr_server_plain(struct vr_server *server, struct vr_server *plain);

/* Stops listening now, ends streams, lets answers under way be sent for at most `grace` seconds;
 * then closes what is left, frees the server and calls closed (may be NULL). grace 0: all of it
 * before this call returns, closed is not called. */
void vr_server_close(struct vr_server *server, double grace, void (*closed)(void *payload),
                     void *payload);

/* A question to the owner of the server: may this CONNECT pass, or which certificate has this name.
 * Answer once: the answer frees it, also when the peer or the server has gone meanwhile. */
bool vr_ask_is_proxy(const struct vr_ask *ask);
const char *vr_ask_host(const struct vr_ask *ask); /* "": the client named none */
int vr_ask_port(const struct vr_ask *ask);
void vr_ask_answer_proxy(struct vr_ask *ask, bool allowed);
/* NULL, NULL: the listener's own. False with an error when the pair cannot be used; the listener's
 * own is shown then. */
bool vr_ask_answer_name(struct vr_ask *ask, const char *cert, const char *key,
                        struct vr_error *err);

/* One request and its answer. It belongs to whom on_request gave it to, until vr_exchange_free. */
struct vr_pair {
    char *name, *value;
    size_t name_length, value_length;
};
struct vr_request {
    char *method;
    char *target; /* as sent */
    char *path;   /* decoded */
    size_t path_length;
    char *host;              /* of the Host header, lower case, without the port; "" if missing */
    struct vr_pair *headers; /* names in lower case */
    size_t header_count;
    struct vr_pair *query; /* decoded, in order */
    size_t query_count;
    const char *body;
    size_t body_length;
    const char *peer; /* "127.0.0.1:41002" */
    /* CN and all O (ended by NULL) of the client's certificate; NULL: none that verifies. */
    const char *client_name;
    const char *const *client_groups;
    bool client_refused; /* it showed one, which does not verify */
};
const struct vr_request *vr_exchange_request(const struct vr_exchange *exchange);

/* Headers of an answer: set before it is sent. False with an error for a name or value that HTTP
 * cannot carry. Those that the server sets itself (Content-Length, Transfer-Encoding, Connection,
 * Date) are passed over. */
bool vr_exchange_header(struct vr_exchange *exchange, const char *name, const char *value,
                        struct vr_error *err);
/* Drops the headers set so far. */
void vr_exchange_reset(struct vr_exchange *exchange);
/* The whole answer; the body is copied. */
void vr_exchange_answer(struct vr_exchange *exchange, int status, const void *body, size_t length);
/* The head now, the body in pieces. changed is called when a queue that was long has become short,
 * and when the peer has left; it must only take note. */
void vr_exchange_stream(struct vr_exchange *exchange, int status, void (*changed)(void *payload),
                        void *payload);
/* False: nobody reads any more. */
bool vr_exchange_write(struct vr_exchange *exchange, const void *data, size_t length);
bool vr_exchange_is_full(const struct vr_exchange *exchange); /* better wait for changed */
/* The peer has gone, or the server closes. */
bool vr_exchange_left(const struct vr_exchange *exchange);
/* Not complete: the peer sees a broken connection. */
void vr_exchange_end(struct vr_exchange *exchange, bool complete);
/* Nobody will answer any more: without an answer the connection is closed, a stream breaks off. */
void vr_exchange_free(struct vr_exchange *exchange);

#endif
