/* A server looks at the algorithm of a signature and at the public key apart from each other, but
 * libssh2 1.10 takes one name for both out of the public key. So an RSA key is offered under the
 * name "rsa-sha2-256": OpenSSH reads a key of that name as the RSA key that it is. A server that
 * does not is asked once more under the old name (ssh_login.c). */
#include "wire/ssh_key.h"

#include <openssl/bio.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <openssl/pem.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "keys/bcrypt.h"
#include "wire/known_hosts.h"

struct vr_ssh_key {
    unsigned holders;
    EVP_PKEY *pkey;
    char *type;
    char *name;
    struct vr_buf blob;
};

/* What a key is read from. */
struct source {
    char *text;
    size_t length;
    char *passphrase; /* NULL: none */
};

/* --- the encoding of SSH --- */

struct reader {
    const unsigned char *at;
    size_t left;
    bool failed;
};

static uint32_t read_number(struct reader *r)
{
    if (r->left < 4) {
        r->failed = true;
        return 0;
    }
    uint32_t n =
        (uint32_t)r->at[0] << 24 | (uint32_t)r->at[1] << 16 | (uint32_t)r->at[2] << 8 | r->at[3];
    r->at += 4;
    r->left -= 4;
    return n;
}

static struct reader read_string(struct reader *r)
{
    uint32_t size = read_number(r);
    if (r->failed || size > r->left) {
        r->failed = true;
        return (struct reader){0};
    }
    struct reader string = {.at = r->at, .left = size};
    r->at += size;
    r->left -= size;
    return string;
}

static BIGNUM *read_big(struct reader *r)
{
    struct reader s = read_string(r);
    return BN_bin2bn(s.at, (int)s.left, NULL);
}

/* libcrypto clears what it makes of a number that is marked as secret; whoever frees this one does
 * so by BN_clear_free. */
static BIGNUM *read_secret(struct reader *r)
{
    struct reader s = read_string(r);
    return BN_bin2bn(s.at, (int)s.left, BN_secure_new());
}

static bool string_is(const struct reader *s, const char *text)
{
    return s->left == strlen(text) && memcmp(s->at, text, s->left) == 0;
}

static void put_number(struct vr_buf *out, size_t n)
{
    unsigned char bytes[4] = {(unsigned char)(n >> 24), (unsigned char)(n >> 16),
                              (unsigned char)(n >> 8), (unsigned char)n};
    vr_buf_add(out, bytes, 4);
}

static void put_string(struct vr_buf *out, const void *data, size_t length)
{
    put_number(out, length);
    vr_buf_add(out, data, length);
}

static void put_big(struct vr_buf *out, const BIGNUM *n)
{
    int size = BN_num_bytes(n);
    unsigned char *bytes = vr_alloc((size_t)size + 1);
    BN_bn2bin(n, bytes + 1);
    bool sign = size > 0 && (bytes[1] & 0x80); /* a leading zero, or it would be read as negative */
    put_string(out, bytes + !sign, (size_t)size + sign);
    free(bytes);
}

/* --- public keys out of OpenSSL's --- */

static bool put_rsa(struct vr_buf *out, const char *type, EVP_PKEY *pkey)
{
    BIGNUM *n = NULL, *e = NULL;
    bool ok = EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_N, &n) &&
              EVP_PKEY_get_bn_param(pkey, OSSL_PKEY_PARAM_RSA_E, &e);
    if (ok) {
        put_string(out, type, strlen(type));
        put_big(out, e);
        put_big(out, n);
    }
    BN_free(n);
    BN_free(e);
    return ok;
}

static bool put_ed25519(struct vr_buf *out, EVP_PKEY *pkey)
{
    unsigned char raw[32];
    size_t size = sizeof(raw);
    if (!EVP_PKEY_get_raw_public_key(pkey, raw, &size))
        return false;
    put_string(out, "ssh-ed25519", 11);
    put_string(out, raw, size);
    return true;
}

