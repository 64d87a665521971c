/* Listening and connections. A socket that was accepted is a peer until libmicrohttpd gets it:
 *
 *     accept -> first byte: a TLS hello, or CONNECT: ask, answer, then the hello
 *            -> the hello's server name: ask -> libmicrohttpd
 *
 * The hello is only peeked at, so that GnuTLS finds it whole; SO_RCVLOWAT keeps the loop from
 * turning while a part of it is missing. libmicrohttpd runs without a listener or a thread: its
 * epoll descriptor is watched by the loop. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/descriptor.h"
#include "base/log.h"
#include "wire/http_server_private.h"

enum {
    BACKLOG = 1024,
    ACCEPT_AT_ONCE = 64,
    MAX_CONNECTIONS = 16000,
    DESCRIPTORS = 65536, /* a watch holds one */
    MAX_HEAD = 16 * 1024,
    MAX_HELLO = 5 + 16 * 1024
};
enum { MAX_IDLE_RUNS = 8, IDLE_RUN_MS = 20 };
enum { MAX_BODY = 64 << 20, IDLE_SECONDS = 120, NAME_MS = 60 * 1000 };
static const double peer_seconds = 30, retry_seconds = 0.1;

enum stage { FIRST_BYTE, HEAD, HELLO };

struct peer {
    struct vr_server *server;
    struct peer *next, *prev;
    int fd;
    struct sockaddr_storage address;
    socklen_t address_length;
    enum stage stage;
    struct vr_poll *poll;
    struct vr_timer *timer;
    struct vr_buf head; /* of the CONNECT */
    char *host;         /* that it named */
    struct vr_ask *ask;
};

struct vr_ask {
    struct peer *peer; /* NULL: gone */
    bool proxy;
    char *host;
    int port;
};

/* Connections that libmicrohttpd has, by descriptor: GnuTLS asks for a certificate with nothing but
 * its session. */
static struct vr_connection **connections;
static size_t connection_room;

static void connection_set(int fd, struct vr_connection *connection)
{
    if ((size_t)fd >= connection_room) {
        size_t room = (size_t)fd * 2 + 64;
        connections = vr_realloc(connections, room * sizeof *connections);
        memset(connections + connection_room, 0, (room - connection_room) * sizeof *connections);
        connection_room = room;
    }
    connections[fd] = connection;
}

static void connection_free(struct vr_connection *connection)
{
    connections[connection->fd] = NULL;
    for (char **group = connection->client_groups; group && *group; group++)
        free(*group);
    free(connection->client_groups);
    free(connection->client_name);
    free(connection->peer);
    free(connection);
}

/* libmicrohttpd */

static int choose_certificate(gnutls_session_t session, const gnutls_datum_t *authorities,
                              int authority_count, const gnutls_pk_algorithm_t *algorithms,
                              int algorithm_count, gnutls_pcert_st **chain, unsigned *length,
                              gnutls_privkey_t *key)
{
    (void)authorities;
    (void)authority_count;
    (void)algorithms;
    (void)algorithm_count;
    const struct vr_connection *connection = connections[gnutls_transport_get_int(session)];
    if (!connection || !connection->cert)
        return -1;
    *chain = connection->cert->chain;
    *length = connection->cert->length;
    *key = connection->cert->key;
    return 0;
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
                          enum MHD_ConnectionNotificationCode what)
{
    ((struct vr_server *)cls)->progress++;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        *context = connections[MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD)
                                   ->connect_fd];
        return;
    }
    connection_free(*context);
    *context = NULL;
}

/* The request's target is decoded by us, from what was sent. */
static size_t leave_escaped(void *cls, struct MHD_Connection *connection, char *text)
{
    (void)cls;
    (void)connection;
    return strlen(text);
}

