/* Digests, encodings and random bytes, over libnettle: libcrypto alone takes
 * as much memory as the rest of a small run, and is loaded only with keys/. */
#ifndef VR_BASE_CRYPTO_H
#define VR_BASE_CRYPTO_H

#include <stdbool.h>
#include <stddef.h>

enum { VR_SHA1_SIZE = 20, VR_SHA256_SIZE = 32 };

void vr_sha1(const void *data, size_t length, unsigned char out[VR_SHA1_SIZE]);
void vr_sha256(const void *data, size_t length, unsigned char out[VR_SHA256_SIZE]);
void vr_hmac_sha256(const void *key, size_t key_length, const void *data, size_t length,
                    unsigned char out[VR_SHA256_SIZE]);
void vr_sha256_hex(const void *data, size_t length, char out[2 * VR_SHA256_SIZE + 1]);

/* Lower-case hexadecimal digits and a NUL into out, which has room for 2 * length + 1. */
void vr_hex(const void *data, size_t length, char *out);
/* The bytes that digits stand for; the caller frees. NULL when it is not an even number of
 * hexadecimal digits. */
unsigned char *vr_unhex(const char *digits, size_t *length);

/* RFC 4648, with padding; the caller frees. */
char *vr_base64(const void *data, size_t length);
/* The caller frees. White space is skipped, missing padding accepted, the URL alphabet as well;
 * NULL: not base64. */
unsigned char *vr_unbase64(const char *text, size_t *length);
/* The URL alphabet without padding; the caller frees. */
char *vr_base64url(const void *data, size_t length);

/* Bytes that nobody can guess. Ends the program when the system has none. */
void vr_random(void *out, size_t length);

#endif