static bool put_ec(struct vr_buf *out, EVP_PKEY *pkey)
{
    char group[64];
    unsigned char point[256];
    size_t size = 0;
    if (!EVP_PKEY_get_utf8_string_param(pkey, OSSL_PKEY_PARAM_GROUP_NAME, group, sizeof(group),
                                        NULL) ||
        !EVP_PKEY_get_octet_string_param(pkey, OSSL_PKEY_PARAM_ENCODED_PUBLIC_KEY, point,
                                         sizeof(point), &size))
        return false;
    const char *curve = strcmp(group, "prime256v1") == 0  ? "nistp256"
                        : strcmp(group, "secp384r1") == 0 ? "nistp384"
                        : strcmp(group, "secp521r1") == 0 ? "nistp521"
                                                          : NULL;
    if (!curve)
        return false;
    char *type = vr_format("ecdsa-sha2-%s", curve);
    put_string(out, type, strlen(type));
    put_string(out, curve, strlen(curve));
    put_string(out, point, size);
    free(type);
    return true;
}

/* --- OpenSSH's format --- */

/* NULL: the numbers make no key. Takes `build`; it is `complete` if all could be put into it. */
static EVP_PKEY *make_key(const char *kind, OSSL_PARAM_BLD *build, bool complete)
{
    OSSL_PARAM *params = complete ? OSSL_PARAM_BLD_to_param(build) : NULL;
    EVP_PKEY_CTX *make = EVP_PKEY_CTX_new_from_name(NULL, kind, NULL);
    EVP_PKEY *pkey = NULL;
    if (params && EVP_PKEY_fromdata_init(make) > 0)
        EVP_PKEY_fromdata(make, &pkey, EVP_PKEY_KEYPAIR, params);
    OSSL_PARAM_free(params);
    OSSL_PARAM_BLD_free(build);
    EVP_PKEY_CTX_free(make);
    return pkey;
}

static EVP_PKEY *make_rsa(struct reader *r)
{
    BIGNUM *n = read_big(r), *e = read_big(r), *d = read_secret(r), *iqmp = read_secret(r),
           *p = read_secret(r), *q = read_secret(r);
    BIGNUM *dp = BN_secure_new(), *dq = BN_secure_new(), *less = BN_secure_new();
    BN_CTX *ctx = BN_CTX_secure_new();
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    bool ok = !r->failed && BN_copy(less, p) && BN_sub_word(less, 1) && BN_mod(dp, d, less, ctx) &&
              BN_copy(less, q) && BN_sub_word(less, 1) && BN_mod(dq, d, less, ctx) &&
              OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, n) &&
              OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, e) &&
              OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_D, d) &&
              OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_FACTOR1, p) &&
              OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_FACTOR2, q) &&
              OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_EXPONENT1, dp) &&
              OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_EXPONENT2, dq) &&
              OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_COEFFICIENT1, iqmp);
    EVP_PKEY *pkey = make_key("RSA", build, ok);
    BN_CTX_free(ctx);
    BN_free(n);
    BN_free(e);
    BIGNUM *secret[] = {d, iqmp, p, q, dp, dq, less};
    for (size_t i = 0; i < sizeof(secret) / sizeof(*secret); i++)
        BN_clear_free(secret[i]);
    return pkey;
}

static EVP_PKEY *make_ec(struct reader *r)
{
    struct reader curve = read_string(r), point = read_string(r);
    BIGNUM *secret = read_secret(r);
    const char *group = string_is(&curve, "nistp256")   ? "prime256v1"
                        : string_is(&curve, "nistp384") ? "secp384r1"
                        : string_is(&curve, "nistp521") ? "secp521r1"
                                                        : NULL;
    OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
    bool ok =
        !r->failed && group &&
        OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, group, 0) &&
        OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point.at, point.left) &&
        OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_PRIV_KEY, secret);
    EVP_PKEY *pkey = make_key("EC", build, ok);
    BN_clear_free(secret);
    return pkey;
}

static EVP_PKEY *make_ed25519(struct reader *r)
{
    read_string(r);                      /* the public half, again */
    struct reader both = read_string(r); /* the seed, then the public half */
    return r->failed || both.left != 64
               ? NULL
               : EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, both.at, 32);
}

