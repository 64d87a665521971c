/* crypto: digests, encodings, random bytes, keys, certificates and tokens. See base/crypto.h,
 * keys.h and x509.h; the table of functions is in ARCHITECTURE.md. */
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crypto.h"
#include "base/keys.h"
#include "base/x509.h"
#include "script/value.h"

/* Pushes a text that base/ allocated, or nil, message, code. */
static int push_secret(lua_State *L, char *text, struct vr_error *err)
{
    if (!text)
        return vr_script_fail(L, err);
    lua_pushstring(L, text);
    vr_secret_free(text);
    return 1;
}

static int push_hex(lua_State *L, const unsigned char *digest, size_t length)
{
    char hex[2 * VR_SHA256_SIZE + 1];
    vr_hex(digest, length, hex);
    lua_pushlstring(L, hex, 2 * length);
    return 1;
}

/// The SHA-256 of a text, in hexadecimal digits.
static int crypto_sha256(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    unsigned char digest[VR_SHA256_SIZE];
    vr_sha256(text, length, digest);
    return push_hex(L, digest, sizeof(digest));
}

static int crypto_sha1(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    unsigned char digest[VR_SHA1_SIZE];
    vr_sha1(text, length, digest);
    return push_hex(L, digest, sizeof(digest));
}

static int crypto_hmac_sha256(lua_State *L)
{
    size_t key_length, length;
    const char *key = luaL_checklstring(L, 1, &key_length);
    const char *text = luaL_checklstring(L, 2, &length);
    unsigned char digest[VR_SHA256_SIZE];
    vr_hmac_sha256(key, key_length, text, length, digest);
    return push_hex(L, digest, sizeof(digest));
}

static int crypto_random(lua_State *L)
{
    lua_Integer count = luaL_checkinteger(L, 1);
    luaL_argcheck(L, count >= 0 && count <= 1 << 20, 1, "wants 0 to 1048576 bytes");
    luaL_Buffer buffer;
    char *bytes = luaL_buffinitsize(L, &buffer, (size_t)count);
    vr_random(bytes, (size_t)count);
    luaL_pushresultsize(&buffer, (size_t)count);
    return 1;
}

/// A random UUID (RFC 4122, version 4).
static int crypto_uuid(lua_State *L)
{
    unsigned char b[16];
    vr_random(b, sizeof(b));
    b[6] = (b[6] & 0x0f) | 0x40;
    b[8] = (b[8] & 0x3f) | 0x80;
    char hex[33];
    vr_hex(b, sizeof(b), hex);
    luaL_Buffer buffer;
    luaL_buffinit(L, &buffer);
    for (int i = 0; i < 32; i++) {
        if (i == 8 || i == 12 || i == 16 || i == 20)
            luaL_addchar(&buffer, '-');
        luaL_addchar(&buffer, hex[i]);
    }
    luaL_pushresult(&buffer);
    return 1;
}

static int crypto_hex(lua_State *L)
{
    size_t length;
    const char *data = luaL_checklstring(L, 1, &length);
    luaL_Buffer buffer;
    char *out = luaL_buffinitsize(L, &buffer, 2 * length + 1);
    vr_hex(data, length, out);
    luaL_pushresultsize(&buffer, 2 * length);
    return 1;
}

static int push_bytes(lua_State *L, unsigned char *bytes, size_t length, const char *what)
{
    if (!bytes) {
        lua_pushnil(L);
        lua_pushfstring(L, "the text is not %s", what);
        lua_pushliteral(L, "syntax");
        return 3;
    }
    lua_pushlstring(L, (char *)bytes, length);
    free(bytes);
    return 1;
}

static int crypto_unhex(lua_State *L)
{
    size_t length = 0;
    unsigned char *bytes = vr_unhex(luaL_checkstring(L, 1), &length);
    return push_bytes(L, bytes, length, "hexadecimal");
}

static int push_text(lua_State *L, char *text)
{
    lua_pushstring(L, text);
    free(text);
    return 1;
}

static int crypto_base64(lua_State *L)
{
    size_t length;
    const char *data = luaL_checklstring(L, 1, &length);
    return push_text(L, vr_base64(data, length));
}

static int crypto_base64url(lua_State *L)
{
    size_t length;
    const char *data = luaL_checklstring(L, 1, &length);
    return push_text(L, vr_base64url(data, length));
}

static int crypto_unbase64(lua_State *L)
{
    size_t length = 0;
    unsigned char *bytes = vr_unbase64(luaL_checkstring(L, 1), &length);
    return push_bytes(L, bytes, length, "base64");
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
    const char *kid = opt_text(L, 3, "kid", NULL);
    struct vr_error err = {0};
    json_t *claims = vr_value_get(L, 1, &err);
    if (!claims)
        return vr_script_fail(L, &err);
    char *token = vr_jwt_sign(claims, key, kid, &err);
    json_decref(claims);
    return push_secret(L, token, &err);
}

static int crypto_jwt_verify(lua_State *L)
{
    struct vr_error err = {0};
    return push_json(L, vr_jwt_verify(luaL_checkstring(L, 1), luaL_checkstring(L, 2), &err), &err);
}

static const luaL_Reg functions[] = {
    {"sha256", crypto_sha256},
    {"sha1", crypto_sha1},
    {"hmac_sha256", crypto_hmac_sha256},
    {"random", crypto_random},
    {"uuid", crypto_uuid},
    {"hex", crypto_hex},
    {"unhex", crypto_unhex},
    {"base64", crypto_base64},
    {"unbase64", crypto_unbase64},
    {"base64url", crypto_base64url},
    {"unbase64url", crypto_unbase64},
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

int luaopen_vr_crypto(lua_State *L);
int luaopen_vr_crypto(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
