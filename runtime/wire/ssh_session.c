/* A session goes GATE (until it may connect to the address), DIAL, BANNER (the first bytes of the
 * host: one that never speaks does not take a place), LINE (until a handshake may begin),
 * HANDSHAKE, LOGIN, READY. From then on pump() steps its channels whenever something has happened;
 * libssh2 does not say which of them an arrived packet is for, so all of them are stepped until
 * none gets on. */
#include "wire/ssh_internal.h"

#include <errno.h>
#include <libssh2.h>
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/descriptor.h"

#define PASSES 64           /* of a pump, before others on the loop have their turn */
#define FIFO_CHEAP 65536    /* room of an empty fifo that is made anew when it is wanted */
#define FIFO_KEPT 262144    /* up to here it is kept: what a writer fills again */
#define EARLY_LIMIT 65536   /* bytes read while nobody is there to understand them */
#define TUNNEL_LIMIT 262144 /* bytes queued in a tunnel */
#define SMALL_PACKET 1024   /* bytes that are queued all the same */
#define POKE_AFTER 5.0      /* seconds that they may lie there */
#define SILENCES 3          /* times that a host may not answer the question whether it lives */
#define DESCRIPTORS 16384   /* that a process with many hosts may have open */

static void pump(struct vr_ssh *ssh);

/* --- fifo --- */

size_t fifo_length(const struct fifo *fifo)
{
    return fifo->buf.length - fifo->head;
}

const char *fifo_data(const struct fifo *fifo)
{
    return fifo->buf.data ? fifo->buf.data + fifo->head : "";
}

void fifo_add(struct fifo *fifo, const void *data, size_t length)
{
    if (fifo->head && fifo->head * 2 >= fifo->buf.length) {
        vr_buf_consume(&fifo->buf, fifo->head);
        fifo->head = 0;
    }
    vr_buf_add(&fifo->buf, data, length);
}

void fifo_drop(struct fifo *fifo, size_t length)
{
    fifo->head += length;
    if (fifo->head < fifo->buf.length)
        return;
    fifo->head = fifo->buf.length = 0;
    if (fifo->buf.room <= FIFO_CHEAP || fifo->buf.room > FIFO_KEPT)
        vr_buf_free(&fifo->buf);
}

void fifo_free(struct fifo *fifo)
{
    vr_buf_free(&fifo->buf);
    fifo->head = 0;
}

/* --- the connection below libssh2 --- */

static ssize_t end_of_input(struct vr_ssh *ssh, int number)
{
    if (!ssh->gone)
        ssh->io_error = number;
    ssh->gone = true;
    return number ? -number : 0;
}

/* A host that has more to say in small packets waits until the last one is acknowledged (Nagle),
 * which our kernel puts off for 40 ms where we have nothing to say ourselves. */
static void acknowledge(const struct vr_ssh *ssh)
{
    setsockopt(ssh->fd, IPPROTO_TCP, TCP_QUICKACK, &(int){1}, sizeof(int));
}

static ssize_t receive(struct vr_ssh *ssh, void *data, size_t length)
{
    size_t waiting = fifo_length(&ssh->early);
    if (waiting) {
        size_t size = waiting < length ? waiting : length;
        memcpy(data, fifo_data(&ssh->early), size);
        fifo_drop(&ssh->early, size);
        return (ssize_t)size;
    }
    if (ssh->tunnel) {
        const char *bytes = vr_ssh_channel_peek(ssh->tunnel, 0, &waiting);
        if (waiting) {
            size_t size = waiting < length ? waiting : length;
            memcpy(data, bytes, size);
            vr_ssh_channel_take(ssh->tunnel, 0, size);
            return (ssize_t)size;
        }
        return vr_ssh_channel_at_end(ssh->tunnel) ? end_of_input(ssh, 0) : -EAGAIN;
    }
    if (ssh->drained)
        return -EAGAIN;
    ssize_t size = recv(ssh->fd, data, length, 0);
    ssh->drained = size >= 0 ? size > 0 && (size_t)size < length : errno == EAGAIN;
    if (size > 0 && size <= SMALL_PACKET)
        acknowledge(ssh);
    if (size > 0)
        return size;
    if (size < 0 && (errno == EAGAIN || errno == EINTR))
        return -EAGAIN;
    return end_of_input(ssh, size < 0 ? errno : 0);
}