/* The part that may have been encrypted. */
static bool read_private(struct vr_ssh_key *key, struct reader section)
{
    uint32_t check = read_number(&section);
    if (read_number(&section) != check || section.failed)
        return false;
    struct reader type = read_string(&section);
    if (string_is(&type, "ssh-rsa"))
        key->pkey = make_rsa(&section);
    else if (string_is(&type, "ssh-ed25519"))
        key->pkey = make_ed25519(&section);
    else if (type.left > 11 && memcmp(type.at, "ecdsa-sha2-", 11) == 0)
        key->pkey = make_ec(&section);
    return key->pkey != NULL;
}

static bool set_public(struct vr_ssh_key *key, const void *blob, size_t length)
{
    char *line = vr_host_key_line(blob, length);
    if (!line)
        return false;
    key->type = vr_strndup(line, strcspn(line, " "));
    free(line);
    char *fingerprint = vr_host_key_fingerprint(blob, length);
    key->name = vr_format("%s %s", key->type, fingerprint);
    free(fingerprint);
    vr_buf_add(&key->blob, blob, length);
    return true;
}

static bool needs_passphrase(struct vr_error *err, const char *name)
{
    vr_error_set(err, "passphrase", "the private key%s%s is encrypted and no passphrase was given",
                 name ? " " : "", name ? name : "");
    return false;
}

static bool wrong_passphrase(struct vr_error *err, const char *name)
{
    return vr_error_set(err, "passphrase", "the passphrase does not open the private key%s%s",
                        name ? " " : "", name ? name : "");
}

/* "aes256-ctr" is libcrypto's AES-256-CTR. */
static const EVP_CIPHER *cipher_of(const struct reader *name)
{
    static const char *const known[][2] = {
        {"aes256-ctr", "AES-256-CTR"}, {"aes256-cbc", "AES-256-CBC"}, {"aes192-ctr", "AES-192-CTR"},
        {"aes192-cbc", "AES-192-CBC"}, {"aes128-ctr", "AES-128-CTR"}, {"aes128-cbc", "AES-128-CBC"},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (string_is(name, known[i][0]))
            return EVP_get_cipherbyname(known[i][1]);
    }
    return NULL;
}

