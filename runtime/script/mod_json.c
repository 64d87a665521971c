/* require "json": JSON text and Lua values, by Jansson. */
#include <jansson.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "script/value.h"

int luaopen_vr_json(lua_State *L);

/* The fewest digits, of 15 and 17, that keep every real number of the value: 0.1 shall not become
 * 0.10000000000000001. */
static int digits_needed(const json_t *value)
{
    const char *key;
    size_t index;
    json_t *item;
    int most = 15;
    if (json_is_real(value)) {
        char text[64];
        snprintf(text, sizeof(text), "%.15g", json_real_value(value));
        return strtod(text, NULL) == json_real_value(value) ? 15 : 17;
    }
    json_array_foreach(value, index, item)
    {
        if (digits_needed(item) > most)
            return 17;
    }
    json_object_foreach((json_t *)value, key, item)
    {
        if (digits_needed(item) > most)
            return 17;
    }
    return most;
}

/*** Encodes a value as JSON text.
 * @function encode
 * @param value nil and json.null are null
 * @tparam[opt] table options indent: spaces a level (0: one line); sort: false leaves keys as they
 * come
 * @return the text; or nil, message, "value" */
static int json_encode(lua_State *L)
{
    luaL_checkany(L, 1);
    size_t flags = JSON_ENCODE_ANY | JSON_SORT_KEYS;
    if (!lua_isnoneornil(L, 2)) {
        luaL_checktype(L, 2, LUA_TTABLE);
        if (lua_getfield(L, 2, "indent") != LUA_TNIL) {
            lua_Integer indent = luaL_checkinteger(L, -1);
            luaL_argcheck(L, indent >= 0 && indent <= 31, 2, "indent is 0 to 31");
            flags |= JSON_INDENT((size_t)indent);
        }
        if (lua_getfield(L, 2, "sort") == LUA_TBOOLEAN && !lua_toboolean(L, -1))
            flags &= ~(size_t)JSON_SORT_KEYS;
    }
    if (!(flags & JSON_MAX_INDENT))
        flags |= JSON_COMPACT;
    struct vr_error err = {0};
    json_t *value = vr_value_get(L, 1, &err);
    if (!value)
        return vr_script_fail(L, &err);
    char *text = json_dumps(value, flags | JSON_REAL_PRECISION((size_t)digits_needed(value)));
    json_decref(value);
    if (!text)
        return luaL_error(L, "not enough memory");
    lua_pushstring(L, text);
    free(text);
    return 1;
}

/*** Decodes one JSON text.
 * @function decode
 * @tparam string text
 * @return the value; or nil, "line:col: message", "syntax" */
static int json_decode(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    json_error_t error;
    json_t *value = json_loadb(text, length, JSON_DECODE_ANY | JSON_ALLOW_NUL, &error);
    if (!value) {
        lua_pushnil(L);
        lua_pushfstring(L, "%d:%d: %s", error.line, error.column, error.text);
        lua_pushliteral(L, "syntax");
        return 3;
    }
    vr_value_push(L, value);
    json_decref(value);
    return 1;
}

/*** Marks a table as an array, so that it stays one when empty.
 * @function array
 * @tparam[opt] table list
 * @return the same table, or a new one */
static int json_mark_array(lua_State *L)
{
    if (lua_isnoneornil(L, 1)) {
        lua_settop(L, 0);
        lua_newtable(L);
    }
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    luaL_setmetatable(L, VR_JSON_ARRAY);
    return 1;
}

/*** Whether a value is encoded as an array.
 * @function is_array */
static int json_is_array_value(lua_State *L)
{
    lua_pushboolean(L, vr_value_is_array(L, 1));
    return 1;
}

int luaopen_vr_json(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"encode", json_encode},
        {"decode", json_decode},
        {"array", json_mark_array},
        {"is_array", json_is_array_value},
        {NULL, NULL},
    };
    luaL_newlib(L, functions);
    lua_pushlightuserdata(L, NULL);
    lua_setfield(L, -2, "null");
    return 1;
}