static struct MHD_Daemon *start_daemon(struct vr_server *server)
{
    const struct vr_server_options *o = &server->options;
    struct MHD_OptionItem extra[4] = {{MHD_OPTION_END, 0, NULL}};
    size_t count = 0;
    if (o->tls)
        extra[count++] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_CERT_CALLBACK, 0,
                                                 (void *)(intptr_t)choose_certificate};
    if (o->tls && o->client_ca)
        extra[count++] =
            (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_TRUST, 0, (void *)o->client_ca};
    extra[count] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    unsigned flags = MHD_USE_EPOLL | MHD_USE_NO_LISTEN_SOCKET | MHD_ALLOW_SUSPEND_RESUME |
                     (o->tls ? MHD_USE_TLS : 0);
    /* clang-format off */
    return MHD_start_daemon(flags, 0, NULL, NULL, vr_exchange_on_request, server,
                            MHD_OPTION_URI_LOG_CALLBACK, vr_exchange_on_target, server,
                            MHD_OPTION_UNESCAPE_CALLBACK, leave_escaped, NULL,
                            MHD_OPTION_NOTIFY_COMPLETED, vr_exchange_on_completed, server,
                            MHD_OPTION_NOTIFY_CONNECTION, on_connection, server,
                            MHD_OPTION_CONNECTION_LIMIT, (unsigned)MAX_CONNECTIONS,
                            MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_SECONDS,
                            MHD_OPTION_ARRAY, extra, MHD_OPTION_END);
    /* clang-format on */
}

static void pump(struct vr_server *server);

static void on_timer(void *payload)
{
    struct vr_server *server = payload;
    server->timer = NULL;
    pump(server);
}

/* libmicrohttpd wants to run at once. It is right when bytes are left in its or GnuTLS's buffers;
 * but in a TLS handshake whose peer is silent it says so for ever, so a few runs without progress
 * make it wait for its descriptors. */
static bool is_idle_run(struct vr_server *server)
{
    if (server->seen != server->progress)
        server->idle_runs = 0;
    server->seen = server->progress;
    return ++server->idle_runs > MAX_IDLE_RUNS;
}

static void arm_timer(struct vr_server *server)
{
    MHD_UNSIGNED_LONG_LONG wait;
    if (MHD_get_timeout(server->daemon, &wait) != MHD_YES)
        return;
    if (wait == 0 && !is_idle_run(server)) {
        vr_server_kick(server); /* no timer: one of 0 ms would go before all I/O */
        return;
    }
    if (wait == 0)
        wait = IDLE_RUN_MS;
    uint64_t due = vr_loop_now(server->loop) + wait;
    if (server->timer && server->due <= due)
        return; /* it fires early, finds nothing to do and is armed again */
    vr_timer_cancel(server->timer);
    server->due = due;
    server->timer = vr_timer_start(server->loop, (double)wait / 1000, on_timer, server);
}

static void pump(struct vr_server *server)
{
    if (!server->daemon)
        return;
    MHD_run(server->daemon);
    arm_timer(server);
}

static void on_activity(void *payload, int events)
{
    (void)events;
    pump(payload);
}

static void free_server(struct vr_server *server)
{
    vr_certs_free(server->certs);
    free(server);
}

static void on_kick(void *payload)
{
    struct vr_server *server = payload;
    server->kicked = false;
    if (server->daemon)
        pump(server);
    else
        free_server(server);
}

void vr_server_kick(struct vr_server *server)
{
    if (!server->kicked)
        vr_loop_defer(server->loop, on_kick, server);
    server->kicked = true;
}

/* Peers */

static void unlink_peer(struct peer *peer)
{
    if (peer->prev)
        peer->prev->next = peer->next;
    else
        peer->server->peers = peer->next;
    if (peer->next)
        peer->next->prev = peer->prev;
}

static void link_peer(struct peer *peer, struct vr_server *server)
{
    peer->server = server;
    peer->prev = NULL;
    peer->next = server->peers;
    if (server->peers)
        server->peers->prev = peer;
    server->peers = peer;
}

static void forget_peer(struct peer *peer)
{
    vr_poll_free(peer->poll);
    vr_timer_cancel(peer->timer);
    unlink_peer(peer);
    if (peer->ask)
        peer->ask->peer = NULL;
    vr_buf_free(&peer->head);
    free(peer->host);
    free(peer);
}