static bool decrypt(const EVP_CIPHER *cipher, const unsigned char *key, struct reader section,
                    unsigned char *out)
{
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int size = 0;
    bool ok =
        EVP_DecryptInit_ex(ctx, cipher, NULL, key, key + EVP_CIPHER_get_key_length(cipher)) == 1 &&
        EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
        EVP_DecryptUpdate(ctx, out, &size, section.at, (int)section.left) == 1 &&
        (size_t)size == section.left;
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

struct lock {
    struct reader cipher, kdf, options;
};

/* The private section of a key that a passphrase locks. */
static bool read_locked(struct vr_ssh_key *key, const struct source *from, struct lock *lock,
                        struct reader section, struct vr_error *err)
{
    const EVP_CIPHER *cipher = cipher_of(&lock->cipher);
    if (!cipher || !string_is(&lock->kdf, "bcrypt")) {
        vr_error_set(err, "auth", "the private key %s is encrypted with %.*s, which is not known",
                     key->name, (int)lock->cipher.left, (const char *)lock->cipher.at);
        vr_error_hint(err, "encrypt it anew: ssh-keygen -p -Z aes256-ctr -f FILE");
        return false;
    }
    struct reader salt = read_string(&lock->options);
    uint32_t rounds = read_number(&lock->options);
    unsigned char secret[64];
    size_t length = (size_t)(EVP_CIPHER_get_key_length(cipher) + EVP_CIPHER_get_iv_length(cipher));
    unsigned char *plain = vr_alloc(section.left + 1);
    bool ok = !lock->options.failed && section.left % 16 == 0 &&
              vr_bcrypt_pbkdf(from->passphrase, salt.at, salt.left, rounds, secret, length) &&
              decrypt(cipher, secret, section, plain) &&
              read_private(key, (struct reader){.at = plain, .left = section.left});
    OPENSSL_cleanse(secret, sizeof(secret));
    OPENSSL_cleanse(plain, section.left);
    free(plain);
    return ok || wrong_passphrase(err, key->name);
}

static bool is_hardware(struct vr_ssh_key *key, struct vr_error *err)
{
    if (strncmp(key->type, "sk-", 3) != 0)
        return false;
    vr_error_set(err, "auth", "%s is a key of a security device, which only ssh itself can use",
                 key->name);
    vr_error_hint(err, "say transport = \"openssh\" and name its file with key_file");
    return true;
}

#define OPENSSH_BEGIN "-----BEGIN OPENSSH PRIVATE KEY-----"
#define OPENSSH_END "-----END OPENSSH PRIVATE KEY-----"

static bool read_openssh_data(struct vr_ssh_key *key, const struct source *from, struct reader r,
                              struct vr_error *err)
{
    static const char magic[] = "openssh-key-v1";
    if (r.left <= sizeof(magic) || memcmp(r.at, magic, sizeof(magic)) != 0)
        return false;
    r.at += sizeof(magic);
    r.left -= sizeof(magic);
    struct lock lock = {0};
    lock.cipher = read_string(&r);
    lock.kdf = read_string(&r);
    lock.options = read_string(&r);
    if (read_number(&r) != 1)
        return false;
    struct reader blob = read_string(&r), section = read_string(&r);
    if (r.failed || !set_public(key, blob.at, blob.left) || is_hardware(key, err))
        return false;
    if (string_is(&lock.cipher, "none"))
        return read_private(key, section);
    return from->passphrase ? read_locked(key, from, &lock, section, err)
                            : needs_passphrase(err, key->name);
}

static bool read_openssh(struct vr_ssh_key *key, const struct source *from, struct vr_error *err)
{
    const char *start = strstr(from->text, OPENSSH_BEGIN) + strlen(OPENSSH_BEGIN),
               *end = strstr(start, OPENSSH_END);
    char *text = vr_strndup(start, end ? (size_t)(end - start) : 0);
    size_t length = 0;
    unsigned char *data = vr_unbase64(text, &length);
    struct reader r = {.at = data, .left = data ? length : 0};
    bool ok = read_openssh_data(key, from, r, err);
    if (data)
        OPENSSL_cleanse(data, length);
    OPENSSL_cleanse(text, strlen(text));
    free(data);
    free(text);
    return ok;
}

/* --- PEM --- */

static int give_passphrase(char *out, int size, int writing, void *payload)
{
    (void)writing;
    const char *passphrase = payload;
    int length = passphrase ? (int)strlen(passphrase) : -1;
    if (length < 0 || length > size)
        return -1;
    memcpy(out, passphrase, (size_t)length);
    return length;
}

static bool read_pem(struct vr_ssh_key *key, const struct source *from, struct vr_error *err)
{
    BIO *bio = BIO_new_mem_buf(from->text, (int)from->length);
    key->pkey = PEM_read_bio_PrivateKey(bio, NULL, give_passphrase, from->passphrase);
    BIO_free(bio);
    ERR_clear_error();
    if (!key->pkey && strstr(from->text, "ENCRYPTED"))
        return from->passphrase ? wrong_passphrase(err, NULL) : needs_passphrase(err, NULL);
    if (!key->pkey)
        return false;
    struct vr_buf blob = {0};
    int kind = EVP_PKEY_get_base_id(key->pkey);
    bool ok = kind == EVP_PKEY_RSA       ? put_rsa(&blob, "ssh-rsa", key->pkey)
              : kind == EVP_PKEY_ED25519 ? put_ed25519(&blob, key->pkey)
              : kind == EVP_PKEY_EC      ? put_ec(&blob, key->pkey)
                                         : false;
    ok = ok && set_public(key, blob.data, blob.length);
    vr_buf_free(&blob);
    return ok;
}

/* --- the key --- */

struct vr_ssh_key *vr_ssh_key_new(const char *text, size_t length, const char *passphrase,
                                  struct vr_error *err)
{
    struct vr_ssh_key *key = vr_alloc(sizeof(*key));
    struct vr_error reason = {0};
    struct source from = {.text = vr_strndup(text, length), .passphrase = vr_strdup(passphrase)};
    from.length = strlen(from.text);
    key->holders = 1;
    bool ok = strstr(from.text, OPENSSH_BEGIN) ? read_openssh(key, &from, &reason)
                                               : read_pem(key, &from, &reason);
    vr_secret_free(from.text);
    vr_secret_free(from.passphrase);
    if (ok)
        return key;
    if (!reason.message) {
        vr_error_set(&reason, "auth",
                     "the private key cannot be read: it is neither in OpenSSH's format nor PEM");
        vr_error_hint(&reason, "give the text of the private key, with its BEGIN and END lines; "
                               "RSA, Ed25519 or ECDSA");
    }
    vr_error_move(err, &reason);
    vr_ssh_key_free(key);
    return NULL;
}

struct vr_ssh_key *vr_ssh_key_hold(struct vr_ssh_key *key)
{
    key->holders++;
    return key;
}

void vr_ssh_key_free(struct vr_ssh_key *key)
{
    if (!key || --key->holders > 0)
        return;
    EVP_PKEY_free(key->pkey);
    free(key->type);
    free(key->name);
    vr_buf_free(&key->blob);
    free(key);
}

const char *vr_ssh_key_name(const struct vr_ssh_key *key)
{
    return key->name;
}

const unsigned char *vr_ssh_key_blob(const struct vr_ssh_key *key, size_t *length)
{
    *length = key->blob.length;
    return (const unsigned char *)key->blob.data;
}

void vr_ssh_offer_as(const void *blob, size_t length, const char *type, struct vr_buf *out)
{
    struct reader r = {.at = blob, .left = length};
    read_string(&r);
    put_string(out, type, strlen(type));
    vr_buf_add(out, r.at, r.left);
}

/* --- signatures --- */

/* ECDSA's two numbers, out of libcrypto's form of them. */
static bool to_ssh_form(unsigned char **signature, size_t *length)
{
    const unsigned char *at = *signature;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &at, (long)*length);
    if (!sig)
        return false;
    struct vr_buf out = {0};
    put_big(&out, ECDSA_SIG_get0_r(sig));
    put_big(&out, ECDSA_SIG_get0_s(sig));
    ECDSA_SIG_free(sig);
    free(*signature);
    *length = out.length;
    *signature = (unsigned char *)vr_buf_steal(&out);
    return true;
}

