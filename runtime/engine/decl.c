/* Everything lies in the arena of the set's expressions. Lists grow by powers of two; texts that
 * come again and again (files, field names) are stored once. */
#include "engine/decl.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"

struct list {
    void **items;
    size_t count;
};

struct vr_decls {
    struct vr_exprs *exprs;
    struct vr_arena *arena; /* of exprs */
    struct vr_map texts;    /* stored once: text to itself */
    struct vr_map addresses;
    struct vr_map output_names;
    struct vr_map moves; /* from address or prefix, to address or prefix */
    struct vr_map gone;
    struct list decls, scopes, outputs;
    struct vr_error *errors; /* sorted by place */
    size_t error_count, error_room;
};

static void append(struct vr_arena *arena, struct list *list, void *item)
{
    list->items = vr_arena_grow(arena, list->items, list->count, sizeof(*list->items));
    list->items[list->count++] = item;
}

static const char *keep(struct vr_decls *decls, const char *text)
{
    if (!text)
        return NULL;
    char *kept = vr_map_get(&decls->texts, text);
    if (!kept) {
        kept = vr_arena_strdup(decls->arena, text);
        vr_map_set(&decls->texts, kept, kept);
    }
    return kept;
}

struct vr_decls *vr_decls_new(void)
{
    struct vr_decls *decls = vr_alloc(sizeof(*decls));
    decls->exprs = vr_exprs_new();
    decls->arena = vr_exprs_arena(decls->exprs);
    return decls;
}

void vr_decls_free(struct vr_decls *decls)
{
    if (!decls)
        return;
    vr_map_free(&decls->texts);
    vr_map_free(&decls->addresses);
    vr_map_free(&decls->output_names);
    vr_map_free(&decls->moves);
    vr_map_free(&decls->gone);
    for (size_t i = 0; i < decls->error_count; i++)
        vr_error_clear(&decls->errors[i]);
    free(decls->errors);
    vr_exprs_free(decls->exprs);
    free(decls);
}

struct vr_exprs *vr_decls_exprs(struct vr_decls *decls)
{
    return decls->exprs;
}

struct vr_decl *vr_decls_add(struct vr_decls *decls, const struct vr_kind *kind, const char *name,
                             const char *address, struct vr_scope *scope, const char *file,
                             int line, struct vr_error *err)
{
    const struct vr_decl *other = vr_map_get(&decls->addresses, address);
    if (other) {
        vr_error_set(err, "duplicate", "%s is declared twice: at %s:%d and at %s:%d", address,
                     other->file ? other->file : "?", other->line, file ? file : "?", line);
        vr_error_hint(err, "give one of them another name");
        vr_error_place(err, file, line);
        return NULL;
    }
    struct vr_decl *decl = vr_arena_alloc(decls->arena, sizeof(*decl));
    decl->address = vr_arena_strdup(decls->arena, address);
    decl->kind = kind;
    decl->name = keep(decls, name);
    decl->file = keep(decls, file);
    decl->line = line;
    decl->scope = scope;
    decl->index = decls->decls.count;
    append(decls->arena, &decls->decls, decl);
    vr_map_set(&decls->addresses, decl->address, decl);
    return decl;
}

void vr_decl_set(struct vr_decls *decls, struct vr_decl *decl, const char *field,
                 struct vr_expr *expr, const char *file, int line)
{
    struct vr_decl_field *set = (struct vr_decl_field *)vr_decl_field(decl, field);
    if (!set) {
        decl->fields = vr_arena_grow(decls->arena, decl->fields, decl->field_count, sizeof(*set));
        set = &decl->fields[decl->field_count++];
        set->name = keep(decls, field);
    }
    set->expr = expr;
    set->file = keep(decls, file);
    set->line = line;
}

void vr_decl_after(struct vr_decls *decls, struct vr_decl *decl, struct vr_expr *expr)
{
    decl->after = vr_arena_grow(decls->arena, decl->after, decl->after_count, sizeof(*decl->after));
    decl->after[decl->after_count++] = expr;
}

void vr_decl_ignore(struct vr_decls *decls, struct vr_decl *decl, const char *path)
{
    decl->ignore_changes =
        vr_arena_grow(decls->arena, decl->ignore_changes, decl->ignore_count, sizeof(char *));
    decl->ignore_changes[decl->ignore_count++] = keep(decls, path);
}

struct vr_tally *vr_decls_tally(struct vr_decls *decls, size_t max_fail)
{
    struct vr_tally *tally = vr_arena_alloc(decls->arena, sizeof(*tally));
    *tally = (struct vr_tally){.max_fail = max_fail};
    return tally;
}

void vr_decl_trigger(struct vr_decls *decls, struct vr_decl *decl, struct vr_expr *expr)
{
    decl->triggers =
        vr_arena_grow(decls->arena, decl->triggers, decl->trigger_count, sizeof(*decl->triggers));
    decl->triggers[decl->trigger_count++] = expr;
}

const struct vr_decl_field *vr_decl_field(const struct vr_decl *decl, const char *name)
{
    for (size_t i = 0; i < decl->field_count; i++) {
        if (strcmp(decl->fields[i].name, name) == 0)
            return &decl->fields[i];
    }
    return NULL;
}

