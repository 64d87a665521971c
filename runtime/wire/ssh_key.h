/* A private SSH key from text in memory: OpenSSH's own format and PEM; RSA, Ed25519 and ECDSA. RSA
 * signs as rsa-sha2-256, which libssh2 1.10 does not know and today's servers insist on. */
#ifndef VR_WIRE_SSH_KEY_H
#define VR_WIRE_SSH_KEY_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/error.h"

struct vr_ssh_key;

/* NULL with an error: code "passphrase" when it is missing or wrong, "auth" when the text is no
 * usable key. passphrase may be NULL; with one it takes long (keys/bcrypt.h). */
struct vr_ssh_key *vr_ssh_key_new(const char *text, size_t length, const char *passphrase,
                                  struct vr_error *err);
/* One more holder, who frees it too. */
struct vr_ssh_key *vr_ssh_key_hold(struct vr_ssh_key *key);
void vr_ssh_key_free(struct vr_ssh_key *key); /* NULL is fine */

/* "ssh-ed25519 SHA256:...", for messages. */
const char *vr_ssh_key_name(const struct vr_ssh_key *key);
/* The key's type: "ssh-rsa", ... */
const char *vr_ssh_key_type(const struct vr_ssh_key *key);
/* The algorithm that signs with a key of this type unless another is wanted. */
const char *vr_ssh_key_algorithm(const char *type);
/* The public half. */
const unsigned char *vr_ssh_key_blob(const struct vr_ssh_key *key, size_t *length);
/* Appends the public half under another name: what libssh2 is to offer. */
void vr_ssh_offer_as(const void *blob, size_t length, const char *type, struct vr_buf *out);

/* The bare signature, without the algorithm's name in front. out: malloc'ed, the caller's. */
bool vr_ssh_key_sign(const struct vr_ssh_key *key, const char *algorithm, const void *data,
                     size_t length, unsigned char **out, size_t *out_length);

/* libgit2's form of it: *abstract is the key. */
struct _LIBSSH2_SESSION;
int vr_ssh_key_callback(struct _LIBSSH2_SESSION *session, unsigned char **out, size_t *out_length,
                        const unsigned char *data, size_t length, void **abstract);

#endif
