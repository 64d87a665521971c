/* The Lua state from inside: module paths, embedded standard library, limits, error values.
 *
 * `require "a.b"` finds, in this order: a binding of that name (vr_modules), the standard library
 * (a folder if one is given or $VMRUN_STDLIB is set, else the files in the binary), then the added
 * folders; as a/b.lua or a/b/init.lua. Only text is loaded, never bytecode or shared objects. */
#ifndef VR_SCRIPT_HOST_H
#define VR_SCRIPT_HOST_H

#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

#include "script/program.h"

/* The standard library, compiled, in the binary (embed.c); ends with a NULL path. Paths are below
 * stdlib/: "azure/subnet.lua". */
struct vr_stdlib_file {
    const char *path;
    const unsigned char *data;
    size_t length;
};
extern const struct vr_stdlib_file vr_stdlib_files[];

lua_State *vr_script_lua(struct vr_script *script);

/* Cancels all tasks. */
void vr_script_cancel(struct vr_script *script, const char *reason);

/* Adds a folder to the end of what require searches. */
void vr_script_add_path(lua_State *L, const char *folder);
/* Reads a file of the standard library; pushes its text, or pushes nothing and returns false. */
bool vr_script_stdlib(lua_State *L, const char *path);

/* Loads a file or text as a Lua chunk (text only) and pushes the function; `name` is how messages
 * call it. False with the compiler's message (place and all) otherwise, and nothing pushed. */
bool vr_script_load_file(lua_State *L, const char *path, struct vr_error *err);
bool vr_script_load_text(lua_State *L, const char *text, size_t length, const char *name,
                         struct vr_error *err);

/* Reads the error value at index, of any type, into err: a table's message, code, hint, file, line,
 * column and width; a text's leading "file:line: " becomes file and line. Never raises. */
void vr_script_error(lua_State *L, int index, struct vr_error *err);

/* Ends an endless loop or unbounded memory with an error that names its place. `seconds` of CPU
 * time from now, `bytes` in use by the whole state; 0: no limit. Set on L before the code to be
 * limited is called or its task is started: coroutines made later inherit it. Once the time is over
 * every further instruction fails, so that no pcall can go on. To lift both: vr_script_limit(L, 0,
 * 0). */
void vr_script_limit(lua_State *L, double seconds, size_t bytes);

#endif
