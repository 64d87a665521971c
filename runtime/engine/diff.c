/* The generic diff: each declared field against what was read, or against what the state recorded
 * where the read leaves it out. Three values meet at each leaf: desired, seen and recorded; which
 * two agree says who changed it. Secrets take part as texts or as digests, whichever is at hand. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "engine/digest.h"
#include "engine/expr.h"
#include "engine/node.h"

/* Sameness. */

static const char *plain_text(const json_t *value)
{
    return vr_is_secret(value) ? vr_secret_text(value) : json_string_value(value);
}

/* A digest of another key, or of none, cannot be compared: not known is not changed. */
static bool same_digest(const struct vr_plan *plan, const json_t *digest, const json_t *other)
{
    if (vr_is_digest(other))
        return vr_digest_same(digest, other) != 0;
    if (!plain_text(other))
        return false;
    json_t *secret = json_pack("{s:s}", "$secret", plain_text(other));
    json_t *redacted = vr_state_redact(plan->options.state, secret);
    bool same = vr_digest_same(digest, redacted) != 0;
    json_decref(secret);
    json_decref(redacted);
    return same;
}

static bool same_string(const char *a, const char *b, bool fold)
{
    return fold ? strcasecmp(a, b) == 0 : strcmp(a, b) == 0;
}

static bool is_ref(const json_t *value)
{
    return json_is_object(value) && json_object_get(value, "$ref");
}

/* A whole reference is the same when it is the same thing: by id where both are known, else by
 * address. The world may show an id alone. */
static bool same_ref(const struct vr_plan *plan, const json_t *ref, const json_t *other, bool fold)
{
    const char *id = json_string_value(json_object_get(ref, "id"));
    if (json_is_string(other))
        return id && same_string(id, json_string_value(other), fold);
    const char *address = json_string_value(json_object_get(other, "$ref"));
    const char *theirs = json_string_value(json_object_get(other, "id"));
    if (id && theirs)
        return same_string(id, theirs, fold);
    if (!address)
        return false;
    struct vr_node *node = vr_plan_address(plan, address);
    const char *own = json_string_value(json_object_get(ref, "$ref"));
    return own && (strcmp(own, address) == 0 || (node && strcmp(own, node->address) == 0));
}

static bool same_number(const json_t *a, const json_t *b)
{
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    return json_number_value(a) == json_number_value(b);
}

static bool same_array(const struct vr_plan *plan, const json_t *a, const json_t *b, bool fold)
{
    if (json_array_size(a) != json_array_size(b))
        return false;
    for (size_t i = 0; i < json_array_size(a); i++)
        if (!vr_value_same(plan, json_array_get(a, i), json_array_get(b, i), fold))
            return false;
    return true;
}

static bool same_object(const struct vr_plan *plan, const json_t *a, const json_t *b, bool fold)
{
    const char *key;
    json_t *item;
    if (json_object_size(a) != json_object_size(b))
        return false;
    json_object_foreach((json_t *)a, key, item)
    {
        const json_t *other = json_object_get(b, key);
        if (!other || !vr_value_same(plan, item, other, fold))
            return false;
    }
    return true;
}

static bool nothing(const json_t *value)
{
    return !value || json_is_null(value);
}

bool vr_value_same(const struct vr_plan *plan, const json_t *a, const json_t *b, bool fold)
{
    if (a == b)
        return true;
    if (nothing(a) || nothing(b))
        return nothing(a) && nothing(b);
    if (vr_is_unknown(a) || vr_is_unknown(b))
        return false;
    if (vr_is_digest(a))
        return same_digest(plan, a, b);
    if (vr_is_digest(b))
        return same_digest(plan, b, a);
    if (vr_is_secret(a) || vr_is_secret(b))
        return plain_text(a) && plain_text(b) && strcmp(plain_text(a), plain_text(b)) == 0;
    if (is_ref(a))
        return same_ref(plan, a, b, fold);
    if (is_ref(b))
        return same_ref(plan, b, a, fold);
    if (json_is_number(a) && json_is_number(b))
        return same_number(a, b);
    if (json_is_array(a) && json_is_array(b))
        return same_array(plan, a, b, fold);
    if (json_is_object(a) && json_is_object(b))
        return same_object(plan, a, b, fold);
    return json_equal(a, b);
}

