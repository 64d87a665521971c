/* A TCP connection: the name is looked up, its addresses are tried in turn. No timer for the whole:
 * the caller has one. */
#ifndef VR_WIRE_DIAL_H
#define VR_WIRE_DIAL_H

#include "base/error.h"
#include "net/loop.h"

struct vr_dial;

/* fd: connected and non-blocking, the caller's to close; -1 when err (code "resolve" or "connect";
 * the callee's) says why. */
typedef void (*vr_dial_cb)(void *payload, int fd, struct vr_error *err);

/* Calls cb once, later. Valid until cb runs. */
struct vr_dial *vr_dial_start(struct vr_loop *loop, const char *host, int port, vr_dial_cb cb,
                              void *payload);
void vr_dial_cancel(struct vr_dial *dial); /* NULL is fine */

#endif
