/* A blocking step (a flush to disk, the removal of a tree) on libuv's thread pool, while its task
 * is parked. Where the caller cannot wait (outside of a task, while a module is loaded) it runs at
 * once instead. */
#ifndef VR_SCRIPT_WORK_H
#define VR_SCRIPT_WORK_H

#include <lua.h>

#include "base/error.h"

/* First member of the step's own allocated structure. */
struct vr_work {
    void (*run)(struct vr_work *work);  /* in another thread: no Lua, nothing shared */
    void (*free)(struct vr_work *work); /* when nobody needs it any more */
    struct vr_error error;              /* set by run; cleared with the work */
};

/* Ends a C function: runs the work, then calls finish, where vr_work_of(L) is the work. A cancelled
 * task does not wait for it: it ends on its own and is freed then. */
int vr_work(lua_State *L, struct vr_work *work, lua_KFunction finish);
struct vr_work *vr_work_of(lua_State *L);

#endif
