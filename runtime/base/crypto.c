#include "base/crypto.h"

#include <ctype.h>
#include <errno.h>
#include <nettle/base64.h>
#include <nettle/hmac.h>
#include <nettle/sha1.h>
#include <nettle/sha2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"

void vr_sha1(const void *data, size_t length, unsigned char out[VR_SHA1_SIZE])
{
    struct sha1_ctx context;
    sha1_init(&context);
    sha1_update(&context, length, data);
    sha1_digest(&context, VR_SHA1_SIZE, out);
}

void vr_sha256(const void *data, size_t length, unsigned char out[VR_SHA256_SIZE])
{
    struct sha256_ctx context;
    sha256_init(&context);
    sha256_update(&context, length, data);
    sha256_digest(&context, VR_SHA256_SIZE, out);
}

void vr_hmac_sha256(const void *key, size_t key_length, const void *data, size_t length,
                    unsigned char out[VR_SHA256_SIZE])
{
    struct hmac_sha256_ctx context;
    hmac_sha256_set_key(&context, key_length, key);
    hmac_sha256_update(&context, length, data);
    hmac_sha256_digest(&context, VR_SHA256_SIZE, out);
    explicit_bzero(&context, sizeof(context));
}

void vr_hex(const void *data, size_t length, char *out)
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *bytes = data;
    for (size_t i = 0; i < length; i++) {
        *out++ = digits[bytes[i] >> 4];
        *out++ = digits[bytes[i] & 15];
    }
    *out = '\0';
}

void vr_sha256_hex(const void *data, size_t length, char out[2 * VR_SHA256_SIZE + 1])
{
    unsigned char digest[VR_SHA256_SIZE];
    vr_sha256(data, length, digest);
    vr_hex(digest, sizeof(digest), out);
}

static int hex_value(char digit)
{
    if (digit >= '0' && digit <= '9')
        return digit - '0';
    digit = (char)tolower((unsigned char)digit);
    return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

unsigned char *vr_unhex(const char *digits, size_t *length)
{
    size_t count = strlen(digits);
    if (count % 2)
        return NULL;
    unsigned char *bytes = vr_alloc(count / 2 + 1);
    for (size_t i = 0; i < count; i += 2) {
        int high = hex_value(digits[i]), low = hex_value(digits[i + 1]);
        if (high < 0 || low < 0) {
            free(bytes);
            return NULL;
        }
        bytes[i / 2] = (unsigned char)(high << 4 | low);
    }
    *length = count / 2;
    return bytes;
}

char *vr_base64(const void *data, size_t length)
{
    char *text = vr_alloc(BASE64_ENCODE_RAW_LENGTH(length) + 1);
    base64_encode_raw(text, length, data);
    return text;
}

char *vr_base64url(const void *data, size_t length)
{
    char *text = vr_base64(data, length);
    for (char *c = text; *c; c++) {
        if (*c == '+')
            *c = '-';
        else if (*c == '/')
            *c = '_';
        else if (*c == '=')
            *c = '\0';
    }
    return text;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    if (c == '+' || c == '-')
        return 62;
    return c == '/' || c == '_' ? 63 : -1;
}

unsigned char *vr_unbase64(const char *text, size_t *length)
{
    unsigned char *bytes = vr_alloc(strlen(text) / 4 * 3 + 4);
    size_t count = 0;
    unsigned bits = 0, held = 0, digits = 0;
    for (; *text && *text != '='; text++) {
        if (isspace((unsigned char)*text))
            continue;
        int value = base64_value(*text);
        if (value < 0)
            goto bad;
        bits = bits << 6 | (unsigned)value;
        held += 6;
        digits++;
        if (held >= 8) {
            held -= 8;
            bytes[count++] = (unsigned char)(bits >> held);
        }
    }
    for (; *text; text++)
        if (*text != '=' && !isspace((unsigned char)*text))
            goto bad;
    if (digits % 4 == 1)
        goto bad;
    *length = count;
    return bytes;
bad:
    free(bytes);
    return NULL;
}

void vr_random(void *out, size_t length)
{
    for (unsigned char *at = out; length > 0;) {
        ssize_t got = getrandom(at, length, 0);
        if (got < 0 && errno != EINTR) {
            fputs("vmrun: the system gives no random bytes\n", stderr);
            abort();
        }
        at += got > 0 ? got : 0;
        length -= got > 0 ? (size_t)got : 0;
    }
}
