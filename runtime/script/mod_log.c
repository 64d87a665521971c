/* require "log": the program's log, with secrets masked. */
#include <lauxlib.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mask.h"
#include "script/value.h"

int luaopen_vr_log(lua_State *L);

/* A line of string.format(fmt, ...), which is only called when the level is shown. */
static int log_line(lua_State *L)
{
    enum vr_log_level level = (enum vr_log_level)lua_tointeger(L, lua_upvalueindex(1));
    luaL_checkany(L, 1);
    if (level < vr_log_get_level())
        return 0;
    if (lua_gettop(L) > 1) {
        lua_pushvalue(L, lua_upvalueindex(2));
        lua_insert(L, 1);
        lua_call(L, lua_gettop(L) - 1, 1);
    }
    vr_log(level, "%s", luaL_tolstring(L, 1, NULL));
    return 0;
}

/*** From now on this text is "(secret)" in all that is said, in every form that base/mask.h names.
 * @function mask
 * @tparam string secret */
static int log_mask(lua_State *L)
{
    size_t length;
    const char *secret = luaL_checklstring(L, 1, &length);
    vr_mask_secret(secret, length);
    return 0;
}

/*** A text with the secrets that the log knows replaced.
 * @function masked
 * @tparam string text */
static int log_masked(lua_State *L)
{
    size_t length;
    const char *text = luaL_checklstring(L, 1, &length);
    char *masked = vr_masked(text, length);
    lua_pushstring(L, masked);
    free(masked);
    return 1;
}

/*** Sets or tells the level: debug, info, warn, error, none.
 * @function level */
static int log_level(lua_State *L)
{
    static const char *const names[] = {"debug", "info", "warn", "error", "none", NULL};
    if (!lua_isnoneornil(L, 1))
        vr_log_set_level(names[luaL_checkoption(L, 1, NULL, names)]);
    lua_pushstring(L, names[vr_log_get_level()]);
    return 1;
}

/*** Writes to a file instead of stderr; without an argument to stderr again.
 * @function to */
static int log_to(lua_State *L)
{
    struct vr_error err = {0};
    if (!vr_log_to(luaL_optstring(L, 1, NULL), &err))
        return vr_script_fail(L, &err);
    lua_pushboolean(L, true);
    return 1;
}

int luaopen_vr_log(lua_State *L)
{
    static const luaL_Reg functions[] = {{"mask", log_mask},
                                         {"masked", log_masked},
                                         {"level", log_level},
                                         {"to", log_to},
                                         {NULL, NULL}};
    static const char *const levels[] = {"debug", "info", "warn", "error"};
    luaL_newlib(L, functions);
    lua_getglobal(L, "string");
    lua_getfield(L, -1, "format");
    lua_remove(L, -2);
    for (int i = 0; i < 4; i++) {
        lua_pushinteger(L, i);
        lua_pushvalue(L, -2);
        lua_pushcclosure(L, log_line, 2);
        lua_setfield(L, -3, levels[i]);
    }
    lua_pop(L, 1);
    return 1;
}
