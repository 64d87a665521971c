/* A stream is one libuv handle with a buffer of what came. Its memory goes in the close callback,
 * after those of the writes that were still under way. */
#include "net/stream.h"

#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <uv.h>

#include "base/alloc.h"
#include "net/loop.h"

union handle {
    uv_handle_t handle;
    uv_stream_t stream;
    uv_tcp_t tcp;
    uv_pipe_t pipe;
};

struct vr_stream {
    union handle uv; /* data: this */
    struct vr_buf in;
    bool reading, ended, shut, closed;
    bool one_way; /* a pipe: what ends the writing is to close it */
    bool gone;    /* the handle is closed already */
    struct vr_error read_error;
    int write_rc; /* why writing failed; 0: it did not */
    size_t pending;
    vr_stream_cb readable, writable;
    void *payload;
    char *peer;
};

bool vr_error_uv(struct vr_error *err, int rc, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        abort();
    va_end(args);
    if (rc <= UV_EAI_ADDRFAMILY && rc >= UV_EAI_SOCKTYPE - 100)
        vr_error_set(err, "resolve", "%s: %s", text, uv_strerror(rc));
    else
        vr_error_system(err, -rc, "%s", text);
    free(text);
    return false;
}

/* --- life --- */

static struct vr_stream *new_stream(void)
{
    struct vr_stream *stream = vr_alloc(sizeof(*stream));
    stream->uv.handle.data = stream;
    return stream;
}

static struct vr_stream *new_tcp(struct vr_loop *loop)
{
    struct vr_stream *stream = new_stream();
    uv_tcp_init(vr_loop_uv(loop), &stream->uv.tcp);
    return stream;
}

struct vr_stream *vr_stream_new_pipe(struct vr_loop *loop)
{
    struct vr_stream *stream = new_stream();
    uv_pipe_init(vr_loop_uv(loop), &stream->uv.pipe, 0);
    return stream;
}

struct vr_stream *vr_stream_open_pipe(struct vr_loop *loop, int fd, struct vr_error *err)
{
    struct vr_stream *stream = vr_stream_open(loop, fd, err);
    if (stream)
        stream->one_way = true;
    return stream;
}

struct uv_stream_s *vr_stream_uv(struct vr_stream *stream)
{
    return &stream->uv.stream;
}

static void free_stream(struct vr_stream *stream)
{
    vr_buf_free(&stream->in);
    vr_error_clear(&stream->read_error);
    free(stream->peer);
    free(stream);
}

static void handle_closed(uv_handle_t *handle)
{
    struct vr_stream *stream = handle->data;
    stream->gone = true;
    if (stream->closed)
        free_stream(stream);
}

static void close_handle(struct vr_stream *stream)
{
    if (!stream->gone && !uv_is_closing(&stream->uv.handle))
        uv_close(&stream->uv.handle, handle_closed);
}

void vr_stream_close(struct vr_stream *stream)
{
    if (!stream || stream->closed)
        return;
    stream->closed = true;
    if (stream->gone)
        free_stream(stream);
    else
        close_handle(stream);
}

void vr_stream_watch(struct vr_stream *stream, vr_stream_cb readable, vr_stream_cb writable,
                     void *payload)
{
    stream->readable = readable;
    stream->writable = writable;
    stream->payload = payload;
}

static char *address_text(const struct sockaddr_storage *address)
{
    char host[INET6_ADDRSTRLEN] = "";
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)address;
        uv_ip4_name(in, host, sizeof(host));
        return vr_format("%s:%d", host, ntohs(in->sin_port));
    }
    if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *in = (const struct sockaddr_in6 *)address;
        uv_ip6_name(in, host, sizeof(host));
        return vr_format("[%s]:%d", host, ntohs(in->sin6_port));
    }
    return vr_strdup("pipe");
}

