#include "keys/keys.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"

/* The wire forms are those of RFC 4253 section 6.6 (RSA), RFC 8709 (ed25519) and OpenSSH's
 * PROTOCOL.key. */

static const char begin_mark[] = "-----BEGIN OPENSSH PRIVATE KEY-----";
static const char end_mark[] = "-----END OPENSSH PRIVATE KEY-----";
static const char magic[] = "openssh-key-v1"; /* its NUL is part of the format */

static void wipe(struct vr_buf *buf)
{
    if (buf->data)
        OPENSSL_cleanse(buf->data, buf->room);
    vr_buf_free(buf);
}

static void put_u32(struct vr_buf *buf, uint32_t value)
{
    unsigned char bytes[4] = {value >> 24, value >> 16, value >> 8, value};
    vr_buf_add(buf, bytes, 4);
}

static void put_bytes(struct vr_buf *buf, const void *data, size_t length)
{
    put_u32(buf, (uint32_t)length);
    vr_buf_add(buf, data, length);
}

static void put_text(struct vr_buf *buf, const char *text)
{
    put_bytes(buf, text, strlen(text));
}

static void put_number(struct vr_buf *buf, EVP_PKEY *key, const char *param)
{
    BIGNUM *number = NULL;
    if (!EVP_PKEY_get_bn_param(key, param, &number))
        abort();
    unsigned char bytes[1025];
    bytes[0] = 0;
    int length = BN_bn2bin(number, bytes + 1);
    BN_clear_free(number);
    bool sign = length > 0 && bytes[1] & 0x80;
    put_bytes(buf, sign ? bytes : bytes + 1, (size_t)length + sign);
    OPENSSL_cleanse(bytes, sizeof(bytes));
}

static void put_public(struct vr_buf *buf, EVP_PKEY *key)
{
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519) {
        unsigned char raw[32];
        size_t length = sizeof(raw);
        EVP_PKEY_get_raw_public_key(key, raw, &length);
        put_text(buf, "ssh-ed25519");
        put_bytes(buf, raw, length);
        return;
    }
    put_text(buf, "ssh-rsa");
    put_number(buf, key, OSSL_PKEY_PARAM_RSA_E);
    put_number(buf, key, OSSL_PKEY_PARAM_RSA_N);
}

static void put_private(struct vr_buf *buf, EVP_PKEY *key)
{
    if (EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519) {
        unsigned char pair[64];
        size_t half = 32, other = 32;
        EVP_PKEY_get_raw_private_key(key, pair, &half);
        EVP_PKEY_get_raw_public_key(key, pair + 32, &other);
        put_public(buf, key);
        put_bytes(buf, pair, sizeof(pair));
        OPENSSL_cleanse(pair, sizeof(pair));
        return;
    }
    static const char *const params[] = {
        OSSL_PKEY_PARAM_RSA_N,       OSSL_PKEY_PARAM_RSA_E,
        OSSL_PKEY_PARAM_RSA_D,       OSSL_PKEY_PARAM_RSA_COEFFICIENT1,
        OSSL_PKEY_PARAM_RSA_FACTOR1, OSSL_PKEY_PARAM_RSA_FACTOR2};
    put_text(buf, "ssh-rsa");
    for (size_t i = 0; i < sizeof(params) / sizeof(*params); i++)
        put_number(buf, key, params[i]);
}

static char *armour(const struct vr_buf *blob)
{
    char *text = vr_base64(blob->data, blob->length);
    struct vr_buf out = {0};
    vr_buf_printf(&out, "%s\n", begin_mark);
    for (size_t at = 0, length = strlen(text); at < length; at += 70)
        vr_buf_printf(&out, "%.70s\n", text + at);
    vr_buf_printf(&out, "%s\n", end_mark);
    vr_secret_free(text);
    return vr_buf_steal(&out);
}

