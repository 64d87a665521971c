/* crypto_keys: the part of `crypto` that makes and reads keys, certificates and tokens. See
 * keys/keys.h and keys/x509.h; the table of functions is in ARCHITECTURE.md. */
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "keys/cipher.h"
#include "keys/keys.h"
#include "keys/x509.h"
#include "script/value.h"
#include "script/work.h"

/* Pushes a text that keys/ allocated, or nil, message, code. */
static int push_secret(lua_State *L, char *text, struct vr_error *err)
{
    if (!text)
        return vr_script_fail(L, err);
    lua_pushstring(L, text);
    vr_secret_free(text);
    return 1;
}

/* Options come as fields of a table; texts found there live as long as the table, which stays at
 * its stack index. */
static const char *opt_text(lua_State *L, int table, const char *name, const char *otherwise)
{
    if (lua_isnoneornil(L, table))
        return otherwise;
    lua_getfield(L, table, name);
    const char *text = lua_isnil(L, -1) ? otherwise : lua_tostring(L, -1);
    if (!text && !lua_isnil(L, -1))
        luaL_error(L, "'%s' wants a text", name);
    lua_pop(L, 1);
    return text;
}

static const char *want_text(lua_State *L, int table, const char *name)
{
    const char *text = opt_text(L, table, name, NULL);
    if (!text)
        luaL_error(L, "'%s' is required", name);
    return text;
}

static lua_Number opt_number(lua_State *L, int table, const char *name, lua_Number otherwise)
{
    if (lua_isnoneornil(L, table))
        return otherwise;
    lua_getfield(L, table, name);
    lua_Number value = luaL_optnumber(L, -1, otherwise);
    lua_pop(L, 1);
    return value;
}

/* A list of texts as a NULL-ended array in a userdata that is left on the stack. */
static const char **opt_list(lua_State *L, int table, const char *name)
{
    lua_getfield(L, table, name);
    int list = lua_gettop(L);
    lua_Integer count = lua_istable(L, list) ? luaL_len(L, list) : 0;
    const char **texts = lua_newuserdatauv(L, (size_t)(count + 1) * sizeof(*texts), 1);
    for (lua_Integer i = 1; i <= count; i++) {
        lua_geti(L, list, i);
        texts[i - 1] = lua_tostring(L, -1);
        if (!texts[i - 1])
            luaL_error(L, "'%s' wants a list of texts", name);
        lua_pop(L, 1);
    }
    texts[count] = NULL;
    lua_rotate(L, list, 1);
    lua_setiuservalue(L, list, 1);
    return texts;
}

static struct vr_x509_subject subject_of(lua_State *L, int table)
{
    return (struct vr_x509_subject){
        .cn = opt_text(L, table, "cn", NULL),
        .organizations = opt_list(L, table, "o"),
        .dns = opt_list(L, table, "dns"),
        .ips = opt_list(L, table, "ip"),
        .usage = opt_list(L, table, "usage"),
        .days = (double)opt_number(L, table, "days", 0),
    };
}

static void set_text(lua_State *L, const char *name, const char *text)
{
    lua_pushstring(L, text);
    lua_setfield(L, -2, name);
}

/// A new SSH key pair: keypair("ed25519" | "rsa", {bits=, comment=}) -> {private=, public=,
/// fingerprint=}.
static int crypto_keypair(lua_State *L)
{
    const char *type = luaL_checkstring(L, 1);
    struct vr_keypair pair = {0};
    struct vr_error err = {0};
    if (!vr_keypair_new(type, (int)opt_number(L, 2, "bits", 0), opt_text(L, 2, "comment", ""),
                        &pair, &err))
        return vr_script_fail(L, &err);
    lua_createtable(L, 0, 3);
    set_text(L, "private", pair.private_key);
    set_text(L, "public", pair.public_key);
    set_text(L, "fingerprint", pair.fingerprint);
    vr_keypair_free(&pair);
    return 1;
}

static int crypto_public_key(lua_State *L)
{
    struct vr_error err = {0};
    return push_secret(L, vr_public_key(luaL_checkstring(L, 1), &err), &err);
}

/// The fingerprint of a public key line: "SHA256:...".
static int crypto_fingerprint(lua_State *L)
{
    char *print = vr_fingerprint(luaL_checkstring(L, 1));
    struct vr_error err = {0};
    if (!print)
        vr_error_set(&err, "key", "this is not a public key line");
    return push_secret(L, print, &err);
}

static int crypto_rsa_key(lua_State *L)
{
    struct vr_error err = {0};
    return push_secret(L, vr_rsa_key_new((int)luaL_optinteger(L, 1, 2048), &err), &err);
}

static int crypto_ec_key(lua_State *L)
{
    struct vr_error err = {0};
    return push_secret(L, vr_ec_key_new(), &err);
}

