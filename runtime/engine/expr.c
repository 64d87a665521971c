/* Trees are built from the leaves, so whether one is constant or tainted, and how deep it is, is
 * known when it is made. */
#include "engine/expr.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "engine/decl.h"
#include "engine/function.h"

struct vr_exprs {
    struct vr_arena *arena;
    json_t **values;
    size_t count;
};

struct vr_exprs *vr_exprs_new(void)
{
    struct vr_exprs *exprs = vr_alloc(sizeof(*exprs));
    exprs->arena = vr_arena_new();
    return exprs;
}

void vr_exprs_free(struct vr_exprs *exprs)
{
    if (!exprs)
        return;
    for (size_t i = 0; i < exprs->count; i++)
        json_decref(exprs->values[i]);
    vr_arena_free(exprs->arena);
    free(exprs);
}

struct vr_arena *vr_exprs_arena(struct vr_exprs *exprs)
{
    return exprs->arena;
}

static json_t *hold(struct vr_exprs *exprs, json_t *value)
{
    if (!value)
        return NULL;
    exprs->values =
        vr_arena_grow(exprs->arena, exprs->values, exprs->count, sizeof(*exprs->values));
    return exprs->values[exprs->count++] = value;
}

static struct vr_expr *make(struct vr_exprs *exprs, enum vr_expr_type type, struct vr_expr **items,
                            size_t count)
{
    struct vr_expr *expr = vr_arena_alloc(exprs->arena, sizeof(*expr));
    expr->type = type;
    expr->count = count;
    expr->constant = true;
    expr->depth = 1;
    expr->parts = 1;
    if (count) {
        expr->items = vr_arena_alloc(exprs->arena, count * sizeof(*items));
        memcpy(expr->items, items, count * sizeof(*items));
    }
    for (size_t i = 0; i < count; i++) {
        expr->constant &= items[i]->constant;
        expr->tainted |= items[i]->tainted;
        if (expr->depth <= items[i]->depth)
            expr->depth = items[i]->depth + 1;
        expr->parts += items[i]->parts;
        if (expr->parts > VR_EXPR_LARGEST)
            expr->parts = VR_EXPR_LARGEST + 1; /* so that it never runs over */
        if (!expr->file && items[i]->file) {
            expr->file = items[i]->file;
            expr->line = items[i]->line;
        }
    }
    return expr;
}

struct vr_expr *vr_expr_literal(struct vr_exprs *exprs, json_t *value)
{
    struct vr_expr *expr = make(exprs, VR_EXPR_LITERAL, NULL, 0);
    expr->value = hold(exprs, value);
    expr->tainted = vr_has_secret(value);
    return expr;
}

struct vr_expr *vr_expr_array(struct vr_exprs *exprs, struct vr_expr **items, size_t count)
{
    return make(exprs, VR_EXPR_ARRAY, items, count);
}

struct vr_expr *vr_expr_object(struct vr_exprs *exprs, const char **keys, struct vr_expr **items,
                               size_t count)
{
    struct vr_expr *expr = make(exprs, VR_EXPR_OBJECT, items, count);
    expr->keys = vr_arena_alloc(exprs->arena, count * sizeof(*expr->keys));
    for (size_t i = 0; i < count; i++)
        expr->keys[i] = vr_arena_strdup(exprs->arena, keys[i]);
    return expr;
}

/* Whether the kind says that what a path leads to is secret. */
static bool kind_says_secret(const struct vr_kind *kind, const json_t *path)
{
    const char *name = json_string_value(json_array_get(path, 0));
    if (!name || !kind)
        return false;
    const struct vr_field *output = vr_kind_output(kind, name), *field = vr_kind_field(kind, name);
    return (output && output->flags & VR_OUTPUT_SECRET) ||
           (field && field->flags & VR_FIELD_SECRET);
}

struct vr_expr *vr_expr_ref(struct vr_exprs *exprs, struct vr_decl *decl, json_t *path)
{
    struct vr_expr *expr = make(exprs, VR_EXPR_REF, NULL, 0);
    expr->decl = decl;
    expr->path = hold(exprs, path);
    expr->constant = false;
    expr->tainted = kind_says_secret(decl->kind, path);
    return expr;
}

struct vr_expr *vr_expr_item(struct vr_exprs *exprs, struct vr_scope *scope, json_t *path)
{
    struct vr_expr *expr = make(exprs, VR_EXPR_ITEM, NULL, 0);
    expr->scope = scope;
    expr->path = hold(exprs, path);
    expr->constant = false;
    return expr;
}

static json_t *pick(const json_t *value, const json_t *step)
{
    return json_is_string(step) ? json_object_get(value, json_string_value(step))
                                : json_array_get(value, (size_t)json_integer_value(step));
}

