/* yaml: texts to and from Lua values. See base/yaml.h. */
#include <lauxlib.h>
#include <lua.h>
#include <stdlib.h>

#include "base/yaml.h"
#include "script/value.h"

static int decode_with(lua_State *L, json_t *(*decode)(const char *, size_t, struct vr_error *))
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    struct vr_error err = {0};
    json_t *value = decode(text, length, &err);
    if (!value)
        return vr_script_fail(L, &err);
    vr_value_push(L, value);
    json_decref(value);
    return 1;
}

static int yaml_decode(lua_State *L)
{
    return decode_with(L, vr_yaml_decode);
}

static int yaml_decode_all(lua_State *L)
{
    return decode_with(L, vr_yaml_decode_all);
}

static int encode_with(lua_State *L, char *(*encode)(const json_t *))
{
    luaL_checkany(L, 1);
    struct vr_error err = {0};
    json_t *value = vr_value_get(L, 1, &err);
    if (!value)
        return vr_script_fail(L, &err);
    char *text = encode(value);
    json_decref(value);
    lua_pushstring(L, text);
    free(text);
    return 1;
}

static int yaml_encode(lua_State *L)
{
    return encode_with(L, vr_yaml_encode);
}

static int yaml_encode_all(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    return encode_with(L, vr_yaml_encode_all);
}

static const luaL_Reg functions[] = {
    {"decode", yaml_decode},
    {"decode_all", yaml_decode_all},
    {"encode", yaml_encode},
    {"encode_all", yaml_encode_all},
    {NULL, NULL},
};

int luaopen_vr_yaml(lua_State *L);
int luaopen_vr_yaml(lua_State *L)
{
    luaL_newlib(L, functions);
    return 1;
}
