/* What most fields of most recipes are: of the right type, and nothing else to say about it. Here
 * such values are taken as they are. Whatever is out of the ordinary, wrong or not, is left to
 * stdlib/field.lua and stdlib/recipe/value.lua, which know every rule and have the words for what
 * is wrong: these two say what is right, and this file must never take what they refuse. */
#include <jansson.h>
#include <lauxlib.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "engine/decl.h"
#include "script/declare.h"
#include "script/value.h"

enum { DEEPEST = 50 }; /* below the limit of the two pages */

/* What a spec says, in one number that is found by one look: its type, and what else it has. */
enum type { ANY = 1, STRING, SECRET, INTEGER, NUMBER, BOOLEAN, CHOICE, LIST, MAP, OBJECT, OTHER };
enum {
    TYPE = 0xf,
    BOUNDED = 1 << 4, /* min, max */
    MATCHED = 1 << 5, /* match, check, or a list's key */
    HAS_DEFAULT = 1 << 6,
    REQUIRED = 1 << 7,
    HIDDEN = 1 << 8, /* secret, whatever its type */
};

static bool says(lua_State *L, int spec, const char *name)
{
    bool there = lua_getfield(L, spec, name) != LUA_TNIL;
    lua_pop(L, 1);
    return there;
}

static int code_from(lua_State *L, int spec)
{
    static const char *const names[] = {
        [ANY] = "any",       [STRING] = "string",   [SECRET] = "secret", [INTEGER] = "integer",
        [NUMBER] = "number", [BOOLEAN] = "boolean", [CHOICE] = "choice", [LIST] = "list",
        [MAP] = "map",       [OBJECT] = "object"};
    lua_getfield(L, spec, "type");
    const char *type = lua_tostring(L, -1);
    int code = OTHER;
    for (int i = ANY; type && i < OTHER; i++)
        if (strcmp(type, names[i]) == 0)
            code = i;
    lua_pop(L, 1);
    if (says(L, spec, "min") || says(L, spec, "max"))
        code |= BOUNDED;
    if (says(L, spec, "match") || says(L, spec, "check") || says(L, spec, "key"))
        code |= MATCHED;
    if (says(L, spec, "default"))
        code |= HAS_DEFAULT;
    if (says(L, spec, "required"))
        code |= REQUIRED;
    if (says(L, spec, "secret"))
        code |= HIDDEN;
    return code;
}

/* A spec does not change once a kind is made of it. The first upvalue keeps the numbers. */
static int code_of(lua_State *L, int spec)
{
    int codes = lua_upvalueindex(1);
    lua_pushvalue(L, spec);
    if (lua_rawget(L, codes) == LUA_TNIL) {
        lua_pushvalue(L, spec);
        lua_pushinteger(L, code_from(L, spec));
        lua_rawset(L, codes);
        lua_pushvalue(L, spec);
        lua_rawget(L, codes);
        lua_remove(L, -2);
    }
    int code = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return code;
}

static bool is_plain_table(lua_State *L, int index, bool *array)
{
    *array = false;
    if (!lua_istable(L, index))
        return false;
    if (!lua_getmetatable(L, index))
        return true;
    luaL_getmetatable(L, VR_JSON_ARRAY);
    *array = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return *array;
}

/* A reference fits a field of the same type, or is of no known type. */
static bool takes_special(lua_State *L, int type, int value)
{
    if (!vr_declare_data(L, value))
        return false;
    int data = lua_gettop(L);
    lua_getfield(L, data, "class");
    bool good = type != OTHER && strcmp(lua_tostring(L, -1), "reference") == 0;
    if (good && lua_getfield(L, data, "spec") == LUA_TTABLE) {
        int made = code_of(L, lua_gettop(L)) & TYPE;
        good = made == type && made != SECRET;
    }
    lua_settop(L, data - 1);
    return good;
}

static bool in_bounds(lua_State *L, int spec, lua_Number value)
{
    int top = lua_gettop(L);
    bool good = lua_getfield(L, spec, "min") == LUA_TNIL || value >= lua_tonumber(L, -1);
    good = good && (lua_getfield(L, spec, "max") == LUA_TNIL || value <= lua_tonumber(L, -1));
    lua_settop(L, top);
    return good;
}

