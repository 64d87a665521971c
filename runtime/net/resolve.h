/* Names to addresses, by libuv's threads: answers are kept for a minute, and lookups of one name at
 * one time share one. */
#ifndef VR_NET_RESOLVE_H
#define VR_NET_RESOLVE_H

#include <stdbool.h>

#include "base/error.h"
#include "net/loop.h"

struct vr_resolve;

/* addresses: numeric, separated by commas, IPv6 in brackets; NULL when err (code "resolve") says
 * why. Both are the resolver's. */
typedef void (*vr_resolve_cb)(void *payload, const char *addresses, const struct vr_error *err);

/* Calls cb once, later. The handle is valid until cb runs. */
struct vr_resolve *vr_resolve_start(struct vr_loop *loop, const char *host, vr_resolve_cb cb,
                                    void *payload);
void vr_resolve_cancel(struct vr_resolve *resolve); /* cb will not run; NULL is fine */

/* True for what needs no lookup: "10.0.0.4", "::1", "[::1]". */
bool vr_resolve_is_address(const char *host);
/* True for 127.0.0.0/8, ::1 and localhost. */
bool vr_resolve_is_loopback(const char *host);

#endif
