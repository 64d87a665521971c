/* A hash map from text to pointers. Zero-initialise; vr_map_free frees and zeroes. Keys are kept,
 * not copied: a key must live as long as its entry, so it best lies in the value or in the arena of
 * both. Values may not be NULL. */
#ifndef VR_BASE_MAP_H
#define VR_BASE_MAP_H

#include <stddef.h>
#include <stdint.h>

struct vr_map {
    struct vr_map_slot *slots; /* a power of two; NULL while empty */
    size_t room;
    size_t count;
};

void *vr_map_get(const struct vr_map *map, const char *key); /* NULL if there is none */
/* the value that was there, or NULL; takes the new key */
void *vr_map_set(struct vr_map *map, const char *key, void *value);
/* the value that was there, or NULL */
void *vr_map_remove(struct vr_map *map, const char *key);
/* Steps through all entries in no order: start with *cursor 0; the next value, or NULL at the end.
 * key may be NULL. */
void *vr_map_next(const struct vr_map *map, size_t *cursor, const char **key);
void vr_map_free(struct vr_map *map); /* the entries' keys and values are the caller's */

/* FNV-1a; seed 0 to begin, or the last result to go on */
uint64_t vr_hash(const void *data, size_t length, uint64_t seed);

#endif
