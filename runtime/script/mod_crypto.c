/* crypto: digests, encodings and random bytes of base/crypto.h; keys, certificates and tokens are
 * in plugins/mod_crypto_keys.c, which is loaded when one of them is first asked for. The table of
 * functions is in ARCHITECTURE.md. */
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crypto.h"
#include "script/value.h"

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

/* (table, name): a function of crypto_keys, kept in the table from now on. */
static int find_later(lua_State *L)
{
    lua_getglobal(L, "require");
    lua_pushliteral(L, "crypto_keys");
    lua_call(L, 1, 1);
    lua_pushnil(L);
    while (lua_next(L, 3) != 0) {
        lua_pushvalue(L, -2);
        lua_insert(L, -2);
        lua_rawset(L, 1);
    }
    lua_pushnil(L);
    lua_setmetatable(L, 1);
    lua_pushvalue(L, 2);
    lua_rawget(L, 1);
    return 1;
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
    {NULL, NULL},
};

int luaopen_vr_crypto(lua_State *L);
int luaopen_vr_crypto(lua_State *L)
{
    luaL_newlib(L, functions);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, find_later);
    lua_setfield(L, -2, "__index");
    lua_setmetatable(L, -2);
    return 1;
}
