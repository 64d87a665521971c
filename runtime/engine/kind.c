#include "engine/kind.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"

/* What vr_kind_new allocates. Lists grow by powers of two in the arena; the maps hold position + 1,
 * as lists move. */
struct private_kind {
    struct vr_kind kind;
    struct vr_arena *arena;
    struct vr_map fields, outputs;
};

static struct private_kind *private_of(const struct vr_kind *kind)
{
    return (struct private_kind *)(void *)kind;
}

const char *vr_verb_name(enum vr_verb verb)
{
    static const char *const names[] = {"read", "create", "update", "delete", "add", "remove"};
    assert(verb < VR_VERBS);
    return names[verb];
}

struct vr_kind *vr_kind_new(const char *name)
{
    struct private_kind *made = vr_alloc(sizeof(*made));
    made->arena = vr_arena_new();
    made->kind.name = vr_arena_strdup(made->arena, name);
    char *provider = vr_arena_strdup(made->arena, name);
    provider[strcspn(provider, ".")] = '\0';
    made->kind.provider = provider;
    return &made->kind;
}

void vr_kind_free(struct vr_kind *kind)
{
    if (!kind)
        return;
    struct private_kind *made = private_of(kind);
    vr_map_free(&made->fields);
    vr_map_free(&made->outputs);
    vr_arena_free(made->arena);
    free(made);
}

static struct vr_field *find(const struct vr_map *map, struct vr_field *list, const char *path)
{
    size_t position = (size_t)(uintptr_t)vr_map_get(map, path);
    return position ? &list[position - 1] : NULL;
}

/* A path that is added again gets the new flags. */
static void add(struct private_kind *made, struct vr_map *map, struct vr_field **list,
                size_t *count, const char *path, unsigned flags, const char *key)
{
    struct vr_field *field = find(map, *list, path);
    if (!field) {
        *list = vr_arena_grow(made->arena, *list, *count, sizeof(**list));
        field = &(*list)[(*count)++];
        field->path = vr_arena_strdup(made->arena, path);
        vr_map_set(map, field->path, (void *)(uintptr_t)*count);
    }
    field->flags = flags;
    field->key = vr_arena_strdup(made->arena, key);
}

void vr_kind_add_field(struct vr_kind *kind, const char *path, unsigned flags, const char *key)
{
    add(private_of(kind), &private_of(kind)->fields, &kind->fields, &kind->field_count, path, flags,
        key);
}

void vr_kind_add_output(struct vr_kind *kind, const char *name, unsigned flags)
{
    add(private_of(kind), &private_of(kind)->outputs, &kind->outputs, &kind->output_count, name,
        flags, NULL);
}

void vr_kind_set_collection(struct vr_kind *kind, const char *output, const char *count_field)
{
    kind->collection = vr_arena_strdup(private_of(kind)->arena, output);
    kind->count_field = vr_arena_strdup(private_of(kind)->arena, count_field);
}

void vr_kind_set_leaves(struct vr_kind *kind, const char *text)
{
    kind->leaves = vr_arena_strdup(private_of(kind)->arena, text);
}

const struct vr_field *vr_kind_field(const struct vr_kind *kind, const char *path)
{
    return find(&private_of(kind)->fields, kind->fields, path);
}

const struct vr_field *vr_kind_output(const struct vr_kind *kind, const char *name)
{
    return find(&private_of(kind)->outputs, kind->outputs, name);
}