static ssize_t transmit(struct vr_ssh *ssh, const void *data, size_t length)
{
    if (ssh->tunnel) {
        size_t queued = vr_ssh_channel_unsent(ssh->tunnel);
        /* A small packet always finds room: libssh2 builds some on its stack, and takes a second
         * try from another depth for another packet. */
        if (queued >= TUNNEL_LIMIT && length > SMALL_PACKET)
            return -EAGAIN;
        return vr_ssh_channel_write(ssh->tunnel, data, length) ? (ssize_t)length
                                                               : end_of_input(ssh, EPIPE);
    }
    ssize_t size = send(ssh->fd, data, length, MSG_NOSIGNAL);
    if (size >= 0)
        return size;
    return errno == EAGAIN || errno == EINTR ? -EAGAIN : end_of_input(ssh, errno);
}

static LIBSSH2_RECV_FUNC(on_recv)
{
    (void)socket;
    (void)flags;
    struct vr_ssh *ssh = *abstract;
    if (ssh->torn)
        return -ECONNRESET;
    ssize_t size = receive(ssh, buffer, length);
    if (size > 0) {
        ssh->received = ssh->heard = true;
        ssh_offer_feed(&ssh->offer, buffer, (size_t)size);
    } else if (ssh->received && ssh->phase == READY) {
        return -EAGAIN; /* libssh2 would keep back what came before the end: channels take that
                           first */
    }
    return size;
}

static LIBSSH2_SEND_FUNC(on_send)
{
    (void)socket;
    (void)flags;
    struct vr_ssh *ssh = *abstract;
    if (ssh->torn)
        return -ECONNRESET;
    ssize_t size = transmit(ssh, buffer, length);
    ssh->send_blocked = size == -EAGAIN || (size >= 0 && (size_t)size < length);
    return size;
}

/* --- the end of a session --- */

/* Afterwards nothing of the session is on the loop. */
static void tear_down(struct vr_ssh *ssh)
{
    ssh->torn = true;
    ssh_login_give_up(ssh);
    ssh->phase = LOST;
    ssh_gate_forget_via(ssh);
    ssh_gate_leave(ssh);
    ssh_line_leave(ssh);
    vr_dial_cancel(ssh->dial);
    vr_timer_cancel(ssh->timer);
    vr_timer_cancel(ssh->poke);
    vr_timer_cancel(ssh->alive);
    vr_timer_cancel(ssh->kick);
    ssh->dial = NULL;
    ssh->timer = ssh->poke = ssh->alive = ssh->kick = NULL;
    while (ssh->raw && libssh2_session_free(ssh->raw) == LIBSSH2_ERROR_EAGAIN)
        ; /* its calls of send and recv fail from now on: it cannot go on for long */
    ssh->raw = NULL;
    vr_poll_free(ssh->poll);
    ssh->poll = NULL;
    if (ssh->fd >= 0)
        close(ssh->fd);
    ssh->fd = -1;
    vr_ssh_channel_free(ssh->tunnel);
    ssh->tunnel = NULL;
    fifo_free(&ssh->early);
    while (ssh->first) {
        ssh->first->raw = NULL;
        ssh_channel_drop(ssh->first, &ssh->err);
    }
}

/* The session is over because of ssh->err. */
void ssh_lose(struct vr_ssh *ssh)
{
    tear_down(ssh);
    if (ssh->changed)
        ssh->changed(ssh->payload);
}

void ssh_lose_because(struct vr_ssh *ssh, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vr_error_setv(&ssh->err, code, format, args);
    va_end(args);
    ssh_lose(ssh);
}

/* What became of the connection, in words. */
const char *ssh_how_it_ended(const struct vr_ssh *ssh)
{
    const struct vr_error *tunnel = ssh->tunnel ? vr_ssh_channel_error(ssh->tunnel) : NULL;
    if (tunnel && tunnel->message)
        return tunnel->message;
    return ssh->io_error ? strerror(ssh->io_error) : "the host closed it";
}

