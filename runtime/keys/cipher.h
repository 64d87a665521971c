/* A key of a passphrase, and texts that only its holder reads or makes: scrypt (RFC 7914) and
 * AES-256-GCM. */
#ifndef VR_KEYS_CIPHER_H
#define VR_KEYS_CIPHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum { VR_CIPHER_KEY = 32, VR_CIPHER_NONCE = 12, VR_CIPHER_TAG = 16 };

/* How much work a guess of the passphrase is: 128 * n * r bytes and p times over them. */
struct vr_scrypt {
    uint64_t n, r, p;
};

/* Slow on purpose: not for the loop's thread. False with an error when the figures are out of the
 * bounds of the algorithm or take more than 1 GiB. */
bool vr_scrypt(const void *passphrase, size_t length, const void *salt, size_t salt_length,
               const struct vr_scrypt *cost, unsigned char *out, size_t out_length,
               struct vr_error *err);

/* out has room for length + VR_CIPHER_TAG. `bound` is not kept, but must be the same to open. The
 * same key and nonce must never seal twice. */
void vr_cipher_seal(const unsigned char key[VR_CIPHER_KEY],
                    const unsigned char nonce[VR_CIPHER_NONCE], const void *bound,
                    size_t bound_length, const void *text, size_t length, unsigned char *out);
/* out has room for length - VR_CIPHER_TAG. False when it is not what was sealed by this key, nonce
 * and `bound`; out is wiped then. */
bool vr_cipher_open(const unsigned char key[VR_CIPHER_KEY],
                    const unsigned char nonce[VR_CIPHER_NONCE], const void *bound,
                    size_t bound_length, const void *sealed, size_t length, unsigned char *out);

#endif