static int push_pem_pair(lua_State *L, struct vr_pem_pair *pair)
{
    lua_createtable(L, 0, 2);
    set_text(L, "cert", pair->cert);
    set_text(L, "key", pair->key);
    vr_pem_pair_free(pair);
    return 1;
}

static int crypto_x509_ca(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct vr_x509_subject subject = subject_of(L, 1);
    struct vr_pem_pair pair = {0};
    struct vr_error err = {0};
    if (!vr_x509_ca(&subject, opt_text(L, 1, "key_type", "ec"), &pair, &err))
        return vr_script_fail(L, &err);
    return push_pem_pair(L, &pair);
}

/* The authority of an options table: texts that the table holds. */
static struct vr_pem_pair authority_of(lua_State *L, int table)
{
    lua_getfield(L, table, "ca");
    if (!lua_istable(L, -1))
        luaL_error(L, "'ca' is required: {cert=, key=}");
    struct vr_pem_pair ca = {(char *)want_text(L, -1, "cert"), (char *)want_text(L, -1, "key")};
    lua_pop(L, 1);
    return ca;
}

static int crypto_x509_issue(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct vr_pem_pair ca = authority_of(L, 1), pair = {0};
    struct vr_x509_subject subject = subject_of(L, 1);
    struct vr_error err = {0};
    if (!vr_x509_issue(&ca, &subject, opt_text(L, 1, "key", NULL), &pair, &err))
        return vr_script_fail(L, &err);
    return push_pem_pair(L, &pair);
}

static int crypto_x509_csr(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct vr_x509_subject subject = subject_of(L, 1);
    struct vr_error err = {0};
    return push_secret(L, vr_x509_csr(&subject, want_text(L, 1, "key"), &err), &err);
}

static int crypto_x509_sign_csr(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct vr_pem_pair ca = authority_of(L, 1);
    struct vr_x509_subject terms = subject_of(L, 1);
    struct vr_error err = {0};
    return push_secret(L, vr_x509_sign_csr(&ca, want_text(L, 1, "csr"), &terms, &err), &err);
}

static int push_json(lua_State *L, json_t *value, struct vr_error *err)
{
    if (!value)
        return vr_script_fail(L, err);
    vr_value_push(L, value);
    json_decref(value);
    return 1;
}

static int crypto_x509_read(lua_State *L)
{
    struct vr_error err = {0};
    return push_json(L, vr_x509_read(luaL_checkstring(L, 1), &err), &err);
}

/// Whether a certificate was signed by an authority and is valid now: true, or nil, reason, code.
static int crypto_x509_verify(lua_State *L)
{
    struct vr_error err = {0};
    if (!vr_x509_verify(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &err))
        return vr_script_fail(L, &err);
    lua_pushboolean(L, 1);
    return 1;
}

static int crypto_jwt_sign(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    const char *key = luaL_checkstring(L, 2);
    const char *kid = opt_text(L, 3, "kid", NULL), *cert = opt_text(L, 3, "cert", NULL);
    struct vr_error err = {0};
    json_t *claims = vr_value_get(L, 1, &err);
    if (!claims)
        return vr_script_fail(L, &err);
    char *token = vr_jwt_sign(claims, key, kid, cert, &err);
    json_decref(claims);
    return push_secret(L, token, &err);
}

static int crypto_jwt_verify(lua_State *L)
{
    struct vr_error err = {0};
    return push_json(L, vr_jwt_verify(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &err), &err);
}

/* --- what only the holder of a passphrase reads --- */

enum { MOST_DERIVED = 1024, MOST_SEALED = 1 << 30 };

struct scrypt_work {
    struct vr_work work;
    char *passphrase, *salt;
    size_t passphrase_length, salt_length, count;
    struct vr_scrypt cost;
    unsigned char out[MOST_DERIVED];
};

static void scrypt_free(struct vr_work *work)
{
    struct scrypt_work *w = (struct scrypt_work *)work;
    explicit_bzero(w->passphrase, w->passphrase_length);
    free(w->passphrase);
    free(w->salt);
    explicit_bzero(w, sizeof(*w));
    free(w);
}

static void scrypt_run(struct vr_work *work)
{
    struct scrypt_work *w = (struct scrypt_work *)work;
    vr_scrypt(w->passphrase, w->passphrase_length, w->salt, w->salt_length, &w->cost, w->out,
              w->count, &work->error);
}

static int scrypt_finished(lua_State *L, int status, lua_KContext ctx)
{
    (void)status;
    (void)ctx;
    struct scrypt_work *w = (struct scrypt_work *)vr_work_of(L);
    if (w->work.error.message)
        return vr_script_fail(L, &w->work.error);
    lua_pushlstring(L, (char *)w->out, w->count);
    return 1;
}