static void set_peer(struct vr_stream *stream)
{
    struct sockaddr_storage address = {0};
    int length = sizeof(address);
    if (stream->uv.handle.type == UV_TCP)
        uv_tcp_getpeername(&stream->uv.tcp, (struct sockaddr *)&address, &length);
    free(stream->peer);
    stream->peer = address_text(&address);
}

const char *vr_stream_peer(const struct vr_stream *stream)
{
    return stream->peer ? stream->peer : "pipe";
}

struct vr_stream *vr_stream_open(struct vr_loop *loop, int fd, struct vr_error *err)
{
    uv_handle_type type = uv_guess_handle(fd);
    struct vr_stream *stream = type == UV_TCP ? new_tcp(loop) : vr_stream_new_pipe(loop);
    int rc = type == UV_TCP ? uv_tcp_open(&stream->uv.tcp, fd) : uv_pipe_open(&stream->uv.pipe, fd);
    if (rc == 0) {
        set_peer(stream);
        return stream;
    }
    vr_error_uv(err, rc, "cannot use descriptor %d as a stream", fd);
    uv_fs_t request;
    uv_fs_close(NULL, &request, fd, NULL);
    uv_fs_req_cleanup(&request);
    vr_stream_close(stream);
    return NULL;
}

/* --- reading --- */

static void stop_reading(struct vr_stream *stream)
{
    if (stream->reading)
        uv_read_stop(&stream->uv.stream);
    stream->reading = false;
}

/* Reads straight into the stream's buffer. */
static void give_room(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct vr_stream *stream = handle->data;
    (void)suggested;
    size_t used = stream->in.length;
    vr_buf_reserve(&stream->in, VR_STREAM_HIGH);
    *buf = uv_buf_init(stream->in.data + used, VR_STREAM_HIGH);
}

static void got(uv_stream_t *uv, ssize_t count, const uv_buf_t *buf)
{
    struct vr_stream *stream = uv->data;
    (void)buf;
    if (count == 0)
        return;
    if (count > 0) {
        stream->in.length += (size_t)count;
        stream->in.data[stream->in.length] = '\0';
        if (stream->in.length >= VR_STREAM_HIGH)
            stop_reading(stream);
    } else {
        stop_reading(stream);
        stream->ended = true;
        if (count != UV_EOF)
            vr_error_uv(&stream->read_error, (int)count, "cannot read from %s",
                        vr_stream_peer(stream));
    }
    if (stream->readable)
        stream->readable(stream->payload);
}

static void start_reading(struct vr_stream *stream)
{
    if (stream->reading || stream->ended)
        return;
    if (stream->gone || uv_is_closing(&stream->uv.handle)) {
        stream->ended = true;
        return;
    }
    int rc = uv_read_start(&stream->uv.stream, give_room, got);
    if (rc == 0) {
        stream->reading = true;
    } else {
        stream->ended = true;
        vr_error_uv(&stream->read_error, rc, "cannot read from %s", vr_stream_peer(stream));
    }
}

enum vr_stream_state vr_stream_take(struct vr_stream *stream, struct vr_buf *out,
                                    struct vr_error *err)
{
    if (stream->in.length > 0) {
        if (out->length == 0) {
            vr_buf_free(out);
            *out = stream->in;
            stream->in = (struct vr_buf){0};
        } else {
            vr_buf_add(out, stream->in.data, stream->in.length);
            vr_buf_consume(&stream->in, stream->in.length);
        }
        return VR_STREAM_DATA;
    }
    start_reading(stream);
    if (stream->read_error.message) {
        if (err)
            vr_error_copy(err, &stream->read_error);
        return VR_STREAM_ERROR;
    }
    return stream->ended ? VR_STREAM_END : VR_STREAM_WAIT;
}

/* --- writing --- */

struct write_request {
    uv_write_t uv; /* data: this */
    struct vr_stream *stream;
    size_t length;
    char data[];
};

