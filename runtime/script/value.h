/* Lua values and JSON values. Integers stay integers; see ARCHITECTURE.md, "Values". */
#ifndef VR_SCRIPT_VALUE_H
#define VR_SCRIPT_VALUE_H

#include <jansson.h>
#include <lua.h>
#include <stdbool.h>

struct vr_loop;
struct vr_error;

/* The metatable's name that marks a table as an array, also an empty one. */
#define VR_JSON_ARRAY "json.array"

/* Pushes one Lua value for a JSON value (arrays get the json.array metatable, null is json.null).
 */
void vr_value_push(lua_State *L, const json_t *value);
/* The JSON value at index; a new reference, or NULL with a message that names the place in the
 * value (function, cycle, hole in a list, text that is not UTF-8, NUL in a key, deeper than 200).
 * Objects have their keys in order. nil gives null. A table or userdata whose metatable has a
 * function __json(value) is taken as what that returns. */
json_t *vr_value_get(lua_State *L, int index, struct vr_error *err);

/* Whether a table is an array to JSON: marked by json.array, or a sequence that is not empty. */
bool vr_value_is_array(lua_State *L, int index);

/* The loop that this Lua state lives on. */
struct vr_loop *vr_script_loop(lua_State *L);

/* `return vr_script_fail(L, &err)`: pushes nil, message, code and clears err; returns 3. */
int vr_script_fail(lua_State *L, struct vr_error *err);

/* Every binding is one line in this table (script/modules.c): require "name" finds it. */
struct vr_module {
    const char *name;
    lua_CFunction open; /* NULL: luaopen_vr_NAME of the plugin */
    const char *plugin; /* script/plugin.h */
};
extern const struct vr_module vr_modules[]; /* ends with a NULL name */

#endif
