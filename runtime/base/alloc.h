/* Memory that is there or the program is not: no caller writes the branch for "no memory". */
#ifndef VR_BASE_ALLOC_H
#define VR_BASE_ALLOC_H

#include <stddef.h>

void *vr_alloc(size_t size);              /* zeroed; free with free() */
void *vr_realloc(void *old, size_t size); /* not zeroed */
char *vr_strdup(const char *text);        /* NULL gives NULL */
char *vr_strndup(const char *text, size_t length);
char *vr_format(const char *format, ...) __attribute__((format(printf, 1, 2)));
void vr_secret_free(char *secret); /* overwrites, then frees; NULL is fine */

/* Memory in whole pages of the large kind, where the system has them: what is read all over misses
 * less there. `size`: a multiple of VR_PAGE. Zeroed; NULL when there is none. */
enum { VR_PAGE = 2 << 20 };
void *vr_pages_alloc(size_t size);
void vr_pages_free(void *pages, size_t size);

/* An arena: many small things that die together. */
struct vr_arena;
struct vr_arena *vr_arena_new(void);
void vr_arena_free(struct vr_arena *arena);                /* NULL is fine */
void *vr_arena_alloc(struct vr_arena *arena, size_t size); /* zeroed, aligned for any type */
char *vr_arena_strdup(struct vr_arena *arena, const char *text);
/* A list of count items with room for one more; its room is always a power of two: `list =
 * vr_arena_grow(arena, list, count, sizeof(*list)); list[count++] = item;` */
void *vr_arena_grow(struct vr_arena *arena, void *items, size_t count, size_t size);

#endif