/// The bytes that a passphrase stands for: scrypt(passphrase, salt, {n=, r=, p=, count=32}).
static int crypto_scrypt(lua_State *L)
{
    size_t passphrase_length, salt_length;
    const char *passphrase = luaL_checklstring(L, 1, &passphrase_length),
               *salt = luaL_checklstring(L, 2, &salt_length);
    luaL_checktype(L, 3, LUA_TTABLE);
    lua_Number n = opt_number(L, 3, "n", 0), r = opt_number(L, 3, "r", 0),
               p = opt_number(L, 3, "p", 0), count = opt_number(L, 3, "count", VR_CIPHER_KEY);
    luaL_argcheck(L, n >= 1 && n < 1e15 && r >= 1 && r < 1e9 && p >= 1 && p < 1e9, 3,
                  "wants n, r and p");
    luaL_argcheck(L, count >= 1 && count <= MOST_DERIVED, 3, "'count' wants 1 to 1024");
    struct scrypt_work *w = vr_alloc(sizeof(*w));
    *w = (struct scrypt_work){.work = {.run = scrypt_run, .free = scrypt_free},
                              .cost = {(uint64_t)n, (uint64_t)r, (uint64_t)p},
                              .count = (size_t)count,
                              .passphrase = vr_strndup(passphrase, passphrase_length),
                              .passphrase_length = passphrase_length,
                              .salt = vr_strndup(salt, salt_length),
                              .salt_length = salt_length};
    return vr_work(L, &w->work, scrypt_finished);
}

static const unsigned char *want_bytes(lua_State *L, int index, size_t count)
{
    size_t length;
    const char *bytes = luaL_checklstring(L, index, &length);
    if (length != count)
        luaL_error(L, "argument %d wants %d bytes, got %d", index, (int)count, (int)length);
    return (const unsigned char *)bytes;
}

/* seal and open take the same: key, nonce, text and what it is bound to. */
struct sealing {
    const unsigned char *key, *nonce;
    const char *text, *bound;
    size_t length, bound_length;
};

static struct sealing sealing_of(lua_State *L)
{
    struct sealing s = {.key = want_bytes(L, 1, VR_CIPHER_KEY),
                        .nonce = want_bytes(L, 2, VR_CIPHER_NONCE)};
    s.text = luaL_checklstring(L, 3, &s.length);
    s.bound = luaL_optlstring(L, 4, "", &s.bound_length);
    luaL_argcheck(L, s.length <= MOST_SEALED, 3, "is too long");
    luaL_argcheck(L, s.bound_length <= MOST_SEALED, 4, "is too long");
    return s;
}

/// seal(key, nonce, text, bound): AES-256-GCM with its tag behind; to open it `bound` must be the
/// same.
static int crypto_seal(lua_State *L)
{
    struct sealing s = sealing_of(L);
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, s.length + VR_CIPHER_TAG);
    vr_cipher_seal(s.key, s.nonce, s.bound, s.bound_length, s.text, s.length, (unsigned char *)out);
    luaL_pushresultsize(&buffer, s.length + VR_CIPHER_TAG);
    return 1;
}

/// open(key, nonce, sealed, bound): what was sealed; or nil, message, "sealed".
static int crypto_open(lua_State *L)
{
    struct sealing s = sealing_of(L);
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, s.length + 1);
    if (!vr_cipher_open(s.key, s.nonce, s.bound, s.bound_length, s.text, s.length,
                        (unsigned char *)out)) {
        lua_pushnil(L);
        lua_pushliteral(L, "it is not what was sealed with this key");
        lua_pushliteral(L, "sealed");
        return 3;
    }
    luaL_pushresultsize(&buffer, s.length - VR_CIPHER_TAG);
    return 1;
}

static const luaL_Reg functions[] = {
    {"scrypt", crypto_scrypt},
    {"seal", crypto_seal},
    {"open", crypto_open},
    {"keypair", crypto_keypair},
    {"public_key", crypto_public_key},
    {"fingerprint", crypto_fingerprint},
    {"rsa_key", crypto_rsa_key},
    {"ec_key", crypto_ec_key},
    {"x509_ca", crypto_x509_ca},
    {"x509_issue", crypto_x509_issue},
    {"x509_csr", crypto_x509_csr},
    {"x509_sign_csr", crypto_x509_sign_csr},
    {"x509_read", crypto_x509_read},
    {"x509_verify", crypto_x509_verify},
    {"jwt_sign", crypto_jwt_sign},
    {"jwt_verify", crypto_jwt_verify},
    {NULL, NULL},
};

int luaopen_vr_crypto_keys(lua_State *L);
int luaopen_vr_crypto_keys(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