/* The walk. path is for people ("rules[ssh].port"), schema for looking up flags ("rules.port"). */

struct diff {
    struct vr_node *node;
    struct vr_plan *plan;
    struct vr_buf path, schema;
    size_t room;
    bool seen;       /* the field was read; else it is compared with the record */
    bool was_secret; /* this leaf is recorded as a digest */
};

struct mark {
    size_t path, schema;
};

static struct mark enter(struct diff *d, const char *key)
{
    struct mark mark = {d->path.length, d->schema.length};
    vr_buf_add(&d->path, ".", mark.path ? 1 : 0);
    vr_buf_puts(&d->path, key);
    vr_buf_add(&d->schema, ".", mark.schema ? 1 : 0);
    vr_buf_puts(&d->schema, key);
    return mark;
}

static struct mark enter_element(struct diff *d, const char *key, size_t index)
{
    struct mark mark = {d->path.length, d->schema.length};
    if (key)
        vr_buf_printf(&d->path, "[%s]", key);
    else
        vr_buf_printf(&d->path, "[%zu]", index);
    return mark;
}

static void cut(struct vr_buf *buf, size_t length)
{
    buf->length = length;
    if (buf->data)
        buf->data[length] = '\0';
}

static void leave(struct diff *d, struct mark mark)
{
    cut(&d->path, mark.path);
    cut(&d->schema, mark.schema);
}

static const struct vr_field *field_at(const struct diff *d)
{
    return vr_kind_field(d->node->kind, d->schema.data);
}

static unsigned flags_at(const struct diff *d)
{
    const struct vr_field *field = field_at(d);
    return field ? field->flags : 0;
}

/* Flags that hold for all that is inside of a field, too. */
static unsigned inherited_flags(const struct vr_kind *kind, const char *schema)
{
    unsigned flags = 0;
    char *path = vr_strdup(schema);
    for (char *dot = path + strlen(path); dot; dot = strrchr(path, '.')) {
        *dot = '\0';
        const struct vr_field *field = vr_kind_field(kind, path);
        flags |= field ? field->flags : 0;
    }
    free(path);
    return flags & (VR_FIELD_REPLACE | VR_FIELD_SECRET | VR_FIELD_IGNORE);
}

static bool covers(const char *outer, const char *path)
{
    size_t length = strlen(outer);
    return strcmp(outer, "*") == 0 || (strncmp(outer, path, length) == 0 &&
                                       (path[length] == '\0' || strchr(".[", path[length])));
}

static bool ignored(const struct diff *d)
{
    const struct vr_decl *decl = d->node->decl;
    for (size_t i = 0; decl && i < decl->ignore_count; i++)
        if (covers(decl->ignore_changes[i], d->schema.data) ||
            covers(decl->ignore_changes[i], d->path.data))
            return true;
    return false;
}

/* A value that is not known is taken to change what it forces only when its source is made or made
 * anew. */
static bool source_is_made(const struct vr_node *node)
{
    for (size_t i = 0; i < node->private->deps.count; i++) {
        enum vr_action action = node->private->deps.items[i]->action;
        if (action == VR_ACTION_CREATE || action == VR_ACTION_REPLACE)
            return true;
    }
    return false;
}