static const EVP_MD *digest_of(const char *algorithm)
{
    static const struct {
        const char *algorithm;
        const EVP_MD *(*digest)(void);
    } known[] = {
        {"rsa-sha2-256", EVP_sha256},
        {"rsa-sha2-512", EVP_sha512},
        {"ssh-rsa", EVP_sha1},
        {"ecdsa-sha2-nistp256", EVP_sha256},
        {"ecdsa-sha2-nistp384", EVP_sha384},
        {"ecdsa-sha2-nistp521", EVP_sha512},
    };
    for (size_t i = 0; i < sizeof(known) / sizeof(*known); i++) {
        if (strcmp(algorithm, known[i].algorithm) == 0)
            return known[i].digest();
    }
    return NULL;
}

bool vr_ssh_key_sign(const struct vr_ssh_key *key, const char *algorithm, const void *data,
                     size_t length, unsigned char **out, size_t *out_length)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    size_t size = 0;
    unsigned char *signature = NULL;
    bool ok = EVP_DigestSignInit(ctx, NULL, digest_of(algorithm), NULL, key->pkey) == 1 &&
              EVP_DigestSign(ctx, NULL, &size, data, length) == 1 &&
              (signature = vr_alloc(size)) != NULL &&
              EVP_DigestSign(ctx, signature, &size, data, length) == 1 &&
              (EVP_PKEY_get_base_id(key->pkey) != EVP_PKEY_EC || to_ssh_form(&signature, &size));
    EVP_MD_CTX_free(ctx);
    if (!ok) {
        ERR_clear_error();
        free(signature);
        return false;
    }
    *out = signature;
    *out_length = size;
    return true;
}

const char *vr_ssh_key_algorithm(const char *type)
{
    return strcmp(type, "ssh-rsa") == 0 ? "rsa-sha2-256" : type;
}

const char *vr_ssh_key_type(const struct vr_ssh_key *key)
{
    return key->type;
}

int vr_ssh_key_callback(struct _LIBSSH2_SESSION *session, unsigned char **out, size_t *out_length,
                        const unsigned char *data, size_t length, void **abstract)
{
    (void)session;
    const struct vr_ssh_key *key = *abstract;
    return vr_ssh_key_sign(key, vr_ssh_key_algorithm(key->type), data, length, out, out_length)
               ? 0
               : -1;
}
