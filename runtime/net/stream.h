/* Byte streams: TCP, Unix sockets and pipes of processes. Nothing is read before somebody asks, and
 * reading stops while 64 KiB wait to be taken; whoever writes looks at vr_stream_pending. */
#ifndef VR_NET_STREAM_H
#define VR_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

struct vr_loop;
struct vr_stream;

enum { VR_STREAM_HIGH = 65536 }; /* bytes that may wait, each way */

/* readable: there is something to take, or the end, or an error. writable: less than VR_STREAM_HIGH
 * waits again, or writing failed. Either may be NULL. Called on the loop, never from inside another
 * function of this file. */
typedef void (*vr_stream_cb)(void *payload);
void vr_stream_watch(struct vr_stream *stream, vr_stream_cb readable, vr_stream_cb writable,
                     void *payload);

enum vr_stream_state {
    VR_STREAM_DATA,  /* bytes were taken */
    VR_STREAM_WAIT,  /* none yet: readable will be called */
    VR_STREAM_END,   /* the other side has ended */
    VR_STREAM_ERROR, /* err says why */
};
/* Moves all that has come into out. Asks for more if there is nothing. */
enum vr_stream_state vr_stream_take(struct vr_stream *stream, struct vr_buf *out,
                                    struct vr_error *err);

/* Writes a copy of the data in the background. False when writing failed (earlier, too). */
bool vr_stream_write(struct vr_stream *stream, const void *data, size_t length,
                     struct vr_error *err);
size_t vr_stream_pending(const struct vr_stream *stream); /* bytes not yet written */
/* Says that no more will be written; what waits still is. */
bool vr_stream_shutdown(struct vr_stream *stream, struct vr_error *err);
/* Closes at once; what waits is lost; no callback any more. NULL is fine. */
void vr_stream_close(struct vr_stream *stream);
/* "127.0.0.1:80", a path, or "pipe": owned by the stream. */
const char *vr_stream_peer(const struct vr_stream *stream);

/* Connects. The callback gets the stream (now its own) or an error: code resolve, refused,
 * unreachable, timeout, not_found, ... timeout 0: none. */
struct vr_connect;
typedef void (*vr_connect_cb)(void *payload, struct vr_stream *stream, struct vr_error *err);
struct vr_connect *vr_stream_connect(struct vr_loop *loop, const char *host, int port,
                                     double timeout, vr_connect_cb cb, void *payload);
struct vr_connect *vr_stream_connect_path(struct vr_loop *loop, const char *path, double timeout,
                                          vr_connect_cb cb, void *payload);
void vr_connect_cancel(struct vr_connect *connect); /* safe until the callback; NULL is fine */

/* Listens on an address (not a name, but "localhost" and "" for 127.0.0.1) or a path (0600, removed
 * at close). acceptable is called when vr_listener_accept has something to give. */
struct vr_listener;
struct vr_listener *vr_listener_new(struct vr_loop *loop, const char *host, int port, int backlog,
                                    struct vr_error *err);
struct vr_listener *vr_listener_new_path(struct vr_loop *loop, const char *path, int backlog,
                                         struct vr_error *err);
void vr_listener_watch(struct vr_listener *listener, vr_stream_cb acceptable, void *payload);
struct vr_stream *vr_listener_accept(struct vr_listener *listener); /* NULL: nobody now */
int vr_listener_port(const struct vr_listener *listener);           /* 0: a path */
void vr_listener_close(struct vr_listener *listener);               /* NULL is fine */

/* A connected socket or a pipe that is open already; the stream owns it from now on, also on
 * failure. */
struct vr_stream *vr_stream_open(struct vr_loop *loop, int fd, struct vr_error *err);

/* Copies both ways until both have ended, or one failed; then closes both and calls done. The
 * streams belong to the pump and must not be used otherwise. */
struct vr_pump;
typedef void (*vr_pump_cb)(void *payload);
struct vr_pump *vr_pump_start(struct vr_stream *a, struct vr_stream *b, vr_pump_cb done,
                              void *payload);
void vr_pump_cancel(struct vr_pump *pump); /* closes both; done is not called; NULL is fine */

/* Our end of a pipe(2): ended by closing it. */
struct vr_stream *vr_stream_open_pipe(struct vr_loop *loop, int fd, struct vr_error *err);

/* For net/ only: a pipe that is not open yet, for uv_spawn; and the handle. */
struct uv_stream_s;
struct vr_stream *vr_stream_new_pipe(struct vr_loop *loop);
struct uv_stream_s *vr_stream_uv(struct vr_stream *stream);
/* A failed call of libuv: "FORMAT: connection refused" with a code as vr_error_system. */
bool vr_error_uv(struct vr_error *err, int rc, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