static enum vr_why why(const struct diff *d, const json_t *want, const json_t *seen,
                       const json_t *recorded)
{
    if (want && vr_has_unknown(want) && vr_value_open(want))
        return VR_WHY_UPSTREAM;
    if (!d->node->private->inputs)
        return VR_WHY_ADOPTED;
    bool fold = d->node->kind->fold_identity;
    if (!d->seen || vr_value_same(d->plan, seen, recorded, fold))
        return VR_WHY_RECIPE;
    if (vr_value_same(d->plan, want, recorded, fold))
        return VR_WHY_OUTSIDE;
    return recorded ? VR_WHY_BOTH : VR_WHY_RECIPE;
}

static struct vr_change *append(struct diff *d)
{
    struct vr_node *node = d->node;
    if (node->change_count == d->room) {
        size_t room = d->room ? d->room * 2 : 4;
        struct vr_change *more = vr_arena_alloc(d->plan->arena, room * sizeof(*more));
        if (node->change_count > 0)
            memcpy(more, node->changes, node->change_count * sizeof(*more));
        node->changes = more;
        d->room = room;
    }
    return &node->changes[node->change_count++];
}

/* A secret that one side holds is none of the other side's business either: the world may show it
 * as plain text. */
static json_t *shown(const struct diff *d, const json_t *value, bool secret)
{
    json_t *kept =
        secret && !vr_is_digest(value) ? vr_value_wrap(value) : json_incref((json_t *)value);
    json_t *redacted = vr_value_redact(d->plan, kept);
    json_decref(kept);
    return redacted;
}

static void emit(struct diff *d, const json_t *before, const json_t *after, enum vr_why reason)
{
    struct vr_node_private *p = d->node->private;
    unsigned flags = inherited_flags(d->node->kind, d->schema.data);
    bool open = after && vr_value_open(after);
    if (flags & VR_FIELD_IGNORE)
        return;
    struct vr_change *change = append(d);
    change->path = vr_arena_strdup(d->plan->arena, d->path.data);
    change->secret =
        flags & VR_FIELD_SECRET || d->was_secret || vr_value_hides(before) || vr_value_hides(after);
    change->before = nothing(before) ? NULL : shown(d, before, change->secret);
    change->after = nothing(after) ? NULL : shown(d, after, change->secret);
    change->why = reason;
    change->replace = flags & VR_FIELD_REPLACE && (!open || source_is_made(d->node));
    if (!p->step_changes)
        p->step_changes = json_array();
    json_array_append_new(p->step_changes, json_pack("{s:s,s:O?,s:O?}", "path", d->path.data, "old",
                                                     before, "new", after));
}

static void walk(struct diff *d, const json_t *want, const json_t *seen, const json_t *recorded);

static bool plain_object(const json_t *value)
{
    return json_is_object(value) && !is_ref(value) && !vr_is_digest(value) &&
           !vr_is_secret(value) && !vr_is_unknown(value);
}

static void walk_object(struct diff *d, const json_t *want, const json_t *seen,
                        const json_t *recorded)
{
    const char *key;
    json_t *item;
    json_object_foreach((json_t *)want, key, item)
    {
        struct mark mark = enter(d, key);
        walk(d, item, json_object_get(seen, key), json_object_get(recorded, key));
        leave(d, mark);
    }
    json_object_foreach((json_t *)recorded, key, item)
    {
        const json_t *there = json_object_get(seen, key);
        if (key[0] == '$' || json_object_get(want, key) || nothing(there))
            continue;
        struct mark mark = enter(d, key);
        if (!(flags_at(d) & VR_FIELD_COMPUTED) && !ignored(d))
            emit(d, there, NULL, VR_WHY_RECIPE);
        leave(d, mark);
    }
}

static const char *key_text(const json_t *element, const char *key, char *room, size_t size)
{
    const json_t *value = json_object_get(element, key);
    if (json_is_integer(value)) {
        snprintf(room, size, "%lld", (long long)json_integer_value(value));
        return room;
    }
    return json_string_value(value);
}

/* The element of a list that has this key; by_key is filled at the first call. */
struct keyed {
    struct vr_map by_key;
};