const char *ssh_last_error(const struct vr_ssh *ssh)
{
    char *text = NULL;
    libssh2_session_last_error(ssh->raw, &text, NULL, 0);
    return text && *text ? text : "no reason given";
}

bool ssh_is_fatal(const struct vr_ssh *ssh, int rc)
{
    switch (rc) {
    case LIBSSH2_ERROR_SOCKET_SEND:
    case LIBSSH2_ERROR_SOCKET_RECV:
    case LIBSSH2_ERROR_SOCKET_DISCONNECT:
    case LIBSSH2_ERROR_SOCKET_TIMEOUT:
    case LIBSSH2_ERROR_BAD_SOCKET:
    case LIBSSH2_ERROR_INVALID_MAC:
    case LIBSSH2_ERROR_DECRYPT:
    case LIBSSH2_ERROR_ENCRYPT:
    case LIBSSH2_ERROR_PROTO:
    case LIBSSH2_ERROR_KEX_FAILURE:
    case LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE:
    case LIBSSH2_ERROR_OUT_OF_BOUNDARY:
        return true;
    default:
        return ssh->gone;
    }
}

static void lose_connection(struct vr_ssh *ssh)
{
    if (ssh->gone || ssh->fatal == LIBSSH2_ERROR_SOCKET_DISCONNECT)
        ssh_lose_because(ssh, "lost", "the connection to %s was lost: %s", ssh->label,
                         ssh_how_it_ended(ssh));
    else
        ssh_lose_because(ssh, "lost", "the connection to %s was lost: %s", ssh->label,
                         ssh_last_error(ssh));
}

/* Some silence: the host is asked for a channel of a kind that it does not have, which it refuses.
 * That goes through jump hosts, and notices a host that hangs; libssh2's own question would not do,
 * since it does not finish what it could send only in part. */
static void look_alive(void *payload)
{
    struct vr_ssh *ssh = payload;
    ssh->alive = NULL;
    ssh->silent = ssh->heard ? 0 : ssh->silent + 1;
    ssh->heard = false;
    if (ssh->silent > SILENCES) {
        ssh_lose_because(ssh, "lost", "the connection to %s was lost: no answer for %g s",
                         ssh->label, ssh->keepalive * SILENCES);
        return;
    }
    if (ssh->silent == 1)
        ssh_channel_poke(ssh);
    ssh->alive = vr_timer_start(ssh->loop, ssh->keepalive, look_alive, ssh);
}

void ssh_end_login(struct vr_ssh *ssh, enum ssh_phase phase)
{
    ssh->phase = phase;
    vr_timer_cancel(ssh->timer);
    ssh->timer = NULL;
    if (phase == READY)
        ssh_gate_pass(ssh);
    else
        ssh_gate_leave(ssh);
    ssh_line_leave(ssh);
    if (phase == READY && ssh->keepalive > 0)
        ssh->alive = vr_timer_start(ssh->loop, ssh->keepalive, look_alive, ssh);
    if (ssh->changed)
        ssh->changed(ssh->payload);
}

/* --- the steps before --- */

static void too_late(void *payload)
{
    struct vr_ssh *ssh = payload;
    ssh->timer = NULL;
    const char *what = ssh->phase == DIAL        ? "no answer to the connection"
                       : ssh->phase == BANNER    ? "it is connected but no SSH server speaks"
                       : ssh->phase == HANDSHAKE ? "the key exchange did not end"
                                                 : "the login did not end";
    ssh_lose_because(ssh, "timeout", "%s: no login within %g s: %s", ssh->label, ssh->timeout,
                     what);
}

static void start_timer(struct vr_ssh *ssh)
{
    ssh->started = vr_loop_now(ssh->loop);
    ssh->timer = vr_timer_start(ssh->loop, ssh->left, too_late, ssh);
}