static void wrote(uv_write_t *uv, int status)
{
    struct write_request *request = uv->data;
    struct vr_stream *stream = request->stream;
    size_t before = stream->pending;
    stream->pending -= request->length;
    bool failed = status < 0 && stream->write_rc == 0;
    if (failed)
        stream->write_rc = status;
    free(request);
    if (stream->one_way && stream->shut && stream->pending == 0)
        close_handle(stream);
    bool room = before >= VR_STREAM_HIGH && stream->pending < VR_STREAM_HIGH;
    if (!stream->closed && stream->writable && (failed || room || stream->pending == 0))
        stream->writable(stream->payload);
}

static bool write_failed(struct vr_stream *stream, int rc, struct vr_error *err)
{
    stream->write_rc = rc;
    return vr_error_uv(err, rc, "cannot write to %s", vr_stream_peer(stream));
}

bool vr_stream_write(struct vr_stream *stream, const void *data, size_t length,
                     struct vr_error *err)
{
    if (stream->write_rc != 0)
        return write_failed(stream, stream->write_rc, err);
    if (stream->shut)
        return write_failed(stream, UV_EPIPE, err);
    if (length == 0)
        return true;
    uv_buf_t buf = uv_buf_init((char *)data, (unsigned)length);
    int done = stream->pending == 0 ? uv_try_write(&stream->uv.stream, &buf, 1) : 0;
    if (done < 0 && done != UV_EAGAIN)
        return write_failed(stream, done, err);
    if (done < 0)
        done = 0;
    length -= (size_t)done;
    if (length == 0)
        return true;
    struct write_request *request = vr_alloc(sizeof(*request) + length);
    request->uv.data = request;
    request->stream = stream;
    request->length = length;
    memcpy(request->data, (const char *)data + done, length);
    buf = uv_buf_init(request->data, (unsigned)length);
    int rc = uv_write(&request->uv, &stream->uv.stream, &buf, 1, wrote);
    if (rc != 0) {
        free(request);
        return write_failed(stream, rc, err);
    }
    stream->pending += length;
    return true;
}

size_t vr_stream_pending(const struct vr_stream *stream)
{
    return stream->pending;
}

static void was_shut(uv_shutdown_t *request, int status)
{
    (void)status;
    free(request);
}

bool vr_stream_shutdown(struct vr_stream *stream, struct vr_error *err)
{
    if (stream->shut)
        return true;
    stream->shut = true;
    if (stream->one_way) {
        if (stream->pending == 0)
            close_handle(stream);
        return true;
    }
    uv_shutdown_t *request = vr_alloc(sizeof(*request));
    int rc = uv_shutdown(request, &stream->uv.stream, was_shut);
    if (rc == 0)
        return true;
    free(request);
    return rc == UV_ENOTCONN
               ? true
               : vr_error_uv(err, rc, "cannot end the writing to %s", vr_stream_peer(stream));
}

/* --- connecting: one address after the other --- */

struct vr_connect {
    uv_getaddrinfo_t resolve; /* data: this */
    uv_connect_t request;     /* data: this */
    struct vr_loop *loop;
    struct vr_stream *stream; /* the one that is being tried */
    struct vr_timer *timer;
    struct addrinfo *list, *next;
    char *host;
    int port;
    int users; /* requests whose callback is still to come */
    int rc;    /* why the last address failed */
    bool over; /* told or cancelled */
    vr_connect_cb cb;
    void *payload;
};

static void release_connect(struct vr_connect *c)
{
    if (!c->over || c->users > 0)
        return;
    uv_freeaddrinfo(c->list);
    free(c->host);
    free(c);
}

static void end_connect(struct vr_connect *c)
{
    c->over = true;
    vr_timer_cancel(c->timer);
    c->timer = NULL;
    vr_stream_close(c->stream);
    c->stream = NULL;
}

static void tell(struct vr_connect *c, struct vr_stream *stream, struct vr_error *err)
{
    vr_connect_cb cb = c->cb;
    void *payload = c->payload;
    end_connect(c);
    cb(payload, stream, err);
    vr_error_clear(err);
}