static bool take(lua_State *L, int spec, int value, int depth);

static bool take_scalar(lua_State *L, int code, int spec, int value)
{
    int is = lua_type(L, value), type = code & TYPE;
    if (is == LUA_TSTRING) {
        size_t length;
        const char *text = lua_tolstring(L, value, &length);
        return type == ANY || type == SECRET ||
               (type == STRING && !(code & (MATCHED | BOUNDED)) && !memchr(text, '\0', length));
    }
    if (is == LUA_TBOOLEAN)
        return type == ANY || type == BOOLEAN;
    if (is != LUA_TNUMBER)
        return false;
    if (type == ANY)
        return true;
    lua_Number number = lua_tonumber(L, value);
    if (type == INTEGER ? !lua_isinteger(L, value) : type != NUMBER)
        return false;
    return number == number && (!(code & BOUNDED) || in_bounds(L, spec, number));
}

static bool take_choice(lua_State *L, int spec, int value)
{
    bool found = false;
    int top = lua_gettop(L);
    lua_getfield(L, spec, "values");
    for (lua_Integer i = 1; !found && lua_rawgeti(L, top + 1, i) != LUA_TNIL; i++)
        found = lua_rawequal(L, -1, value);
    lua_settop(L, top);
    return found;
}

static bool take_list(lua_State *L, int code, int spec, int value, int depth)
{
    bool array;
    if (!is_plain_table(L, value, &array) || code & (BOUNDED | MATCHED))
        return false;
    lua_getfield(L, spec, "elem");
    int elem = lua_gettop(L);
    lua_Integer count = (lua_Integer)lua_rawlen(L, value), seen = 0;
    lua_createtable(L, (int)count, 0);
    luaL_getmetatable(L, VR_JSON_ARRAY);
    lua_setmetatable(L, -2);
    int list = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, value) != 0) {
        int item = lua_gettop(L);
        lua_Integer at = lua_isinteger(L, item - 1) ? lua_tointeger(L, item - 1) : 0;
        if (at < 1 || at > count || !take(L, elem, item, depth + 1))
            return false;
        lua_rawseti(L, list, at);
        lua_settop(L, item - 1);
        seen++;
    }
    return seen == count;
}

/* A table of elements of one type: a map's, or any value's. */
static bool take_map(lua_State *L, int elem, int value, bool array, bool names_only, int depth)
{
    lua_createtable(L, 0, 0);
    int map = lua_gettop(L);
    if (array) {
        luaL_getmetatable(L, VR_JSON_ARRAY);
        lua_setmetatable(L, map);
    }
    lua_pushnil(L);
    while (lua_next(L, value) != 0) {
        int item = lua_gettop(L);
        if ((names_only && lua_type(L, item - 1) != LUA_TSTRING) || !take(L, elem, item, depth + 1))
            return false;
        lua_pushvalue(L, item - 1);
        lua_insert(L, -2);
        lua_rawset(L, map);
        lua_settop(L, item - 1);
    }
    return true;
}

static bool take_fields(lua_State *L, int specs, int given, int depth);

static bool take_table(lua_State *L, int code, int spec, int value, int depth)
{
    bool array;
    int type = code & TYPE;
    if (type == LIST)
        return take_list(L, code, spec, value, depth);
    if (!is_plain_table(L, value, &array))
        return false;
    if (type == ANY)
        return take_map(L, spec, value, array, false, depth);
    if (array)
        return false;
    if (type == MAP) {
        lua_getfield(L, spec, "elem");
        return take_map(L, lua_gettop(L), value, false, true, depth);
    }
    if (type != OBJECT || lua_getfield(L, spec, "fields") != LUA_TTABLE)
        return false;
    int fields = lua_gettop(L);
    lua_pushnil(L);
    if (lua_next(L, fields) == 0) /* of any form */
        return false;
    lua_settop(L, fields);
    return take_fields(L, fields, value, depth + 1);
}

/* Pushes the canonical form of value by its type; false, with the stack anyhow, when somebody else
 * has to look. */
