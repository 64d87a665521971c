/* The function that makes a key out of a passphrase in OpenSSH's private key files. Slow on
 * purpose: off the loop, please. */
#ifndef VR_KEYS_BCRYPT_H
#define VR_KEYS_BCRYPT_H

#include <stdbool.h>
#include <stddef.h>

/* Fills key. False: rounds is 0, or there is nothing to make. */
bool vr_bcrypt_pbkdf(const char *passphrase, const void *salt, size_t salt_length, unsigned rounds,
                     unsigned char *key, size_t length);

#endif