struct vr_scope *vr_decls_scope(struct vr_decls *decls, struct vr_decl *collection,
                                struct vr_error *err)
{
    if (!collection->kind->collection) {
        vr_error_set(err, "collection", "%s has no members to go over", collection->address);
        vr_error_place(err, collection->file, collection->line);
        return NULL;
    }
    if (collection->scope) {
        vr_error_set(err, "nested",
                     "%s is made once a member of %s, so there is no each over its own members",
                     collection->address, collection->scope->collection->address);
        vr_error_hint(err, "declare it outside of the each");
        vr_error_place(err, collection->file, collection->line);
        return NULL;
    }
    struct vr_scope *scope = vr_arena_alloc(decls->arena, sizeof(*scope));
    scope->collection = collection;
    scope->index = decls->scopes.count;
    append(decls->arena, &decls->scopes, scope);
    return scope;
}

bool vr_decls_output(struct vr_decls *decls, const char *name, struct vr_expr *expr,
                     const char *doc, const char *file, int line, struct vr_error *err)
{
    const struct vr_output *other = vr_map_get(&decls->output_names, name);
    if (other) {
        vr_error_set(err, "duplicate", "output '%s' is declared twice: at %s:%d and at %s:%d", name,
                     other->file ? other->file : "?", other->line, file ? file : "?", line);
        vr_error_place(err, file, line);
        return false;
    }
    struct vr_output *output = vr_arena_alloc(decls->arena, sizeof(*output));
    *output = (struct vr_output){keep(decls, name), expr, vr_arena_strdup(decls->arena, doc),
                                 keep(decls, file), line};
    append(decls->arena, &decls->outputs, output);
    vr_map_set(&decls->output_names, output->name, output);
    return true;
}

void vr_decls_moved(struct vr_decls *decls, const char *from, const char *to)
{
    vr_map_set(&decls->moves, keep(decls, from), (char *)keep(decls, to));
}

void vr_decls_removed(struct vr_decls *decls, const char *address)
{
    const char *kept = keep(decls, address);
    vr_map_set(&decls->gone, kept, (char *)kept);
}

/* The value for an address, or for the longest of its prefixes that ends with `/` or `[`; *length:
 * how much matched. */
static const char *find_prefix(const struct vr_map *map, const char *address, size_t *length)
{
    *length = strlen(address);
    const char *found = vr_map_get(map, address);
    if (found || !map->count)
        return found;
    char *prefix = vr_strdup(address);
    while (!found && *length > 0) {
        char last = prefix[*length - 1];
        prefix[*length] = '\0';
        if (last == '/' || last == '[')
            found = vr_map_get(map, prefix);
        if (!found)
            --*length;
    }
    free(prefix);
    return found;
}

/* One move may lead to the next one, as people keep them; a ring of moves ends where it began. */
const char *vr_decls_moved_to(const struct vr_decls *decls, const char *from)
{
    const char *at = from;
    for (size_t hops = 0; hops <= decls->moves.count; hops++) {
        size_t length;
        const char *to = find_prefix(&decls->moves, at, &length);
        if (!to)
            return at == from ? NULL : at;
        size_t head = strlen(to);
        char *whole = vr_arena_alloc(decls->arena, head + strlen(at + length) + 1);
        memcpy(whole, to, head);
        strcpy(whole + head, at + length);
        if (strcmp(whole, from) == 0)
            return at == from ? NULL : at;
        at = whole;
    }
    return at;
}

bool vr_decls_is_removed(const struct vr_decls *decls, const char *address)
{
    size_t length;
    return find_prefix(&decls->gone, address, &length) != NULL;
}

size_t vr_decls_count(const struct vr_decls *decls)
{
    return decls->decls.count;
}

struct vr_decl *vr_decls_at(const struct vr_decls *decls, size_t index)
{
    assert(index < decls->decls.count);
    return decls->decls.items[index];
}

struct vr_decl *vr_decls_find(const struct vr_decls *decls, const char *address)
{
    return vr_map_get(&decls->addresses, address);
}

size_t vr_decls_scope_count(const struct vr_decls *decls)
{
    return decls->scopes.count;
}

struct vr_scope *vr_decls_scope_at(const struct vr_decls *decls, size_t index)
{
    assert(index < decls->scopes.count);
    return decls->scopes.items[index];
}

size_t vr_decls_output_count(const struct vr_decls *decls)
{
    return decls->outputs.count;
}

const struct vr_output *vr_decls_output_at(const struct vr_decls *decls, size_t index)
{
    assert(index < decls->outputs.count);
    return decls->outputs.items[index];
}

/* Errors without a place come last. */
static int compare_places(const struct vr_error *a, const struct vr_error *b)
{
    if (!a->file || !b->file)
        return !a->file - !b->file;
    int files = strcmp(a->file, b->file);
    return files ? files : a->line - b->line;
}

void vr_decls_error(struct vr_decls *decls, struct vr_error *err)
{
    if (decls->error_count == decls->error_room) {
        decls->error_room = decls->error_room ? decls->error_room * 2 : 8;
        decls->errors = vr_realloc(decls->errors, decls->error_room * sizeof(*decls->errors));
    }
    size_t at = decls->error_count++;
    while (at > 0 && compare_places(&decls->errors[at - 1], err) > 0) {
        decls->errors[at] = decls->errors[at - 1];
        at--;
    }
    decls->errors[at] = (struct vr_error){0};
    vr_error_move(&decls->errors[at], err);
}

size_t vr_decls_error_count(const struct vr_decls *decls)
{
    return decls->error_count;
}

const struct vr_error *vr_decls_error_at(const struct vr_decls *decls, size_t index)
{
    assert(index < decls->error_count);
    return &decls->errors[index];
}
