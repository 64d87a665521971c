/* The userdata "vr.stream" of a byte stream, for every binding that has one. */
#ifndef VR_SCRIPT_STREAM_H
#define VR_SCRIPT_STREAM_H

#include <lua.h>

struct vr_stream;

/* Pushes a userdata that owns the stream from now on. */
void vr_script_push_stream(lua_State *L, struct vr_stream *stream);
/* Closes the stream at index, if there is one. */
void vr_script_stream_close(lua_State *L, int index);

/* The methods, with the stream at index 1: C functions for lua_pushcfunction, or to end a C
 * function with. */
int vr_script_stream_read(lua_State *L);     /* (s [, timeout]) */
int vr_script_stream_write(lua_State *L);    /* (s, text) */
int vr_script_stream_shutdown(lua_State *L); /* (s) */

#endif