static char *openssh_private(EVP_PKEY *key, const char *comment)
{
    struct vr_buf inner = {0}, outer = {0}, public = {0};
    uint32_t check;
    vr_random(&check, sizeof(check));
    put_u32(&inner, check);
    put_u32(&inner, check);
    put_private(&inner, key);
    put_text(&inner, comment);
    for (unsigned char pad = 1; inner.length % 8; pad++)
        vr_buf_add(&inner, &pad, 1);

    put_public(&public, key);
    vr_buf_add(&outer, magic, sizeof(magic));
    put_text(&outer, "none");
    put_text(&outer, "none");
    put_text(&outer, "");
    put_u32(&outer, 1);
    put_bytes(&outer, public.data, public.length);
    put_bytes(&outer, inner.data, inner.length);
    char *text = armour(&outer);
    wipe(&inner);
    wipe(&outer);
    vr_buf_free(&public);
    return text;
}

static char *public_line(const unsigned char *blob, size_t length, const char *comment)
{
    uint32_t size =
        (uint32_t)blob[0] << 24 | (uint32_t)blob[1] << 16 | (uint32_t)blob[2] << 8 | blob[3];
    char *text = vr_base64(blob, length);
    char *line = vr_format("%.*s %s%s%s", (int)size, blob + 4, text, *comment ? " " : "", comment);
    free(text);
    return line;
}

static char *fingerprint_of(const unsigned char *blob, size_t length)
{
    unsigned char digest[VR_SHA256_SIZE];
    vr_sha256(blob, length, digest);
    char *text = vr_base64(digest, sizeof(digest));
    text[strcspn(text, "=")] = '\0';
    char *print = vr_format("SHA256:%s", text);
    free(text);
    return print;
}

bool vr_keypair_new(const char *type, int bits, const char *comment, struct vr_keypair *pair,
                    struct vr_error *err)
{
    EVP_PKEY *key = NULL;
    if (strcmp(type, "ed25519") == 0)
        key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    else if (strcmp(type, "rsa") != 0)
        return vr_error_set(err, "type", "no key type '%s'; there are ed25519 and rsa", type);
    else if (bits && (bits < 2048 || bits > 8192))
        return vr_error_set(err, "type", "an RSA key has 2048 to 8192 bits, not %d", bits);
    else
        key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)(bits ? bits : 3072));
    if (!key)
        return vr_error_set(err, "crypto", "cannot make a key");
    comment = comment ? comment : "";
    struct vr_buf public = {0};
    put_public(&public, key);
    pair->private_key = openssh_private(key, comment);
    pair->public_key = public_line((unsigned char *)public.data, public.length, comment);
    pair->fingerprint = fingerprint_of((unsigned char *)public.data, public.length);
    vr_buf_free(&public);
    EVP_PKEY_free(key);
    return true;
}

void vr_keypair_free(struct vr_keypair *pair)
{
    vr_secret_free(pair->private_key);
    free(pair->public_key);
    free(pair->fingerprint);
    *pair = (struct vr_keypair){0};
}

/* A reader over a blob; a length that runs past the end makes it fail for good. */
struct cursor {
    const unsigned char *at, *end;
    bool bad;
};

static uint32_t take_u32(struct cursor *c)
{
    if (c->bad || c->end - c->at < 4) {
        c->bad = true;
        return 0;
    }
    uint32_t value =
        (uint32_t)c->at[0] << 24 | (uint32_t)c->at[1] << 16 | (uint32_t)c->at[2] << 8 | c->at[3];
    c->at += 4;
    return value;
}

static const unsigned char *take_bytes(struct cursor *c, size_t *length)
{
    uint32_t size = take_u32(c);
    if (c->bad || (size_t)(c->end - c->at) < size) {
        c->bad = true;
        *length = 0;
        return NULL;
    }
    const unsigned char *start = c->at;
    c->at += size;
    *length = size;
    return start;
}

/* The comment is inside the private part, behind numbers whose count depends on the type. */
static char *comment_of(const unsigned char *inner, size_t size)
{
    struct cursor c = {inner, inner + size, false};
    size_t length;
    take_u32(&c);
    take_u32(&c);
    const unsigned char *type = take_bytes(&c, &length);
    int numbers = type && length == 11 && memcmp(type, "ssh-ed25519", 11) == 0 ? 2 : 6;
    if (!type || (length != 11 && !(length == 7 && memcmp(type, "ssh-rsa", 7) == 0)))
        return vr_strdup("");
    for (int i = 0; i < numbers; i++)
        take_bytes(&c, &length);
    const unsigned char *comment = take_bytes(&c, &length);
    return c.bad ? vr_strdup("") : vr_strndup((const char *)comment, length);
}