static void keyed_init(struct keyed *keyed, struct diff *d, const json_t *list, const char *key)
{
    size_t index;
    json_t *element;
    json_array_foreach(list, index, element)
    {
        char room[32];
        const char *text = key_text(element, key, room, sizeof(room));
        if (text && !vr_map_get(&keyed->by_key, text))
            vr_map_set(&keyed->by_key, vr_arena_strdup(d->plan->arena, text), element);
    }
}

static void walk_keyed(struct diff *d, const json_t *want, const json_t *seen,
                       const json_t *recorded, const struct vr_field *field)
{
    struct keyed wanted = {0}, there = {0}, before = {0};
    size_t index;
    json_t *element;
    char room[32];
    keyed_init(&wanted, d, want, field->key);
    keyed_init(&there, d, seen, field->key);
    keyed_init(&before, d, recorded, field->key);
    json_array_foreach(want, index, element)
    {
        const char *text = key_text(element, field->key, room, sizeof(room));
        struct mark mark = enter_element(d, text, index);
        walk(d, element, text ? vr_map_get(&there.by_key, text) : json_array_get(seen, index),
             text ? vr_map_get(&before.by_key, text) : json_array_get(recorded, index));
        leave(d, mark);
    }
    json_array_foreach(seen, index, element)
    {
        const char *text = key_text(element, field->key, room, sizeof(room));
        if (!text || vr_map_get(&wanted.by_key, text))
            continue;
        bool ours = vr_map_get(&before.by_key, text) != NULL;
        if (field->flags & VR_FIELD_OWNED && !ours)
            continue;
        struct mark mark = enter_element(d, text, index);
        emit(d, element, NULL,
             ours                       ? VR_WHY_RECIPE
             : d->node->private->inputs ? VR_WHY_OUTSIDE
                                        : VR_WHY_ADOPTED);
        leave(d, mark);
    }
    vr_map_free(&wanted.by_key);
    vr_map_free(&there.by_key);
    vr_map_free(&before.by_key);
}

static bool take_same(const struct diff *d, const json_t *element, const json_t *list, bool *taken)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (!taken[i] && vr_value_same(d->plan, element, json_array_get(list, i),
                                       d->node->kind->fold_identity)) {
            taken[i] = true;
            return true;
        }
    }
    return false;
}

/* Lists whose order means nothing, and lists that others add to: elements are there or not. */
static void walk_set(struct diff *d, const json_t *want, const json_t *seen, const json_t *recorded,
                     unsigned flags)
{
    bool *taken = vr_alloc(json_array_size(seen) + 1),
         *known = vr_alloc(json_array_size(recorded) + 1);
    for (size_t i = 0; i < json_array_size(want); i++) {
        const json_t *element = json_array_get(want, i);
        if (take_same(d, element, seen, taken))
            continue;
        struct mark mark = enter_element(d, json_string_value(element), i);
        emit(d, NULL, element,
             take_same(d, element, recorded, known) ? VR_WHY_OUTSIDE : why(d, element, NULL, NULL));
        leave(d, mark);
    }
    for (size_t i = 0; i < json_array_size(seen); i++) {
        const json_t *element = json_array_get(seen, i);
        if (taken[i])
            continue;
        bool ours = take_same(d, element, recorded, known);
        if (flags & VR_FIELD_OWNED && !ours)
            continue;
        struct mark mark = enter_element(d, json_string_value(element), i);
        emit(d, element, NULL,
             ours                       ? VR_WHY_RECIPE
             : d->node->private->inputs ? VR_WHY_OUTSIDE
                                        : VR_WHY_ADOPTED);
        leave(d, mark);
    }
    free(taken);
    free(known);
}

static void walk_positions(struct diff *d, const json_t *want, const json_t *seen,
                           const json_t *recorded)
{
    size_t count = json_array_size(want) > json_array_size(seen) ? json_array_size(want)
                                                                 : json_array_size(seen);
    for (size_t i = 0; i < count; i++) {
        const json_t *element = json_array_get(want, i), *there = json_array_get(seen, i);
        const json_t *before = json_array_get(recorded, i);
        struct mark mark = enter_element(d, NULL, i);
        if (element)
            walk(d, element, there, before);
        else
            emit(d, there, NULL, why(d, NULL, there, before));
        leave(d, mark);
    }
}

