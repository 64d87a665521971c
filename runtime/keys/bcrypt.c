/* PBKDF2's frame around a hash made of Blowfish's slow key schedule. libcrypto has Blowfish, but
 * lends neither its tables nor that schedule. The tables are the digits of pi, which are computed
 * once: they take less room as a formula. */
#include "keys/bcrypt.h"

#include <openssl/bn.h>
#include <openssl/crypto.h>
#include <openssl/sha.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { SUBKEYS = 18, BOXES = 4 * 256, WORDS = SUBKEYS + BOXES, HASH = 32, SPARE = 64 };

struct blowfish {
    uint32_t p[SUBKEYS];
    uint32_t s[BOXES];
};

/* --- tables --- */

/* scale * arctan(1/x), by its series. */
static BIGNUM *arctan(const BIGNUM *scale, BN_ULONG x)
{
    BIGNUM *sum = BN_new(), *power = BN_dup(scale), *term = BN_new();
    BN_div_word(power, x);
    BN_zero(sum);
    for (BN_ULONG n = 1; !BN_is_zero(power); n += 2) {
        BN_copy(term, power);
        BN_div_word(term, n);
        if (n % 4 == 1)
            BN_add(sum, sum, term);
        else
            BN_sub(sum, sum, term);
        BN_div_word(power, x * x);
    }
    BN_free(power);
    BN_free(term);
    return sum;
}

static struct blowfish initial;

/* pi = 16 arctan(1/5) - 4 arctan(1/239); the tables are what stands behind its point. */
static void compute_initial(void)
{
    enum { BITS = WORDS * 32 };
    BIGNUM *scale = BN_new();
    BN_set_bit(scale, BITS + SPARE);
    BIGNUM *pi = arctan(scale, 5), *less = arctan(scale, 239);
    BN_mul_word(pi, 16);
    BN_mul_word(less, 4);
    BN_sub(pi, pi, less);
    BN_rshift(pi, pi, SPARE);
    BN_mask_bits(pi, BITS);
    unsigned char *bytes = vr_alloc(BITS / 8);
    BN_bn2binpad(pi, bytes, BITS / 8);
    for (int i = 0; i < WORDS; i++) {
        const unsigned char *b = bytes + 4 * i;
        uint32_t word = (uint32_t)b[0] << 24 | (uint32_t)b[1] << 16 | (uint32_t)b[2] << 8 | b[3];
        *(i < SUBKEYS ? &initial.p[i] : &initial.s[i - SUBKEYS]) = word;
    }
    free(bytes);
    BN_free(scale);
    BN_free(pi);
    BN_free(less);
}

/* --- Blowfish --- */

static void encrypt(const struct blowfish *b, uint32_t *left, uint32_t *right)
{
    uint32_t l = *left, r = *right;
    for (int i = 0; i < 16; i++) {
        l ^= b->p[i];
        r ^= ((b->s[l >> 24] + b->s[256 + (l >> 16 & 255)]) ^ b->s[512 + (l >> 8 & 255)]) +
             b->s[768 + (l & 255)];
        uint32_t other = l;
        l = r;
        r = other;
    }
    *left = r ^ b->p[17];
    *right = l ^ b->p[16];
}

/* The next four bytes of data, which goes round and round. */
static uint32_t next_word(const unsigned char *data, size_t length, size_t *at)
{
    uint32_t word = 0;
    for (int i = 0; i < 4; i++) {
        word = word << 8 | data[*at];
        *at = (*at + 1) % length;
    }
    return word;
}

/* Mixes a key in, and a salt unless it is NULL; both are digests of 64 bytes. */
static void expand(struct blowfish *b, const unsigned char *salt, const unsigned char *key)
{
    size_t at = 0;
    for (int i = 0; i < SUBKEYS; i++)
        b->p[i] ^= next_word(key, SHA512_DIGEST_LENGTH, &at);
    uint32_t l = 0, r = 0;
    at = 0;
    for (int i = 0; i < WORDS; i += 2) {
        if (salt) {
            l ^= next_word(salt, SHA512_DIGEST_LENGTH, &at);
            r ^= next_word(salt, SHA512_DIGEST_LENGTH, &at);
        }
        encrypt(b, &l, &r);
        uint32_t *out = i < SUBKEYS ? &b->p[i] : &b->s[i - SUBKEYS];
        out[0] = l;
        out[1] = r;
    }
}

/* --- the hash and its frame --- */

static void hash(const unsigned char *pass, const unsigned char *salt, unsigned char out[HASH])
{
    struct blowfish b = initial;
    static const unsigned char text[HASH + 1] = "OxychromaticBlowfishSwatDynamite";
    uint32_t words[HASH / 4];
    size_t at = 0;
    expand(&b, salt, pass);
    for (int i = 0; i < 64; i++) {
        expand(&b, NULL, salt);
        expand(&b, NULL, pass);
    }
    for (int i = 0; i < HASH / 4; i++)
        words[i] = next_word(text, HASH, &at);
    for (int i = 0; i < 64; i++) {
        for (int j = 0; j < HASH / 4; j += 2)
            encrypt(&b, &words[j], &words[j + 1]);
    }
    for (int i = 0; i < HASH; i++)
        out[i] = (unsigned char)(words[i / 4] >> 8 * (i % 4));
    OPENSSL_cleanse(&b, sizeof(b));
    OPENSSL_cleanse(words, sizeof(words));
}

/* One block: the hashes of all rounds, laid over each other. */
static void block(const unsigned char *pass, const void *salt, size_t salt_length, uint32_t number,
                  unsigned rounds, unsigned char out[HASH])
{
    unsigned char *first = vr_alloc(salt_length + 4), digest[SHA512_DIGEST_LENGTH], next[HASH];
    memcpy(first, salt, salt_length);
    for (int i = 0; i < 4; i++)
        first[salt_length + (size_t)i] = (unsigned char)(number >> (24 - 8 * i));
    SHA512(first, salt_length + 4, digest);
    free(first);
    hash(pass, digest, next);
    memcpy(out, next, HASH);
    for (unsigned round = 1; round < rounds; round++) {
        SHA512(next, HASH, digest);
        hash(pass, digest, next);
        for (int i = 0; i < HASH; i++)
            out[i] ^= next[i];
    }
    OPENSSL_cleanse(next, sizeof(next));
}

bool vr_bcrypt_pbkdf(const char *passphrase, const void *salt, size_t salt_length, unsigned rounds,
                     unsigned char *key, size_t length)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    size_t blocks = (length + HASH - 1) / HASH;
    if (rounds == 0 || length == 0 || salt_length == 0)
        return false;
    pthread_once(&once, compute_initial);
    unsigned char pass[SHA512_DIGEST_LENGTH], part[HASH];
    SHA512((const unsigned char *)passphrase, strlen(passphrase), pass);
    /* The bytes of a block lie spread over the key, one to each of `blocks`. */
    for (size_t number = 0; number < blocks; number++) {
        block(pass, salt, salt_length, (uint32_t)number + 1, rounds, part);
        for (size_t i = 0; number + i * blocks < length && i < HASH; i++)
            key[number + i * blocks] = part[i];
    }
    OPENSSL_cleanse(pass, sizeof(pass));
    OPENSSL_cleanse(part, sizeof(part));
    return true;
}
