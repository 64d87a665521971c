/* The event loop: the one place that owns libuv. Everything that waits waits here. One loop a
 * process. */
#ifndef VR_NET_LOOP_H
#define VR_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

struct vr_loop;

struct vr_loop *vr_loop_new(void);
void vr_loop_free(struct vr_loop *loop);            /* everything on it must be closed */
struct uv_loop_s *vr_loop_uv(struct vr_loop *loop); /* for net/ and script/ only */

/* Runs until vr_loop_stop, or until nothing is left to wait for. */
void vr_loop_run(struct vr_loop *loop);
void vr_loop_stop(struct vr_loop *loop);
/* From now on cb is called each time before the loop may wait: to write out what was collected.
 * NULL: no longer. */
void vr_loop_before_wait(struct vr_loop *loop, void (*cb)(void *payload), void *payload);
uint64_t
vr_loop_now(struct vr_loop *loop); /* monotonic milliseconds, as of this turn of the loop */

/* A timer that fires once. The callback is never called from inside vr_timer_start. Freed by the
 * loop after it fired or after vr_timer_cancel; do not touch it afterwards. */
struct vr_timer;
typedef void (*vr_timer_cb)(void *payload);
struct vr_timer *vr_timer_start(struct vr_loop *loop, double seconds, vr_timer_cb cb,
                                void *payload);
void vr_timer_cancel(struct vr_timer *timer); /* NULL is fine; the callback will not run */

/* Calls cb once, on the next turn of the loop, after the callbacks of this turn. */
void vr_loop_defer(struct vr_loop *loop, vr_timer_cb cb, void *payload);

/* Readiness of a file descriptor that somebody else owns (libssh2, MHD). */
enum { VR_POLL_READ = 1, VR_POLL_WRITE = 2 };
struct vr_poll;
typedef void (*vr_poll_cb)(void *payload, int events);
/* NULL: not a descriptor that can be polled (a regular file, or closed). */
struct vr_poll *vr_poll_new(struct vr_loop *loop, int fd, vr_poll_cb cb, void *payload);
void vr_poll_set(struct vr_poll *poll, int events); /* 0: stop */
void vr_poll_free(struct vr_poll *poll);            /* before the fd is closed; NULL is fine */

/* Signals: cb runs on the loop. Waiting for signals alone does not keep the loop running. */
struct vr_signal;
typedef void (*vr_signal_cb)(void *payload, int number);
struct vr_signal *vr_signal_start(struct vr_loop *loop, int number, vr_signal_cb cb, void *payload);
void vr_signal_stop(struct vr_signal *signal); /* NULL is fine */

#endif