static struct vr_expr *pick_item(const struct vr_expr *of, const json_t *step)
{
    if (of->secret)
        return NULL;
    if (of->type == VR_EXPR_ARRAY && json_is_integer(step)) {
        json_int_t at = json_integer_value(step);
        return at >= 0 && (size_t)at < of->count ? of->items[at] : NULL;
    }
    for (size_t i = 0; of->type == VR_EXPR_OBJECT && json_is_string(step) && i < of->count; i++) {
        if (strcmp(of->keys[i], json_string_value(step)) == 0)
            return of->items[i];
    }
    return NULL;
}

struct vr_expr *vr_expr_index(struct vr_exprs *exprs, struct vr_expr *of, json_t *step)
{
    struct vr_expr *expr = pick_item(of, step);
    if (!expr && of->type == VR_EXPR_LITERAL && !vr_is_secret(of->value) && !of->secret &&
        pick(of->value, step))
        expr = vr_expr_literal(exprs, json_incref(pick(of->value, step)));
    if (expr) {
        json_decref(step);
        return expr;
    }
    bool extends = !of->secret && (of->type == VR_EXPR_REF || of->type == VR_EXPR_ITEM ||
                                   of->type == VR_EXPR_INDEX);
    json_t *path = extends && of->path ? json_copy(of->path) : json_array();
    json_array_append_new(path, step);
    if (extends && of->type == VR_EXPR_REF) {
        expr = vr_expr_ref(exprs, of->decl, path);
    } else if (extends && of->type == VR_EXPR_ITEM) {
        expr = vr_expr_item(exprs, of->scope, path);
    } else {
        expr = make(exprs, VR_EXPR_INDEX, extends ? of->items : &of, 1);
        expr->path = hold(exprs, path);
    }
    expr->file = of->file;
    expr->line = of->line;
    return expr;
}

/* `a .. b .. c` arrives as joins of two: short ones are made flat. */
struct vr_expr *vr_expr_join(struct vr_exprs *exprs, struct vr_expr **items, size_t count)
{
    enum { FLAT = 16 };
    struct vr_expr *flat[FLAT];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        bool open = items[i]->type == VR_EXPR_JOIN && !items[i]->secret;
        size_t more = open ? items[i]->count : 1;
        if (n + more > FLAT)
            return make(exprs, VR_EXPR_JOIN, items, count);
        memcpy(flat + n, open ? items[i]->items : &items[i], more * sizeof(*flat));
        n += more;
    }
    return make(exprs, VR_EXPR_JOIN, flat, n);
}

static bool unknown_function(const char *name, struct vr_error *err)
{
    size_t count;
    const struct vr_function *list = vr_function_list(&count);
    const char **names = vr_alloc(count * sizeof(*names));
    for (size_t i = 0; i < count; i++)
        names[i] = list[i].name;
    const char *near = vr_text_nearest(name, names, count);
    vr_error_set(err, "function",
                 near ? "no function '%s'; did you mean '%s'?" : "no function '%s'", name, near);
    free(names);
    return false;
}

struct vr_expr *vr_expr_call(struct vr_exprs *exprs, const char *function, struct vr_expr **items,
                             size_t count, struct vr_error *err)
{
    const struct vr_function *found = vr_function_find(function);
    if (!found) {
        unknown_function(function, err);
        return NULL;
    }
    if (count < (size_t)found->min || (found->max >= 0 && count > (size_t)found->max)) {
        if (found->max < 0)
            vr_error_set(err, "function", "%s wants at least %d argument%s, got %zu", function,
                         found->min, found->min == 1 ? "" : "s", count);
        else if (found->min == found->max)
            vr_error_set(err, "function", "%s wants %d argument%s, got %zu", function, found->min,
                         found->min == 1 ? "" : "s", count);
        else
            vr_error_set(err, "function", "%s wants %d to %d arguments, got %zu", function,
                         found->min, found->max, count);
        return NULL;
    }
    struct vr_expr *expr = make(exprs, VR_EXPR_CALL, items, count);
    expr->function = found;
    return expr;
}

struct vr_expr *vr_expr_gather(struct vr_exprs *exprs, struct vr_scope *scope, struct vr_expr *each)
{
    struct vr_expr *expr = make(exprs, VR_EXPR_GATHER, &each, 1);
    expr->scope = scope;
    expr->constant = false;
    return expr;
}

struct vr_expr *vr_expr_secret(struct vr_exprs *exprs, struct vr_expr *of)
{
    struct vr_expr *expr = vr_arena_alloc(exprs->arena, sizeof(*expr));
    *expr = *of;
    expr->secret = expr->tainted = true;
    return expr;
}

bool vr_expr_constant(const struct vr_expr *expr)
{
    return expr->constant;
}

bool vr_expr_tainted(const struct vr_expr *expr)
{
    return expr->tainted;
}