static void drop_peer(struct peer *peer)
{
    close(peer->fd);
    forget_peer(peer);
}

static void refuse_peer(struct peer *peer, const char *answer)
{
    send(peer->fd, answer, strlen(answer), MSG_NOSIGNAL | MSG_DONTWAIT);
    shutdown(peer->fd, SHUT_WR);
    drop_peer(peer);
}

static char *address_text(const struct sockaddr_storage *address)
{
    char text[INET6_ADDRSTRLEN];
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        return vr_format("[%s]:%d", inet_ntop(AF_INET6, &v6->sin6_addr, text, sizeof text),
                         ntohs(v6->sin6_port));
    }
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
    return vr_format("%s:%d", inet_ntop(AF_INET, &v4->sin_addr, text, sizeof text),
                     ntohs(v4->sin_port));
}

static void set_option(int fd, int level, int option, int value)
{
    setsockopt(fd, level, option, &value, sizeof value);
}

/* The loop's watcher must be off the descriptor before libmicrohttpd's is on. */
static void hand_over(struct peer *peer, const struct vr_cert *cert)
{
    struct vr_server *server = peer->server;
    struct vr_connection *connection = vr_alloc(sizeof *connection);
    connection->server = server;
    connection->fd = peer->fd;
    connection->cert = cert;
    connection->peer = address_text(&peer->address);
    set_option(peer->fd, SOL_SOCKET, SO_RCVLOWAT, 1);
    connection_set(peer->fd, connection);
    struct sockaddr_storage address = peer->address;
    socklen_t length = peer->address_length;
    int fd = peer->fd;
    forget_peer(peer);
    if (MHD_add_connection(server->daemon, fd, (struct sockaddr *)&address, length) == MHD_YES)
        vr_server_kick(server);
    else if (connections[fd] == connection) /* closed before on_connection heard of it */
        connection_free(connection);
}

static struct vr_ask *ask(struct peer *peer, bool proxy, const char *host, int port)
{
    vr_poll_set(peer->poll, 0);
    struct vr_ask *question = vr_alloc(sizeof *question);
    question->peer = peer;
    question->proxy = proxy;
    question->host = vr_strdup(host);
    question->port = port;
    peer->ask = question;
    return question;
}

/* Where the server name is in a hello: a cursor that never leaves the record. */
struct cursor {
    const unsigned char *at, *end;
};

static unsigned take(struct cursor *c, unsigned bytes)
{
    unsigned value = 0;
    if ((size_t)(c->end - c->at) < bytes) {
        c->at = c->end;
        return 0;
    }
    while (bytes--)
        value = value << 8 | *c->at++;
    return value;
}

static struct cursor take_block(struct cursor *c, unsigned length_bytes)
{
    size_t length = take(c, length_bytes);
    if (length > (size_t)(c->end - c->at))
        length = (size_t)(c->end - c->at);
    struct cursor block = {c->at, c->at + length};
    c->at += length;
    return block;
}

static bool is_name(const unsigned char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] <= ' ' || text[i] >= 127)
            return false;
    }
    return length > 0 && length < 256;
}

/* The server name of a TLS hello; NULL when it has none. The caller frees. */
static char *server_name(const unsigned char *record, size_t length)
{
    struct cursor c = {record + 5, record + length};
    if (take(&c, 1) != 1) /* ClientHello */
        return NULL;
    c = take_block(&c, 3);
    take(&c, 2);                                            /* version */
    c.at = (size_t)(c.end - c.at) < 32 ? c.end : c.at + 32; /* random */
    take_block(&c, 1);                                      /* session */
    take_block(&c, 2);                                      /* ciphers */
    take_block(&c, 1);                                      /* compression */
    struct cursor extensions = take_block(&c, 2);
    while (extensions.at < extensions.end) {
        unsigned type = take(&extensions, 2);
        struct cursor extension = take_block(&extensions, 2);
        if (type != 0)
            continue;
        struct cursor list = take_block(&extension, 2);
        if (take(&list, 1) != 0)
            return NULL;
        struct cursor name = take_block(&list, 2);
        size_t size = (size_t)(name.end - name.at);
        return is_name(name.at, size) ? vr_strndup((const char *)name.at, size) : NULL;
    }
    return NULL;
}

