/* Open addressing with linear probing; hashes are kept, so that growing and most misses compare no
 * text. A removal moves later entries of its run back, so there are no tombstones. */
#include "base/map.h"

#include <assert.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

struct vr_map_slot {
    uint64_t hash;
    const char *key;
    void *value; /* NULL: free */
};

uint64_t vr_hash(const void *data, size_t length, uint64_t seed)
{
    uint64_t hash = seed ? seed : 14695981039346656037u;
    for (const unsigned char *byte = data, *end = byte + length; byte < end; byte++)
        hash = (hash ^ *byte) * 1099511628211u;
    return hash;
}

/* FNV's low bits are weak for a power of two: fold the high ones in. */
static uint64_t hash_key(const char *key)
{
    uint64_t hash = vr_hash(key, strlen(key), 0);
    return hash ^ hash >> 29;
}

static struct vr_map_slot *find(const struct vr_map *map, const char *key, uint64_t hash)
{
    size_t mask = map->room - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        struct vr_map_slot *slot = &map->slots[i];
        if (!slot->value || (slot->hash == hash && strcmp(slot->key, key) == 0))
            return slot;
    }
}

static void grow(struct vr_map *map)
{
    struct vr_map old = *map;
    map->room = old.room ? old.room * 2 : 16;
    map->slots = vr_alloc(map->room * sizeof(*map->slots));
    size_t mask = map->room - 1;
    for (size_t i = 0; i < old.room; i++) {
        if (!old.slots[i].value)
            continue;
        size_t to = old.slots[i].hash & mask;
        while (map->slots[to].value)
            to = (to + 1) & mask;
        map->slots[to] = old.slots[i];
    }
    free(old.slots);
}

void *vr_map_get(const struct vr_map *map, const char *key)
{
    return map->count ? find(map, key, hash_key(key))->value : NULL;
}

void *vr_map_set(struct vr_map *map, const char *key, void *value)
{
    assert(value);
    if ((map->count + 1) * 4 > map->room * 3)
        grow(map);
    uint64_t hash = hash_key(key);
    struct vr_map_slot *slot = find(map, key, hash);
    void *old = slot->value;
    *slot = (struct vr_map_slot){hash, key, value};
    map->count += !old;
    return old;
}

void *vr_map_remove(struct vr_map *map, const char *key)
{
    if (!map->count)
        return NULL;
    struct vr_map_slot *slot = find(map, key, hash_key(key));
    void *old = slot->value;
    if (!old)
        return NULL;
    size_t mask = map->room - 1, hole = (size_t)(slot - map->slots);
    for (size_t i = (hole + 1) & mask; map->slots[i].value; i = (i + 1) & mask) {
        size_t home = map->slots[i].hash & mask;
        if (((i - home) & mask) < ((i - hole) & mask))
            continue; /* its run begins behind the hole */
        map->slots[hole] = map->slots[i];
        hole = i;
    }
    map->slots[hole] = (struct vr_map_slot){0};
    map->count--;
    return old;
}

void *vr_map_next(const struct vr_map *map, size_t *cursor, const char **key)
{
    while (*cursor < map->room) {
        const struct vr_map_slot *slot = &map->slots[(*cursor)++];
        if (!slot->value)
            continue;
        if (key)
            *key = slot->key;
        return slot->value;
    }
    return NULL;
}

void vr_map_free(struct vr_map *map)
{
    free(map->slots);
    *map = (struct vr_map){0};
}