static bool empty(const json_t *value)
{
    return nothing(value) || (json_is_array(value) && json_array_size(value) == 0) ||
           (json_is_object(value) && json_object_size(value) == 0);
}

static void walk(struct diff *d, const json_t *want, const json_t *seen, const json_t *recorded)
{
    const struct vr_field *field = field_at(d);
    unsigned flags = field ? field->flags : 0;
    if (flags & VR_FIELD_IGNORE || ignored(d) || (empty(want) && empty(seen)))
        return;
    if (plain_object(want) && plain_object(seen))
        walk_object(d, want, seen, plain_object(recorded) ? recorded : NULL);
    else if (json_is_array(want) && json_is_array(seen) && field && field->key)
        walk_keyed(d, want, seen, json_is_array(recorded) ? recorded : NULL, field);
    else if (json_is_array(want) && json_is_array(seen) &&
             flags & (VR_FIELD_OWNED | VR_FIELD_UNORDERED))
        walk_set(d, want, seen, json_is_array(recorded) ? recorded : NULL, flags);
    else if (json_is_array(want) && json_is_array(seen))
        walk_positions(d, want, seen, json_is_array(recorded) ? recorded : NULL);
    else if (!vr_value_same(d->plan, want, seen, d->node->kind->fold_identity)) {
        d->was_secret = vr_is_digest(recorded);
        emit(d, seen, want, why(d, want, seen, recorded));
        d->was_secret = false;
    }
}

static void diff_fields(struct diff *d)
{
    struct vr_node_private *p = d->node->private;
    const char *count_field = d->node->kind->count_field, *key;
    json_t *want;
    json_object_foreach(p->fields, key, want)
    {
        if (count_field && strcmp(key, count_field) == 0)
            continue; /* compared with the members, in collection.c */
        const json_t *seen = json_object_get(p->observed, key),
                     *recorded = json_object_get(p->inputs, key);
        d->seen = seen != NULL;
        if (!seen && !p->inputs && !vr_value_open(want))
            continue; /* nobody knows what it is: taken over as it is */
        struct mark mark = enter(d, key);
        walk(d, want, d->seen ? seen : recorded, recorded);
        leave(d, mark);
    }
}

/* Fields that were declared and are not any more. */
static void diff_dropped(struct diff *d)
{
    struct vr_node_private *p = d->node->private;
    const char *count_field = d->node->kind->count_field, *key;
    json_t *recorded;
    json_object_foreach(p->inputs, key, recorded)
    {
        const json_t *seen = json_object_get(p->observed, key);
        if (key[0] == '$' || json_object_get(p->fields, key) ||
            (count_field && strcmp(key, count_field) == 0))
            continue;
        d->seen = seen != NULL;
        struct mark mark = enter(d, key);
        if (!(flags_at(d) & VR_FIELD_COMPUTED) && !ignored(d) && !(seen && nothing(seen)))
            emit(d, seen ? seen : recorded, NULL, VR_WHY_RECIPE);
        leave(d, mark);
    }
}

/* "rules[ssh].port" -> "rules.port" */
static void strip_elements(struct vr_buf *schema, const char *path)
{
    for (size_t depth = 0; *path; path++) {
        if (*path == '[')
            depth++;
        else if (*path == ']' && depth > 0)
            depth--;
        else if (depth == 0)
            vr_buf_add(schema, path, 1);
    }
}

static json_t *as_secret(const json_t *value, bool secret)
{
    if (!secret || !json_is_string(value))
        return json_incref((json_t *)value);
    return json_pack("{s:O}", "$secret", value);
}