static void choose_name(struct peer *peer, const char *name)
{
    struct vr_server *server = peer->server;
    const struct vr_cert *known = vr_certs_find(server->certs, name, vr_loop_now(server->loop));
    if (known)
        hand_over(peer, known);
    else
        server->options.on_ask(server->options.payload, ask(peer, false, name, 0));
}

/* True when `need` bytes are there to be peeked at; else the loop is told to wait for them. */
static bool has_bytes(struct peer *peer, ssize_t got, size_t need)
{
    if (got >= (ssize_t)need)
        return true;
    set_option(peer->fd, SOL_SOCKET, SO_RCVLOWAT, (int)need);
    return false;
}

static void read_hello(struct peer *peer)
{
    unsigned char record[MAX_HELLO];
    ssize_t got = recv(peer->fd, record, sizeof record, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || record[0] != 0x16) {
        drop_peer(peer);
        return;
    }
    if (!has_bytes(peer, got, 5))
        return;
    size_t length = 5 + (size_t)(record[3] << 8 | record[4]);
    if (length > sizeof record) {
        drop_peer(peer);
        return;
    }
    if (!has_bytes(peer, got, length))
        return;
    char *name = server_name(record, length);
    const char *host = peer->host ? peer->host : "";
    char *chosen = name ? name : vr_strdup(host);
    choose_name(peer, chosen);
    free(chosen);
}

/* The peer closed in the middle of what was awaited: with SO_RCVLOWAT the socket stays readable for
 * ever. */
static bool is_cut(struct peer *peer)
{
    struct tcp_info info;
    socklen_t size = sizeof info;
    if (getsockopt(peer->fd, IPPROTO_TCP, TCP_INFO, &info, &size) < 0)
        return true;
    return info.tcpi_state != TCP_ESTABLISHED;
}

static void start_hello(struct peer *peer)
{
    struct vr_server *server = peer->server;
    peer->stage = HELLO;
    if (!server->options.tls || !server->options.ask_names) {
        hand_over(peer, server->cert);
        return;
    }
    vr_poll_set(peer->poll, VR_POLL_READ);
    read_hello(peer);
}

static bool split_authority(const char *text, size_t length, char **host, int *port)
{
    const char *colon = memrchr(text, ':', length);
    if (!colon || colon == text)
        return false;
    char *number = vr_strndup(colon + 1, length - (size_t)(colon + 1 - text));
    char *stop;
    long value = strtol(number, &stop, 10);
    bool ok = *number && !*stop && value > 0 && value < 65536;
    free(number);
    if (!ok)
        return false;
    size_t host_length = (size_t)(colon - text);
    if (text[0] == '[' && colon[-1] == ']') {
        text++;
        host_length -= 2;
    }
    if (!is_name((const unsigned char *)text, host_length))
        return false;
    *host = vr_strndup(text, host_length);
    *port = (int)value;
    return true;
}

