/* Keys: SSH key pairs in OpenSSH's format, RSA and EC keys in PEM. A private key is a text that the
 * caller frees; wipe it with vr_secret_free (base/alloc.h). */
#ifndef VR_KEYS_KEYS_H
#define VR_KEYS_KEYS_H

#include <stdbool.h>

#include "base/error.h"

struct evp_pkey_st; /* OpenSSL's EVP_PKEY */

/* An SSH key pair. The private key is unencrypted, in the format of OpenSSH's PROTOCOL.key. */
struct vr_keypair {
    char *private_key; /* "-----BEGIN OPENSSH PRIVATE KEY-----..." */
    char *public_key;  /* "ssh-ed25519 AAAA... comment", no newline */
    char *fingerprint; /* "SHA256:..." as ssh-keygen -l prints it */
};

/* type: "ed25519" or "rsa" (bits: 2048 to 8192, 0: 3072). False with an error when the type or the
 * size is unknown. */
bool vr_keypair_new(const char *type, int bits, const char *comment, struct vr_keypair *pair,
                    struct vr_error *err);
void vr_keypair_free(struct vr_keypair *pair); /* wipes */

/* The public line of a private key: OpenSSH's format, or PEM of RSA or ed25519. The caller frees.
 * NULL with an error. */
char *vr_public_key(const char *private_key, struct vr_error *err);
/* "SHA256:..." of a public line ("ssh-ed25519 AAAA..."): the caller frees; NULL when it is none. */
char *vr_fingerprint(const char *public_key);

/* New private keys in PEM (PKCS#8). */
char *vr_rsa_key_new(int bits, struct vr_error *err);
char *vr_ec_key_new(void); /* P-256 */

/* NULL with an error; free with EVP_PKEY_free. */
struct evp_pkey_st *vr_key_read(const char *pem, struct vr_error *err);

#endif