static void tell_failure(struct vr_connect *c, int rc)
{
    struct vr_error err = {0};
    if (c->port)
        vr_error_uv(&err, rc, "cannot connect to %s:%d", c->host, c->port);
    else
        vr_error_uv(&err, rc, "cannot connect to %s", c->host);
    tell(c, NULL, &err);
}

static void connect_timeout(void *payload)
{
    struct vr_connect *c = payload;
    c->timer = NULL;
    tell_failure(c, UV_ETIMEDOUT);
    release_connect(c);
}

static void try_next(struct vr_connect *c);

static void connected(uv_connect_t *request, int status)
{
    struct vr_connect *c = request->data;
    c->users--;
    if (c->over) {
        release_connect(c);
        return;
    }
    struct vr_stream *stream = c->stream;
    c->stream = NULL;
    if (status == 0) {
        struct vr_error err = {0};
        if (c->port) {
            uv_tcp_nodelay(&stream->uv.tcp, 1);
            set_peer(stream);
        } else {
            stream->peer = vr_strdup(c->host);
        }
        tell(c, stream, &err);
    } else {
        vr_stream_close(stream);
        c->rc = status;
        try_next(c);
    }
    release_connect(c);
}

static void try_next(struct vr_connect *c)
{
    while (c->next) {
        struct addrinfo *at = c->next;
        c->next = at->ai_next;
        c->stream = new_tcp(c->loop);
        c->rc = uv_tcp_connect(&c->request, &c->stream->uv.tcp, at->ai_addr, connected);
        if (c->rc == 0) {
            c->users++;
            return;
        }
        vr_stream_close(c->stream);
        c->stream = NULL;
    }
    tell_failure(c, c->rc);
}

static void resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *list)
{
    struct vr_connect *c = resolve->data;
    c->users--;
    c->list = c->next = list;
    if (!c->over) {
        if (status == 0)
            try_next(c);
        else
            tell_failure(c, status);
    }
    release_connect(c);
}

static struct vr_connect *new_connect(struct vr_loop *loop, double timeout, vr_connect_cb cb,
                                      void *payload)
{
    struct vr_connect *c = vr_alloc(sizeof(*c));
    c->loop = loop;
    c->cb = cb;
    c->payload = payload;
    c->resolve.data = c->request.data = c;
    c->rc = UV_EADDRNOTAVAIL;
    if (timeout > 0)
        c->timer = vr_timer_start(loop, timeout, connect_timeout, c);
    return c;
}

/* What failed before anything was under way is told on the next turn. */
static void failed_at_once(void *payload)
{
    struct vr_connect *c = payload;
    c->users--;
    if (!c->over)
        tell_failure(c, c->rc);
    release_connect(c);
}

static void fail_soon(struct vr_connect *c, int rc)
{
    c->rc = rc;
    c->users++;
    vr_loop_defer(c->loop, failed_at_once, c);
}

struct vr_connect *vr_stream_connect(struct vr_loop *loop, const char *host, int port,
                                     double timeout, vr_connect_cb cb, void *payload)
{
    struct vr_connect *c = new_connect(loop, timeout, cb, payload);
    c->host = vr_strdup(host);
    c->port = port;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM,
                             .ai_flags = AI_NUMERICSERV | AI_ADDRCONFIG};
    struct sockaddr_in6 any;
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&any) == 0 ||
        uv_ip6_addr(host, port, &any) == 0)
        hints.ai_flags = AI_NUMERICSERV | AI_NUMERICHOST;
    char service[16];
    snprintf(service, sizeof(service), "%d", port);
    int rc = port > 0 && port < 65536
                 ? uv_getaddrinfo(vr_loop_uv(loop), &c->resolve, resolved, host, service, &hints)
                 : UV_EINVAL;
    if (rc == 0)
        c->users++;
    else
        fail_soon(c, rc);
    return c;
}

static bool path_fits(const char *path)
{
    return strlen(path) < sizeof(((struct sockaddr_un *)0)->sun_path);
}

