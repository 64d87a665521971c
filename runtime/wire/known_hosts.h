/* Lines of known host keys, as OpenSSH keeps them, and the question whether a key is one of them. A
 * line is "type base64 [comment]", which holds for any host, or "hosts type base64 [comment]",
 * where hosts are names, "[name]:port", patterns with * and ?, !exceptions and hashed names
 * ("|1|salt|hash"). "@revoked" keys are refused; "@cert-authority" lines are only named, for nobody
 * here checks certificates; comments are passed over. */
#ifndef VR_WIRE_KNOWN_HOSTS_H
#define VR_WIRE_KNOWN_HOSTS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

struct vr_known_hosts;

/* Lines are copied. Never NULL; lines that cannot be read are passed over. */
struct vr_known_hosts *vr_known_hosts_new(const char *const *lines, size_t count);
/* Adds the lines of a file, which warnings will name. */
void vr_known_hosts_add_file(struct vr_known_hosts *known, const char *name, const char *text);
/* One more holder, who frees it too; from now on it does not change. */
struct vr_known_hosts *vr_known_hosts_hold(struct vr_known_hosts *known);
void vr_known_hosts_free(struct vr_known_hosts *known);          /* NULL is fine */
size_t vr_known_hosts_count(const struct vr_known_hosts *known); /* of readable keys */

/* Whether the key (the blob that the host sent) is known for host and port. If not: err has code
 * "hostkey" and a warning that names the host and the fingerprints of what was expected and what
 * came. label: the host as people know it. */
bool vr_known_hosts_check(const struct vr_known_hosts *known, const char *host, int port,
                          const void *key, size_t length, const char *label, struct vr_error *err);

/* Key types known for the host first, then the others of `all`, all with commas between: what to
 * ask a host for. */
void vr_known_hosts_order(const struct vr_known_hosts *known, const char *host, int port,
                          const char *all, struct vr_buf *out);

/* Appends a line for each key known for the host: "name type base64\n". */
void vr_known_hosts_write(const struct vr_known_hosts *known, const char *host, int port,
                          const char *name, struct vr_buf *out);

/* "type base64" of a key blob, and "SHA256:..." of it; the caller frees. NULL: not a key. */
char *vr_host_key_line(const void *key, size_t length);
char *vr_host_key_fingerprint(const void *key, size_t length);

#endif
