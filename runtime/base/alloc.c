#include "base/alloc.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static _Noreturn void no_memory(void)
{
    fputs("vmrun: out of memory\n", stderr);
    abort();
}

void *vr_alloc(size_t size)
{
    void *memory = calloc(1, size ? size : 1);
    if (!memory)
        no_memory();
    return memory;
}

void *vr_realloc(void *old, size_t size)
{
    void *memory = realloc(old, size ? size : 1);
    if (!memory)
        no_memory();
    return memory;
}

char *vr_strndup(const char *text, size_t length)
{
    char *copy = vr_alloc(length + 1);
    memcpy(copy, text, length);
    return copy;
}

char *vr_strdup(const char *text)
{
    return text ? vr_strndup(text, strlen(text)) : NULL;
}

char *vr_format(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        no_memory();
    va_end(args);
    return text;
}

void vr_secret_free(char *secret)
{
    if (secret)
        explicit_bzero(secret, strlen(secret));
    free(secret);
}

void *vr_pages_alloc(size_t size)
{
    /* What lies before and behind the aligned part goes back. */
    size_t whole = size + VR_PAGE;
    char *made = mmap(NULL, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (made == MAP_FAILED)
        return NULL;
    size_t before = (VR_PAGE - (uintptr_t)made % VR_PAGE) % VR_PAGE;
    if (before)
        munmap(made, before);
    munmap(made + before + size, VR_PAGE - before);
    madvise(made + before, size, MADV_HUGEPAGE);
    return made + before;
}

void vr_pages_free(void *pages, size_t size)
{
    munmap(pages, size);
}

/* Blocks grow, so that a large arena costs few allocations; what does not fit into a block gets one
 * of its own. */
struct block {
    struct block *next;
    size_t used, room;
    max_align_t data[];
};

struct vr_arena {
    struct block *blocks;
    size_t size;
};

/* Only a large arena has whole pages: a small one would not fill them. */
enum { FIRST_BLOCK = 4 << 10, LARGEST_BLOCK = 1 << 20, LARGE_ARENA = 8 << 20 };

/* A block of whole pages is known by its size. */
static struct block *new_block(size_t room)
{
    size_t size = sizeof(struct block) + room;
    struct block *block = size % VR_PAGE == 0 ? vr_pages_alloc(size) : vr_alloc(size);
    if (!block)
        no_memory();
    block->room = room;
    return block;
}

static void free_block(struct block *block)
{
    size_t size = sizeof(*block) + block->room;
    if (size % VR_PAGE == 0)
        vr_pages_free(block, size);
    else
        free(block);
}

struct vr_arena *vr_arena_new(void)
{
    return vr_alloc(sizeof(struct vr_arena));
}

void vr_arena_free(struct vr_arena *arena)
{
    if (!arena)
        return;
    for (struct block *block = arena->blocks, *next; block; block = next) {
        next = block->next;
        free_block(block);
    }
    free(arena);
}

void *vr_arena_alloc(struct vr_arena *arena, size_t size)
{
    size_t align = sizeof(max_align_t);
    size = (size + align - 1) / align * align;
    struct block *block = arena->blocks;
    if (!block || block->room - block->used < size) {
        size_t room = block ? block->room * 2 : FIRST_BLOCK;
        if (arena->size >= LARGE_ARENA)
            room = VR_PAGE - sizeof(*block);
        else if (room > LARGEST_BLOCK)
            room = LARGEST_BLOCK;
        if (room < size)
            room = size;
        struct block *fresh = new_block(room);
        fresh->next = block;
        arena->blocks = block = fresh;
        arena->size += room;
    }
    void *memory = (char *)block->data + block->used;
    block->used += size;
    return memory;
}

char *vr_arena_strdup(struct vr_arena *arena, const char *text)
{
    if (!text)
        return NULL;
    size_t size = strlen(text) + 1;
    return memcpy(vr_arena_alloc(arena, size), text, size);
}

void *vr_arena_grow(struct vr_arena *arena, void *items, size_t count, size_t size)
{
    if (count & (count - 1))
        return items;
    void *larger = vr_arena_alloc(arena, (count ? count * 2 : 1) * size);
    if (count)
        memcpy(larger, items, count * size);
    return larger;
}
