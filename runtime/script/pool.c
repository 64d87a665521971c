#include "script/pool.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

enum { CHUNK = 64 << 10 };

struct vr_pool_free {
    struct vr_pool_free *next;
};

/* A checker of memory sees blocks only when they are malloc's. */
#if defined(__SANITIZE_ADDRESS__)
static bool is_small(size_t size)
{
    (void)size;
    return false;
}
#else
static bool is_small(size_t size)
{
    return size <= VR_POOL_LARGEST;
}
#endif

static size_t class_of(size_t size)
{
    return (size + VR_POOL_STEP - 1) / VR_POOL_STEP;
}

static void add_chunk(struct vr_pool *pool)
{
    if (!pool->arena)
        pool->arena = vr_arena_new();
    /* What was left of the last chunk serves smaller ones. */
    for (size_t size; pool->left >= VR_POOL_STEP; pool->next += size, pool->left -= size) {
        size = pool->left < VR_POOL_LARGEST ? pool->left / VR_POOL_STEP * VR_POOL_STEP
                                            : VR_POOL_LARGEST;
        vr_pool_give(pool, pool->next, size);
    }
    pool->next = vr_arena_alloc(pool->arena, CHUNK);
    pool->left = CHUNK;
}

static void *take(struct vr_pool *pool, size_t size)
{
    size_t class = class_of(size), whole = class * VR_POOL_STEP;
    struct vr_pool_free *block = pool->free[class];
    if (block) {
        pool->free[class] = block->next;
        return block;
    }
    if (pool->left < whole)
        add_chunk(pool);
    void *made = pool->next;
    pool->next += whole;
    pool->left -= whole;
    return made;
}

void vr_pool_give(struct vr_pool *pool, void *block, size_t size)
{
    if (!block)
        return;
    if (!is_small(size)) {
        free(block);
        return;
    }
    struct vr_pool_free *freed = block;
    freed->next = pool->free[class_of(size)];
    pool->free[class_of(size)] = freed;
}

void *vr_pool_resize(struct vr_pool *pool, void *old, size_t old_size, size_t size)
{
    if (old && is_small(old_size) && is_small(size) && class_of(old_size) == class_of(size))
        return old;
    if (!is_small(size) && (!old || !is_small(old_size)))
        return realloc(old, size);
    void *made = is_small(size) ? take(pool, size) : malloc(size);
    if (made && old) {
        memcpy(made, old, old_size < size ? old_size : size);
        vr_pool_give(pool, old, old_size);
    }
    return made;
}

void vr_pool_clear(struct vr_pool *pool)
{
    vr_arena_free(pool->arena);
    *pool = (struct vr_pool){0};
}
