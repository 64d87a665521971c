#include "script/value.h"

#include <lauxlib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/error.h"
#include "script/host.h"
#include "script/script.h"

enum { DEEPEST = 200 };

/* --- JSON -> Lua --- */

void vr_value_push(lua_State *L, const json_t *value)
{
    luaL_checkstack(L, 4, "JSON is nested too deeply");
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_NULL:
        lua_pushlightuserdata(L, NULL);
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        lua_pushboolean(L, json_is_true(value));
        break;
    case JSON_INTEGER:
        lua_pushinteger(L, json_integer_value(value));
        break;
    case JSON_REAL:
        lua_pushnumber(L, json_real_value(value));
        break;
    case JSON_STRING:
        lua_pushlstring(L, json_string_value(value), json_string_length(value));
        break;
    case JSON_ARRAY:
        lua_createtable(L, (int)json_array_size(value), 0);
        luaL_setmetatable(L, VR_JSON_ARRAY);
        for (size_t i = 0; i < json_array_size(value); i++) {
            vr_value_push(L, json_array_get(value, i));
            lua_rawseti(L, -2, (lua_Integer)i + 1);
        }
        break;
    case JSON_OBJECT: {
        const char *key;
        size_t length;
        json_t *item;
        lua_createtable(L, 0, (int)json_object_size(value));
        json_object_keylen_foreach((json_t *)value, key, length, item)
        {
            lua_pushlstring(L, key, length);
            vr_value_push(L, item);
            lua_rawset(L, -3);
        }
        break;
    }
    }
}

/* --- Lua -> JSON --- */

/* Where we are in the value, for messages. */
struct place {
    const struct place *outer;
    const char *key; /* NULL: an element */
    lua_Integer index;
    int depth;
};

static void add_path(struct vr_buf *out, const struct place *at)
{
    if (!at->outer)
        return;
    add_path(out, at->outer);
    if (at->key)
        vr_buf_printf(out, "%s%s", out->length ? "." : "", at->key);
    else
        vr_buf_printf(out, "[%lld]", (long long)at->index);
}

static json_t *fail(struct vr_error *err, const struct place *at, const char *format,
                    const char *detail)
{
    struct vr_buf text = {0};
    add_path(&text, at);
    if (text.length)
        vr_buf_puts(&text, ": ");
    vr_buf_printf(&text, format, detail);
    vr_error_set(err, "value", "%s", text.data);
    vr_buf_free(&text);
    return NULL;
}

static json_t *get(lua_State *L, int index, const struct place *at, struct vr_error *err);

static bool is_utf8_error(lua_State *L, int index)
{
    size_t length;
    const char *text = lua_tolstring(L, index, &length);
    json_t *test = json_stringn(text, length);
    json_decref(test);
    return test == NULL;
}

static json_t *get_string(lua_State *L, int index, const struct place *at, struct vr_error *err)
{
    size_t length;
    const char *text = lua_tolstring(L, index, &length);
    json_t *value = json_stringn(text, length);
    return value ? value
                 : fail(err, at, "a text that is not UTF-8%s", " (use crypto.base64 for bytes)");
}

static json_t *get_number(lua_State *L, int index, const struct place *at, struct vr_error *err)
{
    if (lua_isinteger(L, index))
        return json_integer(lua_tointeger(L, index));
    double number = lua_tonumber(L, index);
    if (!isfinite(number))
        return fail(err, at, "%s is not a JSON number",
                    isnan(number) ? "nan" : "an infinite number");
    return json_real(number);
}

/* What a table is: counts its keys. */
struct shape {
    size_t texts, integers, others;
    lua_Integer largest;
};

static struct shape shape_of(lua_State *L, int index)
{
    struct shape shape = {0};
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        if (lua_type(L, -2) == LUA_TSTRING) {
            shape.texts++;
        } else if (lua_isinteger(L, -2) && lua_tointeger(L, -2) > 0) {
            shape.integers++;
            if (lua_tointeger(L, -2) > shape.largest)
                shape.largest = lua_tointeger(L, -2);
        } else {
            shape.others++;
        }
    }
    return shape;
}

static json_t *get_array(lua_State *L, int index, size_t count, const struct place *at,
                         struct vr_error *err)
{
    json_t *array = json_array();
    for (size_t i = 1; i <= count; i++) {
        struct place inner = {at, NULL, (lua_Integer)i, at->depth + 1};
        lua_rawgeti(L, index, (lua_Integer)i);
        json_t *item = get(L, lua_gettop(L), &inner, err);
        lua_pop(L, 1);
        if (!item) {
            json_decref(array);
            return NULL;
        }
        json_array_append_new(array, item);
    }
    return array;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Keys in order: what is made from a table must not depend on where Lua keeps its keys. The texts
 * stay alive in the table. */
static const char **sorted_keys(lua_State *L, int index, size_t count)
{
    const char **keys = vr_alloc(count * sizeof(*keys));
    size_t i = 0;
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1))
        keys[i++] = lua_tostring(L, -2);
    qsort(keys, count, sizeof(*keys), compare_keys);
    return keys;
}