static char *openssh_public(const unsigned char *blob, size_t size, struct vr_error *err)
{
    struct cursor c = {blob + sizeof(magic), blob + size, size < sizeof(magic)};
    size_t cipher_length, length, public_length, inner_length;
    const unsigned char *cipher = take_bytes(&c, &cipher_length);
    take_bytes(&c, &length);
    take_bytes(&c, &length);
    take_u32(&c);
    const unsigned char *public = take_bytes(&c, &public_length);
    const unsigned char *inner = take_bytes(&c, &inner_length);
    if (c.bad || memcmp(blob, magic, sizeof(magic)) != 0 || public_length < 8) {
        vr_error_set(err, "key", "the private key is damaged");
        return NULL;
    }
    bool open = cipher_length == 4 && memcmp(cipher, "none", 4) == 0;
    char *comment = open ? comment_of(inner, inner_length) : vr_strdup("");
    char *line = public_line(public, public_length, comment);
    free(comment);
    return line;
}

char *vr_public_key(const char *private_key, struct vr_error *err)
{
    const char *start = strstr(private_key, begin_mark);
    if (!start) {
        EVP_PKEY *key = vr_key_read(private_key, err);
        if (!key)
            return NULL;
        int id = EVP_PKEY_get_base_id(key);
        char *line = NULL;
        if (id == EVP_PKEY_ED25519 || id == EVP_PKEY_RSA) {
            struct vr_buf public = {0};
            put_public(&public, key);
            line = public_line((unsigned char *)public.data, public.length, "");
            vr_buf_free(&public);
        } else {
            vr_error_set(err, "key", "the private key is neither ed25519 nor RSA");
        }
        EVP_PKEY_free(key);
        return line;
    }
    start += sizeof(begin_mark) - 1;
    const char *end = strstr(start, end_mark);
    size_t size = 0;
    char *body = end ? vr_strndup(start, (size_t)(end - start)) : NULL;
    unsigned char *blob = body ? vr_unbase64(body, &size) : NULL;
    char *line = NULL;
    if (blob)
        line = openssh_public(blob, size, err);
    else
        vr_error_set(err, "key", "the private key is cut off or not base64");
    vr_secret_free(body);
    if (blob)
        OPENSSL_cleanse(blob, size);
    free(blob);
    return line;
}

char *vr_fingerprint(const char *public_key)
{
    const char *space = strchr(public_key, ' ');
    if (!space)
        return NULL;
    char *body = vr_strndup(space + 1, strcspn(space + 1, " \n"));
    size_t size;
    unsigned char *blob = vr_unbase64(body, &size);
    free(body);
    char *print = blob && size > 8 ? fingerprint_of(blob, size) : NULL;
    free(blob);
    return print;
}

static char *pem_of(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_secmem());
    char *data;
    if (!bio || !PEM_write_bio_PKCS8PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL))
        abort();
    long length = BIO_get_mem_data(bio, &data);
    char *pem = vr_strndup(data, (size_t)length);
    BIO_free(bio);
    EVP_PKEY_free(key);
    return pem;
}

char *vr_rsa_key_new(int bits, struct vr_error *err)
{
    if (bits < 2048 || bits > 8192) {
        vr_error_set(err, "type", "an RSA key has 2048 to 8192 bits, not %d", bits);
        return NULL;
    }
    return pem_of(EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)bits));
}

char *vr_ec_key_new(void)
{
    return pem_of(EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256"));
}

static int no_passphrase(char *buffer, int size, int writing, void *payload)
{
    (void)buffer, (void)size, (void)writing, (void)payload;
    return -1;
}

struct evp_pkey_st *vr_key_read(const char *pem, struct vr_error *err)
{
    BIO *bio = BIO_new_mem_buf(pem, -1);
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, NULL);
    BIO_free(bio);
    if (!key)
        vr_error_set(err, "key", "this is not an unencrypted private key in PEM");
    return key;
}