/* The time in the line does not count: it is none of the host's. */
static void stop_timer(struct vr_ssh *ssh)
{
    double used = (double)(vr_loop_now(ssh->loop) - ssh->started) / 1000;
    ssh->left = used < ssh->left ? ssh->left - used : 0.001;
    vr_timer_cancel(ssh->timer);
    ssh->timer = NULL;
}

/* libssh2 writes zeros all over its 55 KB of a session, of which most are buffers that only a large
 * packet fills. Pages of zeros read the same when the kernel has them back. */
static void give_back_zeros(void *memory)
{
    uintptr_t size = (uintptr_t)sysconf(_SC_PAGESIZE), end = (uintptr_t)memory;
    uintptr_t page = (end + size - 1) / size * size;
    end += malloc_usable_size(memory);
    for (uintptr_t next; page + size <= end; page = next) {
        const char *bytes = (const char *)page;
        next = page + size;
        if (bytes[0] == 0 && memcmp(bytes, bytes + 1, size - 1) == 0)
            madvise((void *)page, size, MADV_DONTNEED);
    }
}

static void start_handshake(struct vr_ssh *ssh)
{
    ssh->raw = libssh2_session_init_ex(NULL, NULL, NULL, ssh);
    give_back_zeros(ssh->raw);
    libssh2_session_set_blocking(ssh->raw, 0);
    libssh2_session_callback_set(ssh->raw, LIBSSH2_CALLBACK_RECV, (void *)on_recv);
    libssh2_session_callback_set(ssh->raw, LIBSSH2_CALLBACK_SEND, (void *)on_send);
    ssh_login_begin(ssh);
}

static void let_in(void *payload)
{
    struct vr_ssh *ssh = payload;
    start_timer(ssh);
    start_handshake(ssh);
    ssh_kick(ssh);
}

/* Reads what has come without understanding it: notices the end. False: nothing new. */
static bool read_early(struct vr_ssh *ssh)
{
    char bytes[16384];
    bool some = false;
    if (ssh->tunnel) {
        size_t length = 0;
        vr_ssh_channel_peek(ssh->tunnel, 0, &length);
        if (length == 0 && vr_ssh_channel_at_end(ssh->tunnel))
            end_of_input(ssh, 0);
        return length > 0;
    }
    while (fifo_length(&ssh->early) < EARLY_LIMIT) {
        ssize_t size = recv(ssh->fd, bytes, sizeof(bytes), 0);
        if (size > 0) {
            fifo_add(&ssh->early, bytes, (size_t)size);
            some = ssh->heard = true;
            continue;
        }
        if (size == 0 || (errno != EAGAIN && errno != EINTR))
            end_of_input(ssh, size < 0 ? errno : 0);
        break;
    }
    return some;
}

static void await_banner(struct vr_ssh *ssh)
{
    bool some = read_early(ssh);
    if (!some && ssh->gone) {
        ssh_lose_because(ssh, "unreachable", "%s ended the connection before it said anything: %s",
                         ssh->label, ssh_how_it_ended(ssh));
        return;
    }
    if (!some)
        return;
    ssh->gone = false; /* what it said first may tell more: the handshake will meet the end again */
    stop_timer(ssh);
    ssh->phase = LINE;
    if (ssh_line_enter(ssh, let_in)) {
        start_timer(ssh);
        start_handshake(ssh);
    }
}

static void readable(void *payload, int events)
{
    struct vr_ssh *ssh = payload;
    if (events & VR_POLL_READ)
        ssh->drained = false;
    pump(ssh);
}