static bool has_bad_key(lua_State *L, int index, const struct place *at, struct vr_error *err)
{
    for (lua_pushnil(L); lua_next(L, index); lua_pop(L, 1)) {
        size_t length;
        const char *key = lua_tolstring(L, -2, &length);
        bool nul = strlen(key) != length;
        if (!nul && !is_utf8_error(L, lua_gettop(L) - 1))
            continue;
        fail(err, at, "a key %s", nul ? "with a NUL byte in it" : "that is not UTF-8");
        lua_pop(L, 2);
        return true;
    }
    return false;
}

static json_t *get_object(lua_State *L, int index, size_t count, const struct place *at,
                          struct vr_error *err)
{
    if (has_bad_key(L, index, at, err))
        return NULL;
    json_t *object = json_object();
    const char **keys = sorted_keys(L, index, count);
    for (size_t i = 0; i < count; i++) {
        struct place inner = {at, keys[i], 0, at->depth + 1};
        lua_pushstring(L, keys[i]);
        lua_rawget(L, index);
        json_t *item = get(L, lua_gettop(L), &inner, err);
        lua_pop(L, 1);
        if (!item || json_object_set_new(object, keys[i], item) != 0) {
            json_decref(object);
            object = NULL;
            break;
        }
    }
    free(keys);
    return object;
}

static bool has_array_mark(lua_State *L, int index)
{
    if (!lua_getmetatable(L, index))
        return false;
    luaL_getmetatable(L, VR_JSON_ARRAY);
    bool same = lua_rawequal(L, -1, -2);
    lua_pop(L, 2);
    return same;
}

bool vr_value_is_array(lua_State *L, int index)
{
    index = lua_absindex(L, index);
    if (!lua_istable(L, index))
        return false;
    if (has_array_mark(L, index))
        return true;
    struct shape shape = shape_of(L, index);
    return shape.integers > 0 && shape.texts + shape.others == 0 &&
           shape.largest == (lua_Integer)shape.integers;
}

/* A value that knows its JSON form: its metamethod __json(value) gives the value to take instead.
 */
static json_t *get_by_metamethod(lua_State *L, const struct place *at, struct vr_error *err)
{
    if (lua_pcall(L, 1, 1, 0) != LUA_OK) {
        struct vr_error inner = {0};
        vr_script_error(L, -1, &inner);
        lua_pop(L, 1);
        fail(err, at, "%s", inner.message);
        vr_error_clear(&inner);
        return NULL;
    }
    struct place inner = {at->outer, at->key, at->index, at->depth + 1};
    json_t *value = get(L, lua_gettop(L), &inner, err);
    lua_pop(L, 1);
    return value;
}

static json_t *get_table(lua_State *L, int index, const struct place *at, struct vr_error *err)
{
    bool marked = has_array_mark(L, index);
    struct shape shape = shape_of(L, index);
    if (shape.others)
        return fail(err, at, "a table with keys that are neither names nor 1, 2, 3, ...%s", "");
    if (shape.integers && shape.texts)
        return fail(err, at, "a table that is both a list and an object%s", "");
    if (shape.texts && marked)
        return fail(err, at, "a list with names in it%s", "");
    if (shape.largest != (lua_Integer)shape.integers)
        return fail(err, at, "a list with a hole in it%s", " (use json.null)");
    if (shape.integers || marked)
        return get_array(L, index, shape.integers, at, err);
    return get_object(L, index, shape.texts, at, err);
}

static json_t *get(lua_State *L, int index, const struct place *at, struct vr_error *err)
{
    if (at->depth > DEEPEST)
        return fail(err, &(struct place){0}, "nested more than 200 deep%s",
                    " (does a table contain itself?)");
    if (!lua_checkstack(L, 8))
        return fail(err, &(struct place){0}, "nested too deeply%s", "");
    int type = lua_type(L, index);
    if ((type == LUA_TTABLE || type == LUA_TUSERDATA) &&
        luaL_getmetafield(L, index, "__json") != LUA_TNIL) {
        lua_pushvalue(L, index);
        return get_by_metamethod(L, at, err);
    }
    switch (type) {
    case LUA_TNONE:
    case LUA_TNIL:
        return json_null();
    case LUA_TBOOLEAN:
        return json_boolean(lua_toboolean(L, index));
    case LUA_TNUMBER:
        return get_number(L, index, at, err);
    case LUA_TSTRING:
        return get_string(L, index, at, err);
    case LUA_TTABLE:
        return get_table(L, index, at, err);
    case LUA_TLIGHTUSERDATA:
        if (lua_touserdata(L, index) == NULL)
            return json_null();
        /* fall through */
    default:
        return fail(err, at, "a %s has no JSON form", luaL_typename(L, index));
    }
}

json_t *vr_value_get(lua_State *L, int index, struct vr_error *err)
{
    struct place top = {0};
    return get(L, lua_absindex(L, index), &top, err);
}

static int null_tostring(lua_State *L)
{
    if (lua_touserdata(L, 1) == NULL)
        lua_pushliteral(L, "null");
    else
        lua_pushfstring(L, "userdata: %p", lua_touserdata(L, 1));
    return 1;
}

void vr_values_open(lua_State *L)
{
    luaL_newmetatable(L, VR_JSON_ARRAY);
    lua_pop(L, 1);
    /* All light userdata share a metatable; the only one that people meet is json.null. */
    lua_pushlightuserdata(L, NULL);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, null_tostring);
    lua_setfield(L, -2, "__tostring");
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
}