struct vr_connect *vr_stream_connect_path(struct vr_loop *loop, const char *path, double timeout,
                                          vr_connect_cb cb, void *payload)
{
    struct vr_connect *c = new_connect(loop, timeout, cb, payload);
    c->host = vr_strdup(path);
    if (!path_fits(path)) {
        fail_soon(c, UV_ENAMETOOLONG);
        return c;
    }
    c->stream = vr_stream_new_pipe(loop);
    uv_pipe_connect(&c->request, &c->stream->uv.pipe, path, connected);
    c->users++;
    return c;
}

void vr_connect_cancel(struct vr_connect *c)
{
    if (!c || c->over)
        return;
    end_connect(c);
    release_connect(c);
}

/* --- listening --- */

struct vr_listener {
    union handle uv; /* data: this */
    struct vr_loop *loop;
    size_t waiting;
    bool closed;
    char *path;
    vr_stream_cb acceptable;
    void *payload;
};

static void free_listener(uv_handle_t *handle)
{
    struct vr_listener *listener = handle->data;
    free(listener->path);
    free(listener);
}

static void somebody_came(uv_stream_t *uv, int status)
{
    struct vr_listener *listener = uv->data;
    if (status < 0)
        return;
    listener->waiting++;
    if (listener->acceptable)
        listener->acceptable(listener->payload);
}

static struct vr_listener *new_listener(struct vr_loop *loop)
{
    struct vr_listener *listener = vr_alloc(sizeof(*listener));
    listener->uv.handle.data = listener;
    listener->loop = loop;
    return listener;
}

static struct vr_listener *listen_on(struct vr_listener *listener, int rc, int backlog,
                                     const char *what, struct vr_error *err)
{
    if (rc == 0)
        rc = uv_listen(&listener->uv.stream, backlog > 0 ? backlog : 128, somebody_came);
    if (rc == 0)
        return listener;
    vr_error_uv(err, rc, "cannot listen on %s", what);
    vr_listener_close(listener);
    return NULL;
}

struct vr_listener *vr_listener_new(struct vr_loop *loop, const char *host, int port, int backlog,
                                    struct vr_error *err)
{
    struct sockaddr_storage address = {0};
    if (!host || !*host || strcmp(host, "localhost") == 0)
        host = "127.0.0.1";
    if (port < 0 || port > 65535 ||
        (uv_ip4_addr(host, port, (struct sockaddr_in *)&address) != 0 &&
         uv_ip6_addr(host, port, (struct sockaddr_in6 *)&address) != 0)) {
        vr_error_set(err, "value", "cannot listen on %s:%d: not an address and a port", host, port);
        return NULL;
    }
    struct vr_listener *listener = new_listener(loop);
    uv_tcp_init(vr_loop_uv(loop), &listener->uv.tcp);
    int rc = uv_tcp_bind(&listener->uv.tcp, (struct sockaddr *)&address, 0);
    char *what = vr_format("%s:%d", host, port);
    listener = listen_on(listener, rc, backlog, what, err);
    free(what);
    return listener;
}

struct vr_listener *vr_listener_new_path(struct vr_loop *loop, const char *path, int backlog,
                                         struct vr_error *err)
{
    struct vr_listener *listener = new_listener(loop);
    uv_pipe_init(vr_loop_uv(loop), &listener->uv.pipe, 0);
    int rc = path_fits(path) ? uv_pipe_bind(&listener->uv.pipe, path) : UV_ENAMETOOLONG;
    if (rc == 0 && chmod(path, 0600) != 0)
        rc = -errno;
    if (rc == 0)
        listener->path = vr_strdup(path);
    return listen_on(listener, rc, backlog, path, err);
}

void vr_listener_watch(struct vr_listener *listener, vr_stream_cb acceptable, void *payload)
{
    listener->acceptable = acceptable;
    listener->payload = payload;
}

