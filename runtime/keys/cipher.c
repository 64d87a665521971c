#include "keys/cipher.h"

#include <assert.h>
#include <limits.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>

enum { MOST_MEMORY = 1 << 30 };

bool vr_scrypt(const void *passphrase, size_t length, const void *salt, size_t salt_length,
               const struct vr_scrypt *cost, unsigned char *out, size_t out_length,
               struct vr_error *err)
{
    if (EVP_PBE_scrypt(passphrase, length, salt, salt_length, cost->n, cost->r, cost->p,
                       MOST_MEMORY, out, out_length) == 1)
        return true;
    ERR_clear_error(); /* or the next failure of a certificate gets this reason */
    return vr_error_set(err, "value", "scrypt cannot work with n=%llu, r=%llu, p=%llu",
                        (unsigned long long)cost->n, (unsigned long long)cost->r,
                        (unsigned long long)cost->p);
}

/* What cannot fail but for memory. */
static void must(int result)
{
    if (result == 1)
        return;
    fputs("vmrun: libcrypto cannot encrypt\n", stderr);
    abort();
}

void vr_cipher_seal(const unsigned char key[VR_CIPHER_KEY],
                    const unsigned char nonce[VR_CIPHER_NONCE], const void *bound,
                    size_t bound_length, const void *text, size_t length, unsigned char *out)
{
    assert(length <= INT_MAX && bound_length <= INT_MAX);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int count = 0, rest = 0;
    must(ctx != NULL);
    must(EVP_EncryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce));
    must(EVP_EncryptUpdate(ctx, NULL, &count, bound, (int)bound_length));
    must(EVP_EncryptUpdate(ctx, out, &count, text, (int)length));
    must(EVP_EncryptFinal_ex(ctx, out + count, &rest));
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_GET_TAG, VR_CIPHER_TAG, out + length));
    EVP_CIPHER_CTX_free(ctx);
}

bool vr_cipher_open(const unsigned char key[VR_CIPHER_KEY],
                    const unsigned char nonce[VR_CIPHER_NONCE], const void *bound,
                    size_t bound_length, const void *sealed, size_t length, unsigned char *out)
{
    if (length < VR_CIPHER_TAG)
        return false;
    assert(length <= INT_MAX && bound_length <= INT_MAX);
    size_t size = length - VR_CIPHER_TAG;
    unsigned char *tag = (unsigned char *)sealed + size;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int count = 0, rest = 0;
    must(ctx != NULL);
    must(EVP_DecryptInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, nonce));
    must(EVP_DecryptUpdate(ctx, NULL, &count, bound, (int)bound_length));
    must(EVP_DecryptUpdate(ctx, out, &count, sealed, (int)size));
    must(EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_GCM_SET_TAG, VR_CIPHER_TAG, tag));
    bool right = EVP_DecryptFinal_ex(ctx, out + count, &rest) == 1;
    EVP_CIPHER_CTX_free(ctx);
    if (!right)
        OPENSSL_cleanse(out, size);
    return right;
}