static void read_connect(struct peer *peer)
{
    const char *line = peer->head.data + 8;
    char *host = NULL;
    int port = 0;
    if (!split_authority(line, strcspn(line, " \r\n"), &host, &port)) {
        refuse_peer(peer,
                    "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    free(peer->host);
    peer->host = host;
    peer->server->options.on_ask(peer->server->options.payload, ask(peer, true, host, port));
}

/* Takes the head up to its empty line and not a byte of what follows. */
static void read_head(struct peer *peer)
{
    char piece[2048];
    ssize_t got = recv(peer->fd, piece, sizeof piece, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0 || peer->head.length > MAX_HEAD) {
        drop_peer(peer);
        return;
    }
    size_t before = peer->head.length;
    vr_buf_add(&peer->head, piece, (size_t)got);
    size_t from = before > 3 ? before - 3 : 0;
    const char *end = memmem(peer->head.data + from, peer->head.length - from, "\r\n\r\n", 4);
    if (end)
        peer->head.length = (size_t)(end + 4 - peer->head.data);
    recv(peer->fd, piece, peer->head.length - before, MSG_DONTWAIT);
    peer->head.data[peer->head.length] = '\0';
    size_t prefix = peer->head.length < 8 ? peer->head.length : 8;
    if (memcmp(peer->head.data, "CONNECT ", prefix) != 0)
        refuse_peer(
            peer,
            "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n"
            "this address speaks HTTPS\n");
    else if (end)
        read_connect(peer);
}

static void read_first_byte(struct peer *peer)
{
    unsigned char byte;
    ssize_t got = recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (got <= 0) {
        drop_peer(peer);
        return;
    }
    bool tls = peer->server->options.tls;
    if (byte == 0x16 || (!tls && byte != 'C')) {
        start_hello(peer);
        return;
    }
    if (byte != 'C' && peer->server->plain) {
        unlink_peer(peer);
        link_peer(peer, peer->server->plain);
        hand_over(peer, NULL);
        return;
    }
    peer->stage = HEAD;
    read_head(peer);
}

static void on_peer(void *payload, int events)
{
    (void)events;
    struct peer *peer = payload;
    if (peer->stage == HELLO && is_cut(peer))
        drop_peer(peer);
    else if (peer->stage == HELLO)
        read_hello(peer);
    else if (peer->stage == HEAD)
        read_head(peer);
    else
        read_first_byte(peer);
}

static void peer_timeout(void *payload)
{
    struct peer *peer = payload;
    peer->timer = NULL;
    drop_peer(peer);
}

static void add_peer(struct vr_server *server, int fd, const struct sockaddr_storage *address,
                     socklen_t length)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    struct peer *peer = vr_alloc(sizeof *peer);
    peer->fd = fd;
    peer->address = *address;
    peer->address_length = length;
    link_peer(peer, server);
    if (!server->options.ask_proxy && !(server->options.tls && server->options.ask_names)) {
        hand_over(peer, server->cert);
        return;
    }
    peer->timer = vr_timer_start(server->loop, peer_seconds, peer_timeout, peer);
    peer->poll = vr_poll_new(server->loop, fd, on_peer, peer);
    vr_poll_set(peer->poll, VR_POLL_READ);
}

/* Answers */

bool vr_ask_is_proxy(const struct vr_ask *question)
{
    return question->proxy;
}

const char *vr_ask_host(const struct vr_ask *question)
{
    return question->host;
}

int vr_ask_port(const struct vr_ask *question)
{
    return question->port;
}

static struct peer *end_ask(struct vr_ask *question)
{
    struct peer *peer = question->peer;
    if (peer)
        peer->ask = NULL;
    free(question->host);
    free(question);
    return peer;
}

void vr_ask_answer_proxy(struct vr_ask *question, bool allowed)
{
    static const char established[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    struct peer *peer = end_ask(question);
    if (!peer)
        return;
    if (!allowed) {
        refuse_peer(peer,
                    "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        return;
    }
    if (send(peer->fd, established, sizeof established - 1, MSG_NOSIGNAL | MSG_DONTWAIT) !=
        sizeof established - 1) {
        drop_peer(peer);
        return;
    }
    start_hello(peer);
}

bool vr_ask_answer_name(struct vr_ask *question, const char *cert, const char *key,
                        struct vr_error *err)
{
    struct peer *peer = question->peer;
    const struct vr_cert *own = NULL;
    bool ok = true;
    if (peer && cert && key) {
        struct vr_server *server = peer->server;
        own = vr_certs_add(server->certs, cert, key, err);
        ok = own != NULL;
        if (own)
            vr_certs_set_name(server->certs, question->host, own,
                              vr_loop_now(server->loop) + NAME_MS);
    }
    end_ask(question);
    if (peer)
        hand_over(peer, own ? own : peer->server->cert);
    return ok;
}

/* Listening */

static void retry_accept(void *payload)
{
    struct vr_server *server = payload;
    server->retry = NULL;
    if (server->listener)
        vr_poll_set(server->listener, VR_POLL_READ);
}

static void on_listener(void *payload, int events)
{
    (void)events;
    struct vr_server *server = payload;
    for (int i = 0; i < ACCEPT_AT_ONCE; i++) {
        struct sockaddr_storage address;
        socklen_t length = sizeof address;
        int fd =
            accept4(server->fd, (struct sockaddr *)&address, &length, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            add_peer(server, fd, &address, length);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            /* The listener stays readable: look again when somebody may have closed something. */
            vr_log(VR_LOG_WARN, "port %d: cannot accept: %s", server->port, strerror(errno));
            vr_poll_set(server->listener, 0);
            server->retry = vr_timer_start(server->loop, retry_seconds, retry_accept, server);
        }
        if (errno != EINTR && errno != ECONNABORTED)
            return;
    }
}

static bool parse_address(const char *host, int port, struct sockaddr_storage *address,
                          socklen_t *length, struct vr_error *err)
{
    struct sockaddr_in *v4 = (struct sockaddr_in *)address;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)address;
    memset(address, 0, sizeof *address);
    if (inet_pton(AF_INET, host, &v4->sin_addr) == 1 && ntohl(v4->sin_addr.s_addr) >> 24 == 127) {
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        *length = sizeof *v4;
        return true;
    }
    if (strcmp(host, "::1") == 0 && inet_pton(AF_INET6, host, &v6->sin6_addr) == 1) {
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        *length = sizeof *v6;
        return true;
    }
    return vr_error_set(err, "address",
                        "cannot listen on '%s': only addresses of 127.0.0.0/8 and ::1 are served",
                        host);
}

static bool start_listening(struct vr_server *server, const char *host, int port,
                            struct vr_error *err)
{
    struct sockaddr_storage address;
    socklen_t length;
    if (!parse_address(host, port, &address, &length, err))
        return false;
    server->fd = socket(address.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (server->fd < 0)
        return vr_error_set(err, "io", "cannot listen on %s:%d: %s", host, port, strerror(errno));
    set_option(server->fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (bind(server->fd, (struct sockaddr *)&address, length) < 0 ||
        listen(server->fd, BACKLOG) < 0)
        return vr_error_set(err, errno == EADDRINUSE ? "in_use" : "io",
                            "cannot listen on %s:%d: %s", host, port,
                            errno == EADDRINUSE ? "the port is in use" : strerror(errno));
    getsockname(server->fd, (struct sockaddr *)&address, &length);
    server->port =
        ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                           : ((struct sockaddr_in6 *)&address)->sin6_port);
    return true;
}

static bool check_tls(struct vr_server *server, struct vr_error *err)
{
    const struct vr_server_options *o = &server->options;
    if (!o->tls)
        return true;
    if (o->cert && o->key) {
        server->cert = vr_certs_add(server->certs, o->cert, o->key, err);
        if (!server->cert)
            return false;
    } else if (!o->ask_names) {
        return vr_error_set(err, "tls", "a TLS listener needs a certificate and its key");
    }
    gnutls_x509_crt_t *list = NULL;
    unsigned count = 0;
    gnutls_datum_t data = {(unsigned char *)o->client_ca,
                           o->client_ca ? (unsigned)strlen(o->client_ca) : 0};
    if (o->client_ca &&
        gnutls_x509_crt_list_import2(&list, &count, &data, GNUTLS_X509_FMT_PEM, 0) < 0)
        return vr_error_set(
            err, "tls", "the authority of client certificates is not a certificate in PEM form");
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
    return true;
}

struct vr_server *vr_server_new(struct vr_loop *loop, const struct vr_server_options *options,
                                struct vr_error *err)
{
    struct vr_server *server = vr_alloc(sizeof *server);
    server->loop = loop;
    server->options = *options;
    server->options.max_body = options->max_body ? options->max_body : MAX_BODY;
    server->fd = -1;
    server->certs = vr_certs_new();
    signal(SIGPIPE, SIG_IGN);
    vr_descriptor_room(DESCRIPTORS);
    const char *host = options->host ? options->host : "127.0.0.1";
    if (!check_tls(server, err) || !start_listening(server, host, options->port, err))
        goto failed;
    server->daemon = start_daemon(server);
    if (!server->daemon) {
        vr_error_set(err, "io", "cannot listen on %s:%d: the HTTP library does not start", host,
                     options->port);
        goto failed;
    }
    int epoll = MHD_get_daemon_info(server->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
    server->activity = vr_poll_new(loop, epoll, on_activity, server);
    vr_poll_set(server->activity, VR_POLL_READ);
    server->listener = vr_poll_new(loop, server->fd, on_listener, server);
    vr_poll_set(server->listener, VR_POLL_READ);
    return server;
failed:
    if (server->fd >= 0)
        close(server->fd);
    free_server(server);
    return NULL;
}

int vr_server_port(const struct vr_server *server)
{
    return server->port;
}

static void part(struct vr_server *server)
{
    if (server->plain)
        server->plain->plain_of = NULL;
    server->plain = NULL;
}

void vr_server_plain(struct vr_server *server, struct vr_server *plain)
{
    part(server);
    if (plain->plain_of)
        part(plain->plain_of);
    server->plain = plain;
    plain->plain_of = server;
}

/* Closing */

static void stop_listening(struct vr_server *server)
{
    part(server);
    if (server->plain_of)
        part(server->plain_of);
    vr_poll_free(server->listener);
    server->listener = NULL;
    vr_timer_cancel(server->retry);
    server->retry = NULL;
    if (server->fd >= 0)
        close(server->fd);
    server->fd = -1;
    while (server->peers)
        drop_peer(server->peers);
}

/* Kept connections that wait for a next request: their clients find them closed instead of being
 * turned away. */
static void close_idle(struct vr_server *server)
{
    for (size_t fd = 0; fd < connection_room; fd++) {
        if (connections[fd] && connections[fd]->server == server && !connections[fd]->busy)
            shutdown((int)fd, SHUT_RDWR);
    }
}

/* What is suspended must be resumed before libmicrohttpd stops; it calls back for each request that
 * it drops. */
static void stop(struct vr_server *server)
{
    stop_listening(server);
    vr_timer_cancel(server->grace);
    vr_timer_cancel(server->timer);
    server->grace = server->timer = NULL;
    vr_exchange_close_all(server, false);
    MHD_run(server->daemon);
    vr_poll_free(server->activity);
    MHD_stop_daemon(server->daemon);
    server->daemon = NULL;
    if (server->closed)
        server->closed(server->closed_payload);
    if (!server->kicked) /* else on_kick frees it */
        free_server(server);
}

static void on_grace_over(void *payload)
{
    struct vr_server *server = payload;
    server->grace = NULL;
    stop(server);
}

void vr_server_settle(struct vr_server *server)
{
    if (!server->closing || server->exchanges || !server->grace)
        return;
    /* This runs inside libmicrohttpd: stop on the next turn. */
    vr_timer_cancel(server->grace);
    server->grace = vr_timer_start(server->loop, 0, on_grace_over, server);
}

void vr_server_close(struct vr_server *server, double grace, void (*closed)(void *payload),
                     void *payload)
{
    if (grace <= 0) {
        server->closed = NULL;
        stop(server);
        return;
    }
    if (server->closing)
        return;
    server->closing = true;
    server->closed = closed;
    server->closed_payload = payload;
    stop_listening(server);
    close_idle(server);
    vr_exchange_close_all(server, true);
    server->grace =
        vr_timer_start(server->loop, server->exchanges ? grace : 0, on_grace_over, server);
}