struct vr_stream *vr_listener_accept(struct vr_listener *listener)
{
    while (listener->waiting > 0) {
        listener->waiting--;
        struct vr_stream *stream =
            listener->path ? vr_stream_new_pipe(listener->loop) : new_tcp(listener->loop);
        if (uv_accept(&listener->uv.stream, &stream->uv.stream) == 0) {
            if (listener->path)
                stream->peer = vr_strdup(listener->path);
            else
                set_peer(stream);
            if (!listener->path)
                uv_tcp_nodelay(&stream->uv.tcp, 1);
            return stream;
        }
        vr_stream_close(stream);
    }
    return NULL;
}

int vr_listener_port(const struct vr_listener *listener)
{
    struct sockaddr_storage address = {0};
    int length = sizeof(address);
    if (listener->path ||
        uv_tcp_getsockname(&listener->uv.tcp, (struct sockaddr *)&address, &length) != 0)
        return 0;
    return address.ss_family == AF_INET ? ntohs(((struct sockaddr_in *)&address)->sin_port)
                                        : ntohs(((struct sockaddr_in6 *)&address)->sin6_port);
}

void vr_listener_close(struct vr_listener *listener)
{
    if (!listener || listener->closed)
        return;
    listener->closed = true;
    uv_close(&listener->uv.handle, free_listener);
}

/* --- pumps --- */

struct side {
    struct vr_pump *pump;
    struct vr_stream *from, *to;
    bool ended;
};

struct vr_pump {
    struct side sides[2];
    bool over;
    vr_pump_cb done;
    void *payload;
};

static void end_pump(struct vr_pump *pump)
{
    pump->over = true;
    vr_stream_close(pump->sides[0].from);
    vr_stream_close(pump->sides[1].from);
}

static void finish_pump(void *payload)
{
    struct vr_pump *pump = payload;
    if (pump->done)
        pump->done(pump->payload);
    free(pump);
}

/* Moves what is there as long as the other side takes it. Both streams stay open until what was
 * written has gone. */
static void move(struct side *side)
{
    struct vr_pump *pump = side->pump;
    bool failed = false;
    while (!side->ended && !failed && vr_stream_pending(side->to) < VR_STREAM_HIGH) {
        struct vr_buf data = {0};
        enum vr_stream_state state = vr_stream_take(side->from, &data, NULL);
        if (state == VR_STREAM_DATA)
            failed = !vr_stream_write(side->to, data.data, data.length, NULL);
        vr_buf_free(&data);
        if (state == VR_STREAM_WAIT)
            break;
        failed = failed || state == VR_STREAM_ERROR;
        if (state == VR_STREAM_END) {
            side->ended = true;
            vr_stream_shutdown(side->to, NULL);
        }
    }
    bool gone = pump->sides[0].ended && pump->sides[1].ended &&
                vr_stream_pending(pump->sides[0].to) == 0 &&
                vr_stream_pending(pump->sides[1].to) == 0;
    if (!pump->over && (failed || gone || side->to->write_rc != 0)) {
        struct vr_loop *loop = side->from->uv.handle.loop->data;
        end_pump(pump);
        vr_loop_defer(loop, finish_pump, pump);
    }
}

static void changed(void *payload)
{
    struct vr_pump *pump = payload;
    move(&pump->sides[0]);
    if (!pump->over)
        move(&pump->sides[1]);
}

struct vr_pump *vr_pump_start(struct vr_stream *a, struct vr_stream *b, vr_pump_cb done,
                              void *payload)
{
    struct vr_pump *pump = vr_alloc(sizeof(*pump));
    pump->sides[0] = (struct side){pump, a, b, false};
    pump->sides[1] = (struct side){pump, b, a, false};
    pump->done = done;
    pump->payload = payload;
    vr_stream_watch(a, changed, changed, pump);
    vr_stream_watch(b, changed, changed, pump);
    changed(pump);
    return pump;
}

void vr_pump_cancel(struct vr_pump *pump)
{
    if (!pump)
        return;
    pump->done = NULL;
    if (pump->over)
        return; /* finish_pump is on its way */
    end_pump(pump);
    free(pump);
}
