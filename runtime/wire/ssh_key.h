/* A private SSH key from text in memory: OpenSSH's own format and PEM. Signs by itself with Ed25519
 * and RSA (as rsa-sha2-256, which libssh2 1.10 does not know and today's servers insist on); other
 * kinds are left to libssh2. */
#ifndef VR_WIRE_SSH_KEY_H
#define VR_WIRE_SSH_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

struct vr_ssh_key;

/* NULL with an error of code "auth" when the text is not a key, or its passphrase is missing or
 * wrong. Text and passphrase are copied; the copies are wiped when freed. passphrase may be NULL.
 */
struct vr_ssh_key *vr_ssh_key_new(const char *text, size_t length, const char *passphrase,
                                  struct vr_error *err);
void vr_ssh_key_free(struct vr_ssh_key *key); /* NULL is fine */

const char *vr_ssh_key_text(const struct vr_ssh_key *key, size_t *length);
const char *vr_ssh_key_passphrase(const struct vr_ssh_key *key); /* may be NULL */
/* "ssh-ed25519 SHA256:...", for messages. */
const char *vr_ssh_key_name(const struct vr_ssh_key *key);
/* The key's type: "ssh-rsa", ... */
const char *vr_ssh_key_type(const struct vr_ssh_key *key);

/* The public key to offer when signatures come from vr_ssh_key_sign; NULL: give the text to libssh2
 * instead. */
const unsigned char *vr_ssh_key_public(const struct vr_ssh_key *key, size_t *length);
/* out: malloc'ed, the caller's. */
bool vr_ssh_key_sign(const struct vr_ssh_key *key, const void *data, size_t length,
                     unsigned char **out, size_t *out_length);

/* libssh2's and libgit2's form of it: *abstract is the key. */
struct _LIBSSH2_SESSION;
int vr_ssh_key_callback(struct _LIBSSH2_SESSION *session, unsigned char **out, size_t *out_length,
                        const unsigned char *data, size_t length, void **abstract);

#endif