static bool take(lua_State *L, int spec, int value, int depth)
{
    luaL_checkstack(L, 16, "a value is nested too deeply");
    if (depth > DEEPEST)
        return false;
    int code = code_of(L, spec);
    if (lua_istable(L, value))
        return take_table(L, code, spec, value, depth);
    bool good;
    if (lua_isuserdata(L, value))
        good = takes_special(L, code & TYPE, value);
    else if ((code & TYPE) == CHOICE)
        good = take_choice(L, spec, value);
    else
        good = take_scalar(L, code, spec, value);
    if (good)
        lua_pushvalue(L, value);
    return good;
}

/* The same for a table by its fields' types: pushes a new table with the defaults. */
static bool take_fields(lua_State *L, int specs, int given, int depth)
{
    luaL_checkstack(L, 16, "a value is nested too deeply");
    lua_createtable(L, 0, 8);
    int got = lua_gettop(L);
    lua_pushnil(L);
    while (lua_next(L, given) != 0) {
        int value = lua_gettop(L);
        lua_pushvalue(L, value - 1);
        if (lua_rawget(L, specs) != LUA_TTABLE || !take(L, value + 1, value, depth))
            return false;
        lua_pushvalue(L, value - 1);
        lua_insert(L, -2);
        lua_rawset(L, got);
        lua_settop(L, value - 1);
    }
    lua_pushnil(L);
    while (lua_next(L, specs) != 0) {
        int spec = lua_gettop(L);
        lua_pushvalue(L, spec - 1);
        if (lua_rawget(L, given) == LUA_TNIL) {
            int code = code_of(L, spec);
            if (code & HAS_DEFAULT) {
                lua_getfield(L, spec, "default");
                if (!take(L, spec, lua_gettop(L), depth))
                    return false;
                lua_pushvalue(L, spec - 1);
                lua_insert(L, -2);
                lua_rawset(L, got);
            } else if (code & REQUIRED) {
                return false;
            }
        }
        lua_settop(L, spec - 1);
    }
    lua_settop(L, got);
    return true;
}

/* accept(specs, given) -> fields, or nothing when field.check_fields has to look. */
static int declare_accept(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 2);
    bool array;
    return is_plain_table(L, 2, &array) && !array && take_fields(L, 1, 2, 0);
}

/* --- values to expressions --- */

/* Spec: the field's type, or nil. NULL when value.to_expr has to look: a secret, or what is no
 * value. */
static struct vr_expr *express(lua_State *L, struct vr_exprs *exprs, int value, int spec,
                               int depth);

static void push_child_spec(lua_State *L, int spec, const char *key)
{
    int type = lua_istable(L, spec) ? code_of(L, spec) & TYPE : OTHER;
    if (type == LIST || type == MAP)
        lua_getfield(L, spec, "elem");
    else if (type == OBJECT && key && lua_getfield(L, spec, "fields") == LUA_TTABLE)
        lua_getfield(L, -1, key);
    else
        lua_pushnil(L);
}

static struct vr_expr *express_list(lua_State *L, struct vr_exprs *exprs, int list, int spec,
                                    int depth)
{
    size_t count = lua_rawlen(L, list);
    struct vr_expr **items = vr_arena_alloc(vr_exprs_arena(exprs), count * sizeof(*items));
    push_child_spec(L, spec, NULL);
    int child = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        lua_rawgeti(L, list, (lua_Integer)i + 1);
        items[i] = express(L, exprs, child + 1, child, depth + 1);
        if (!items[i])
            return NULL;
        lua_settop(L, child);
    }
    return vr_expr_array(exprs, items, count);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static struct vr_expr *express_object(lua_State *L, struct vr_exprs *exprs, int table, int spec,
                                      int depth)
{
    size_t count = 0;
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        size_t length;
        if (lua_type(L, -2) != LUA_TSTRING)
            return NULL;
        const char *key = lua_tolstring(L, -2, &length);
        if (strlen(key) != length)
            return NULL;
        count++;
        lua_pop(L, 1);
    }
    struct vr_arena *arena = vr_exprs_arena(exprs);
    const char **keys = vr_arena_alloc(arena, count * sizeof(*keys));
    struct vr_expr **items = vr_arena_alloc(arena, count * sizeof(*items));
    size_t at = 0;
    lua_pushnil(L);
    while (lua_next(L, table) != 0) {
        keys[at++] = lua_tostring(L, -2); /* the table keeps it */
        lua_pop(L, 1);
    }
    qsort(keys, count, sizeof(*keys), by_name);
    int top = lua_gettop(L);
    for (size_t i = 0; i < count; i++) {
        lua_pushstring(L, keys[i]);
        lua_rawget(L, table);
        push_child_spec(L, spec, keys[i]);
        items[i] = express(L, exprs, top + 1, lua_gettop(L), depth + 1);
        if (!items[i])
            return NULL;
        lua_settop(L, top);
    }
    return vr_expr_object(exprs, keys, items, count);
}