/* The top of a path: the field whose record says who changed it. */
static const json_t *top_of(const json_t *object, const char *path)
{
    char *key = vr_strndup(path, strcspn(path, ".["));
    const json_t *value = json_object_get(object, key);
    free(key);
    return value;
}

static bool fields_as_recorded(const struct diff *d)
{
    const struct vr_node_private *p = d->node->private;
    const char *key;
    json_t *want;
    json_object_foreach(p->fields, key, want)
    {
        const struct vr_field *field = vr_kind_field(d->node->kind, key);
        if (!(field && field->flags & VR_FIELD_IGNORE) &&
            !vr_value_same(d->plan, want, json_object_get(p->inputs, key),
                           d->node->kind->fold_identity))
            return false;
    }
    return true;
}

/* Whether the recipe says what it said last time: of the field that a path begins with, or of all
 * where that is none (a role's tasks: which fields made one is not known). */
static bool is_as_recorded(const struct diff *d, const char *path)
{
    const struct vr_node_private *p = d->node->private;
    const json_t *want = top_of(p->fields, path), *recorded = top_of(p->inputs, path);
    if (!want && !recorded)
        return fields_as_recorded(d);
    return vr_value_same(d->plan, want, recorded, d->node->kind->fold_identity);
}

static void own_change(struct diff *d, const json_t *given)
{
    struct vr_node_private *p = d->node->private;
    const char *path = json_string_value(json_object_get(given, "path"));
    if (!path)
        return;
    cut(&d->path, 0);
    cut(&d->schema, 0);
    vr_buf_puts(&d->path, path);
    strip_elements(&d->schema, path);
    bool secret =
        inherited_flags(d->node->kind, d->schema.data ? d->schema.data : "") & VR_FIELD_SECRET;
    if (ignored(d))
        return;
    json_t *before = as_secret(json_object_get(given, "old"), secret);
    json_t *after = as_secret(json_object_get(given, "new"), secret);
    enum vr_why reason = !p->inputs                ? VR_WHY_ADOPTED
                         : is_as_recorded(d, path) ? VR_WHY_OUTSIDE
                                                   : VR_WHY_RECIPE;
    size_t count = d->node->change_count;
    emit(d, before, after, reason);
    if (d->node->change_count > count && json_is_true(json_object_get(given, "replace")))
        d->node->changes[count].replace = true;
    json_decref(before);
    json_decref(after);
}

static bool is_changed(const struct vr_node *node, const char *field)
{
    for (size_t i = 0; i < node->change_count; i++)
        if (covers(field, node->changes[i].path))
            return true;
    return false;
}

static void diff_own(struct diff *d)
{
    struct vr_node_private *p = d->node->private;
    size_t index;
    json_t *given;
    json_array_foreach(p->own_changes, index, given) own_change(d, given);
    cut(&d->path, 0);
    cut(&d->schema, 0);
    const char *key;
    json_object_foreach(p->fields, key, given)
    { /* what the kind could not compare yet */
        if (!vr_value_open(given) || is_changed(d->node, key))
            continue;
        struct mark mark = enter(d, key);
        if (!ignored(d))
            emit(d, json_object_get(p->inputs, key), given, VR_WHY_UPSTREAM);
        leave(d, mark);
    }
}

static void clear_changes(struct vr_node *node)
{
    for (size_t i = 0; i < node->change_count; i++) {
        json_decref(node->changes[i].before);
        json_decref(node->changes[i].after);
    }
    node->changes = NULL;
    node->change_count = 0;
    json_decref(node->private->step_changes);
    node->private->step_changes = NULL;
}

void vr_node_diff(struct vr_node *node)
{
    struct diff d = {.node = node, .plan = node->private->plan, .seen = true};
    clear_changes(node);
    if (node->private->own_changes) {
        diff_own(&d);
    } else {
        diff_fields(&d);
        diff_dropped(&d);
    }
    vr_buf_free(&d.path);
    vr_buf_free(&d.schema);
}
