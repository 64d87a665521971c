/* Small blocks for Lua, which says how large each was when it gives it back. By size class, from an
 * arena that is freed with the pool; larger blocks are malloc's. */
#ifndef VR_SCRIPT_POOL_H
#define VR_SCRIPT_POOL_H

#include <stddef.h>

enum { VR_POOL_STEP = 16, VR_POOL_LARGEST = 512 };

struct vr_pool {
    struct vr_pool_free *free[VR_POOL_LARGEST / VR_POOL_STEP + 1];
    struct vr_arena *arena;
    char *next; /* of the chunk that is being cut */
    size_t left;
};

/* As a lua_Alloc with a block that exists or is made: NULL when there is no memory. size is not 0.
 */
void *vr_pool_resize(struct vr_pool *pool, void *old, size_t old_size, size_t size);
void vr_pool_give(struct vr_pool *pool, void *block, size_t size); /* NULL is fine */
void vr_pool_clear(struct vr_pool *pool);                          /* all small blocks at once */

#endif