static struct vr_expr *express(lua_State *L, struct vr_exprs *exprs, int value, int spec, int depth)
{
    luaL_checkstack(L, 16, "a value is nested too deeply");
    if (depth > DEEPEST || (lua_istable(L, spec) && code_of(L, spec) & HIDDEN))
        return NULL;
    switch (lua_type(L, value)) {
    case LUA_TBOOLEAN:
        return vr_expr_literal(exprs, json_boolean(lua_toboolean(L, value)));
    case LUA_TNUMBER:
    case LUA_TSTRING: {
        json_t *literal = vr_value_get(L, value, NULL);
        return literal ? vr_expr_literal(exprs, literal) : NULL;
    }
    case LUA_TUSERDATA: {
        struct vr_expr *expr = NULL;
        if (vr_declare_data(L, value) && lua_getfield(L, -1, "expr") == LUA_TLIGHTUSERDATA)
            expr = lua_touserdata(L, -1);
        return expr;
    }
    case LUA_TTABLE: {
        bool array;
        if (!is_plain_table(L, value, &array))
            return NULL;
        return array || lua_rawlen(L, value) > 0 ? express_list(L, exprs, value, spec, depth)
                                                 : express_object(L, exprs, value, spec, depth);
    }
    default:
        return NULL;
    }
}

/* fill(decl, fields, names, specs, file, line, lines, first): sets the fields in the order of
 * names, from the first-th on; each has its line, or else the declaration's. -> the position of a
 * field that value.to_expr has to look at, or nothing. */
static int declare_fill(lua_State *L)
{
    struct vr_decls *decls = vr_declare_current(L);
    struct vr_exprs *exprs = vr_decls_exprs(decls);
    struct vr_decl *decl = lua_touserdata(L, 1);
    const char *file = luaL_checkstring(L, 5);
    int line = (int)luaL_checkinteger(L, 6);
    lua_Integer at = luaL_checkinteger(L, 8);
    lua_settop(L, 8);
    for (; lua_rawgeti(L, 3, at) == LUA_TSTRING; at++) {
        const char *name = lua_tostring(L, 9);
        lua_pushvalue(L, 9);
        if (lua_rawget(L, 2) != LUA_TNIL) {
            lua_getfield(L, 4, name);
            struct vr_expr *expr = express(L, exprs, 10, 11, 0);
            if (!expr) {
                lua_pushinteger(L, at);
                return 1;
            }
            lua_settop(L, 9);
            lua_pushvalue(L, 9);
            bool known = lua_istable(L, 7) && lua_rawget(L, 7) == LUA_TNUMBER;
            vr_decl_set(decls, decl, name, expr, file, known ? (int)lua_tointeger(L, -1) : line);
        }
        lua_settop(L, 8);
    }
    return 0;
}

void vr_declare_accepting(lua_State *L)
{
    static const luaL_Reg functions[] = {
        {"accept", declare_accept}, {"fill", declare_fill}, {NULL, NULL}};
    lua_newtable(L);
    lua_createtable(L, 0, 1);
    lua_pushliteral(L, "k");
    lua_setfield(L, -2, "__mode");
    lua_setmetatable(L, -2);
    luaL_setfuncs(L, functions, 1);
}
