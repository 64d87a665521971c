/* Who may write a state: a file with a lock on it, which the kernel takes away from a holder that
 * died. */
#ifndef VR_ENGINE_LEASE_H
#define VR_ENGINE_LEASE_H

#include "base/error.h"

/* Takes the lease of the file at path (made 0600), waiting for at most `wait` seconds (blocks). The
 * file then holds JSON:
 * {"holder": "user@host", "pid", "since", "command"}. A descriptor, or -1 with an error: "locked"
 * (names the holder), "io". what: "the state of stack 'x'", for messages. */
int vr_lease_take(const char *path, const char *what, double wait, struct vr_error *err);
void vr_lease_give(int fd); /* -1 is fine */

#endif
