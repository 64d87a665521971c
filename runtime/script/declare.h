/* The native module `declare`, which stdlib/recipe/ builds declarations with. */
#ifndef VR_SCRIPT_DECLARE_H
#define VR_SCRIPT_DECLARE_H

#include <lua.h>
#include <stdbool.h>

struct vr_decls;
/* The set that declarations go into from now on; NULL: none, and every function that needs one
 * raises. */
void vr_declare_into(lua_State *L, struct vr_decls *decls);
/* Pushes the message of a recipe that ran for too long, with its place, and forgets it; false and
 * nothing if none did. */
bool vr_declare_limit(lua_State *L);

/* The set that declarations go into; raises when no recipe is being read. */
struct vr_decls *vr_declare_current(lua_State *L);
/* Pushes the table behind a proxy; false and nothing when the value at index is none. */
bool vr_declare_data(lua_State *L, int index);

/* Adds the functions of accept.c to the module's table on the top of the stack. */
void vr_declare_accepting(lua_State *L);

#endif