/* A dead peer is noticed after about twice the time of silence. */
static void set_keepalive(const struct vr_ssh *ssh)
{
    setsockopt(ssh->fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    if (ssh->keepalive < 0)
        return;
    int idle = ssh->keepalive < 1 ? 1 : (int)ssh->keepalive, each = idle < 3 ? 1 : idle / 3;
    unsigned patience = (unsigned)idle * 2000;
    setsockopt(ssh->fd, SOL_SOCKET, SO_KEEPALIVE, &(int){1}, sizeof(int));
    setsockopt(ssh->fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
    setsockopt(ssh->fd, IPPROTO_TCP, TCP_KEEPINTVL, &each, sizeof(each));
    setsockopt(ssh->fd, IPPROTO_TCP, TCP_KEEPCNT, &(int){3}, sizeof(int));
    setsockopt(ssh->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &patience, sizeof(patience));
}

static void dialled(void *payload, int fd, struct vr_error *err)
{
    struct vr_ssh *ssh = payload;
    ssh->dial = NULL;
    if (fd < 0) {
        ssh_lose_because(ssh, "unreachable", "%s: %s", ssh->label, err->message);
        return;
    }
    ssh->fd = fd;
    set_keepalive(ssh);
    ssh->phase = BANNER;
    ssh->poll = vr_poll_new(ssh->loop, fd, readable, ssh);
    vr_poll_set(ssh->poll, VR_POLL_READ);
    ssh->interest = VR_POLL_READ;
}

static void tunnel_changed(void *payload)
{
    ssh_kick(payload);
}

static void await_tunnel(struct vr_ssh *ssh)
{
    if (!ssh->tunnel) {
        ssh_lose_because(ssh, "unreachable", "%s: the jump host is gone", ssh->label);
        return;
    }
    enum vr_ssh_channel_state state = vr_ssh_channel_state(ssh->tunnel);
    if (state == VR_SSH_OPENING)
        return;
    if (state == VR_SSH_BROKEN) {
        ssh_lose_because(ssh, "unreachable", "%s: %s", ssh->label,
                         vr_ssh_channel_error(ssh->tunnel)->message);
        return;
    }
    ssh->phase = BANNER;
    await_banner(ssh);
}

/* --- the work --- */

static void poke(void *payload)
{
    struct vr_ssh *ssh = payload;
    ssh->poke = NULL;
    if (ssh->phase == READY && !ssh->first)
        ssh_channel_poke(ssh);
}

/* Nobody reads: look for the end of the connection only. What comes may be a question of the host
 * ("still there?") that libssh2 answers only while it reads for some channel, so after a while a
 * channel is opened for that. */
static void idle(struct vr_ssh *ssh)
{
    bool some = read_early(ssh);
    if (ssh->gone && fifo_length(&ssh->early) == 0)
        lose_connection(ssh);
    else if (some && !ssh->poke)
        ssh->poke = vr_timer_start(ssh->loop, POKE_AFTER, poke, ssh);
}

/* One step of each channel; false: a packet is stuck. */
static bool pass(struct vr_ssh *ssh, bool *progress)
{
    struct vr_ssh_channel *next = ssh->holder ? ssh->holder : ssh->first;
    bool alone = ssh->holder != NULL;
    while (next) {
        struct vr_ssh_channel *channel = next;
        next = alone ? NULL : channel->next;
        ssh->holder = NULL;
        int rc = ssh_channel_step(channel);
        *progress = *progress || rc > 0;
        if (ssh->fatal)
            return false;
        if (ssh->send_blocked) {
            if (rc != STEP_OVER)
                ssh->holder = channel;
            return false;
        }
    }
    if (alone)
        *progress = true; /* the others have waited */
    return true;
}

static void work(struct vr_ssh *ssh)
{
    int passes = 0;
    bool progress = true, free_way = true;
    while (free_way && progress && passes++ < PASSES) {
        progress = ssh->received = false;
        free_way = pass(ssh, &progress);
        progress = progress || ssh->received;
    }
    if (ssh->fatal || (ssh->gone && !ssh->first)) {
        lose_connection(ssh);
        return;
    }
    if (free_way && progress)
        ssh_kick(ssh);
    for (struct vr_ssh_channel *c = ssh->first, *next; c; c = next) {
        next = c->next;
        ssh_channel_tell(c);
    }
}

static bool wants_input(const struct vr_ssh *ssh)
{
    if (ssh->phase != READY)
        return ssh->phase == BANNER || ssh->phase == HANDSHAKE || ssh->phase == LOGIN;
    if (!ssh->first)
        return fifo_length(&ssh->early) < EARLY_LIMIT;
    for (const struct vr_ssh_channel *c = ssh->first; c; c = c->next) {
        if (ssh_channel_wants_input(c))
            return true;
    }
    return false;
}

/* While a packet is stuck, only its way out matters: nobody may be stepped before. */
static void listen_for(struct vr_ssh *ssh)
{
    if (!ssh->poll)
        return;
    int interest = ssh->send_blocked ? VR_POLL_WRITE : wants_input(ssh) ? VR_POLL_READ : 0;
    if (interest != ssh->interest)
        vr_poll_set(ssh->poll, interest);
    ssh->interest = interest;
}

static void pump(struct vr_ssh *ssh)
{
    if (ssh->phase == DIAL && ssh->through)
        await_tunnel(ssh);
    else if (ssh->phase == BANNER)
        await_banner(ssh);
    if (ssh->phase == HANDSHAKE || ssh->phase == LOGIN)
        ssh_login_go_on(ssh);
    if (ssh->phase == READY && ssh->first)
        work(ssh);
    if (ssh->phase == READY && !ssh->first)
        idle(ssh);
    if (ssh->phase == READY && ssh->gate && ssh->heard)
        ssh_gate_leave(ssh);
    listen_for(ssh);
}

static void kicked(void *payload)
{
    struct vr_ssh *ssh = payload;
    ssh->kick = NULL;
    pump(ssh);
}

void ssh_kick(struct vr_ssh *ssh)
{
    if (ssh->phase != LOST && !ssh->kick)
        ssh->kick = vr_timer_start(ssh->loop, 0, kicked, ssh);
}

/* --- what others see --- */

static bool check_options(const struct vr_ssh_options *o, struct vr_error *err)
{
    if (!o->host || !*o->host)
        return vr_error_set(err, "unreachable", "no host to connect to was given");
    if (o->port < 0 || o->port > 65535)
        return vr_error_set(err, "unreachable", "%s: %d is not a port", o->host, o->port);
    if (o->via && o->via->phase == LOST)
        return vr_error_set(err, "unreachable", "%s: the jump host is gone: %s", o->host,
                            o->via->err.message);
    if (o->scan)
        return true;
    if (!o->user || !*o->user)
        return vr_error_set(err, "auth", "%s: no user to log in was given", o->host);
    if (o->identity_count == 0)
        return vr_error_set(err, "auth", "%s: no private key was given", o->host);
    if (!o->known || vr_known_hosts_count(o->known) == 0) {
        vr_error_set(err, "hostkey", "%s: no host key to compare with was given", o->host);
        vr_error_hint(err, "give the host's public keys as lines of \"type base64\"");
        return false;
    }
    return true;
}

static char *make_label(const char *host, int port)
{
    return strchr(host, ':') ? vr_format("[%s]:%d", host, port) : vr_format("%s:%d", host, port);
}

static void set_out(struct vr_ssh *ssh)
{
    ssh->phase = DIAL;
    start_timer(ssh);
    if (!ssh->through) {
        ssh->dial = vr_dial_start(ssh->loop, ssh->address, ssh->address_port, dialled, ssh);
        return;
    }
    if (ssh->via)
        ssh->tunnel =
            vr_ssh_forward(ssh->via, ssh->address, ssh->address_port, tunnel_changed, ssh);
    ssh->via = NULL;
    ssh_kick(ssh);
}

static void let_through(void *payload)
{
    set_out(payload);
}

static void start(struct vr_ssh *ssh, const struct vr_ssh_options *o)
{
    ssh->address = vr_strdup(o->address ? o->address : o->host);
    ssh->address_port = o->address ? o->address_port : ssh->port;
    ssh->via = o->via;
    ssh->through = o->via != NULL;
    ssh->phase = GATE;
    ssh->left = ssh->timeout;
    char *address =
        vr_format("%s/%s:%d", o->via ? o->via->label : "", ssh->address, ssh->address_port);
    if (ssh_gate_enter(ssh, address, let_through))
        set_out(ssh);
}

static void get_ready(void)
{
    static bool ready;
    if (ready)
        return;
    ready = libssh2_init(0) == 0;
    vr_descriptor_room(DESCRIPTORS);
}

static void take_identities(struct vr_ssh *ssh, const struct vr_ssh_options *o)
{
    ssh->identities = vr_alloc((o->identity_count + 1) * sizeof(*ssh->identities));
    for (size_t i = 0; i < o->identity_count; i++) {
        const struct vr_ssh_identity *given = &o->identities[i];
        struct ssh_identity *identity = &ssh->identities[ssh->identity_count++];
        size_t length = given->blob_length;
        const void *blob = given->key ? vr_ssh_key_blob(given->key, &length) : given->blob;
        char *line = vr_host_key_line(blob, length);
        *identity = (struct ssh_identity){
            .key = given->key ? vr_ssh_key_hold(given->key) : NULL,
            .type = line ? vr_strndup(line, strcspn(line, " ")) : vr_strdup(""),
            .name = vr_strdup(given->key ? vr_ssh_key_name(given->key) : given->name),
        };
        free(line);
        vr_buf_add(&identity->blob, blob, length);
    }
}

struct vr_ssh *vr_ssh_connect(struct vr_loop *loop, const struct vr_ssh_options *o,
                              vr_ssh_changed changed, void *payload, struct vr_error *err)
{
    get_ready();
    if (!check_options(o, err))
        return NULL;
    struct vr_ssh *ssh = vr_alloc(sizeof(*ssh));
    *ssh = (struct vr_ssh){
        .loop = loop,
        .changed = changed,
        .payload = payload,
        .host = vr_strdup(o->host),
        .port = o->port ? o->port : 22,
        .user = vr_strdup(o->user),
        .scan = vr_strdup(o->scan),
        .known = o->known ? vr_known_hosts_hold(o->known) : NULL,
        .known_as = vr_strdup(o->known_as),
        .keepalive = o->keepalive == 0 ? 15 : o->keepalive,
        .timeout = o->timeout > 0 ? o->timeout : 30,
        .fd = -1,
    };
    take_identities(ssh, o);
    ssh->label = make_label(ssh->host, ssh->port);
    start(ssh, o);
    return ssh;
}

void vr_ssh_close(struct vr_ssh *ssh)
{
    if (ssh->phase == LOST)
        return;
    if (ssh->phase == READY && !ssh->send_blocked && !ssh->gone)
        libssh2_session_disconnect(ssh->raw, "done");
    vr_error_set(&ssh->err, "lost", "the connection to %s was closed", ssh->label);
    tear_down(ssh);
}

void vr_ssh_free(struct vr_ssh *ssh)
{
    if (!ssh)
        return;
    vr_ssh_close(ssh);
    for (size_t i = 0; i < ssh->identity_count; i++) {
        vr_ssh_key_free(ssh->identities[i].key);
        vr_buf_free(&ssh->identities[i].blob);
        free(ssh->identities[i].type);
        free(ssh->identities[i].name);
        free(ssh->identities[i].unsigned_why);
    }
    free(ssh->identities);
    vr_buf_free(&ssh->wanted);
    vr_buf_free(&ssh->answer);
    vr_known_hosts_free(ssh->known);
    ssh_offer_free(&ssh->offer);
    vr_error_clear(&ssh->err);
    free(ssh->host);
    free(ssh->user);
    free(ssh->known_as);
    free(ssh->address);
    free(ssh->label);
    free(ssh->scan);
    free(ssh->asked);
    free(ssh->host_key);
    free(ssh);
}

enum vr_ssh_state vr_ssh_state(const struct vr_ssh *ssh)
{
    switch (ssh->phase) {
    case READY:
    case SCANNED:
        return VR_SSH_READY;
    case LOST:
        return VR_SSH_LOST;
    default:
        return VR_SSH_CONNECTING;
    }
}

const struct vr_error *vr_ssh_error(const struct vr_ssh *ssh)
{
    return &ssh->err;
}

const char *vr_ssh_label(const struct vr_ssh *ssh)
{
    return ssh->label;
}

const char *vr_ssh_host_key(const struct vr_ssh *ssh)
{
    return ssh->host_key;
}

const char *vr_ssh_host_key_types(const struct vr_ssh *ssh)
{
    return ssh->offer.lists[OFFER_HOST_KEY];
}
