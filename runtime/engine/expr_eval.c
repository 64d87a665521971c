/* Evaluating passes secrets as {"$secret": ...} and unknowns as {"$unknown": ...}. A function sees
 * neither: with an unknown argument there is no call, and secrets are laid open for it and its
 * whole result is wrapped again. Functions that only move parts around are the exception; they get
 * the values as they are. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "engine/decl.h"
#include "engine/expr.h"
#include "engine/function.h"

enum { LONGEST_TEXT = 64 << 20 }; /* bytes */

struct evaluation {
    const struct vr_lookup *lookup; /* may be NULL */
    struct vr_error *err;
    size_t parts;
};

static json_t *eval(const struct vr_expr *expr, struct evaluation *ev);

/* What a recipe of few lines can double over and over ends here. */
static json_t *refuse_size(const struct vr_expr *expr, struct vr_error *err)
{
    vr_error_set(err, "size", "a value of more than %d MiB or %d elements", LONGEST_TEXT >> 20,
                 VR_EXPR_LARGEST);
    vr_error_place(err, expr->file, expr->line);
    return NULL;
}

static json_t *check_size(const struct vr_expr *expr, json_t *value, struct vr_error *err)
{
    if (json_string_length(value) <= LONGEST_TEXT && json_array_size(value) <= VR_EXPR_LARGEST)
        return value;
    json_decref(value);
    return refuse_size(expr, err);
}

/* About as many bytes as the value has when it is written out; stops counting above `most`. */
static size_t measure(const json_t *value, size_t most)
{
    size_t size = 8 + json_string_length(value);
    for (void *at = json_object_iter((json_t *)value); at && size <= most;
         at = json_object_iter_next((json_t *)value, at))
        size += strlen(json_object_iter_key(at)) + measure(json_object_iter_value(at), most - size);
    for (size_t i = 0; i < json_array_size(value) && size <= most; i++)
        size += measure(json_array_get(value, i), most - size);
    return size;
}

/* The text of an expression up to the first `steps` of its path. */
static char *text_of(const struct vr_expr *expr, size_t steps)
{
    struct vr_expr part = *expr;
    part.path = json_array();
    for (size_t i = 0; i < steps; i++)
        json_array_append(part.path, json_array_get(expr->path, i));
    char *text = vr_expr_text(&part);
    json_decref(part.path);
    return text;
}

static json_t *unknown_of(const struct vr_expr *expr, size_t steps)
{
    char *text = text_of(expr, steps);
    json_t *value = vr_unknown("%s", text);
    free(text);
    return value;
}

static json_t *refuse_step(const struct vr_expr *expr, size_t step, const json_t *value,
                           struct vr_error *err)
{
    char *owner = text_of(expr, step);
    const json_t *key = json_array_get(expr->path, step);
    if (json_is_string(key))
        vr_error_set(err, "path", "%s is %s and has no part '%s'", owner, vr_value_noun(value),
                     json_string_value(key));
    else if (json_is_array(value))
        vr_error_set(err, "path", "%s has %zu elements, so there is no [%" JSON_INTEGER_FORMAT "]",
                     owner, json_array_size(value), json_integer_value(key) + 1);
    else
        vr_error_set(err, "path", "%s is %s, not a list, so there is no [%" JSON_INTEGER_FORMAT "]",
                     owner, vr_value_noun(value), json_integer_value(key) + 1);
    vr_error_place(err, expr->file, expr->line);
    free(owner);
    return NULL;
}

/* Follows expr->path from step `from` into value, which is stolen. */
static json_t *follow(const struct vr_expr *expr, json_t *value, size_t from, bool partial,
                      struct vr_error *err)
{
    for (size_t i = from; i < json_array_size(expr->path); i++) {
        if (vr_is_unknown(value))
            return value;
        const json_t *step = json_array_get(expr->path, i);
        json_t *part = NULL;
        if (json_is_string(step) && json_is_object(value) && !vr_is_secret(value)) {
            part = json_object_get(value, json_string_value(step));
            if (part)
                json_incref(part);
            else
                part =
                    partial && i == 0 ? unknown_of(expr, json_array_size(expr->path)) : json_null();
        } else if (json_is_integer(step) && json_integer_value(step) >= 0) {
            part = json_incref(json_array_get(value, (size_t)json_integer_value(step)));
        }
        if (!part)
            refuse_step(expr, i, value, err);
        json_decref(value);
        if (!part)
            return NULL;
        value = part;
    }
    return value;
}

static json_t *eval_ref(const struct vr_expr *expr, struct evaluation *ev)
{
    const struct vr_lookup *lookup = ev->lookup;
    size_t steps = json_array_size(expr->path);
    bool partial = false;
    json_t *value = NULL;
    if (lookup && expr->type == VR_EXPR_REF && lookup->ref)
        value = lookup->ref(lookup->payload, expr->decl, steps == 0, &partial);
    else if (lookup && expr->type == VR_EXPR_ITEM && lookup->item)
        value = lookup->item(lookup->payload, expr->scope, steps == 0, &partial);
    if (!value)
        return unknown_of(expr, steps);
    value = follow(expr, value, 0, partial, ev->err);
    /* whatever a provider forgot: what its kind calls a secret is one */
    return value && expr->tainted ? vr_secret_wrap(value) : value;
}

static json_t *eval_items(const struct vr_expr *expr, struct evaluation *ev)
{
    json_t *list = expr->keys ? json_object() : json_array();
    for (size_t i = 0; i < expr->count; i++) {
        json_t *value = eval(expr->items[i], ev);
        if (!value) {
            json_decref(list);
            return NULL;
        }
        if (expr->keys)
            json_object_set_new(list, expr->keys[i], value);
        else
            json_array_append_new(list, value);
    }
    return list;
}

static json_t *eval_member(const struct vr_expr *gather, size_t index, struct evaluation *ev)
{
    const struct vr_lookup *lookup = ev->lookup;
    if (lookup->enter)
        lookup->enter(lookup->payload, gather->scope, index);
    json_t *value = eval(gather->items[0], ev);
    if (lookup->enter)
        lookup->enter(lookup->payload, gather->scope, SIZE_MAX);
    return value;
}

static size_t count_members(const struct vr_expr *gather, const struct vr_lookup *lookup)
{
    return lookup && lookup->members ? lookup->members(lookup->payload, gather->scope) : SIZE_MAX;
}

static json_t *eval_gather(const struct vr_expr *expr, struct evaluation *ev)
{
    size_t count = count_members(expr, ev->lookup);
    if (count == SIZE_MAX)
        return unknown_of(expr, 0);
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        json_t *value = eval_member(expr, i, ev);
        if (!value) {
            json_decref(list);
            return NULL;
        }
        json_array_append_new(list, value);
    }
    return list;
}

/* `each(...)[1].x` looks at the first member only. */
static json_t *eval_index(const struct vr_expr *expr, struct evaluation *ev)
{
    const struct vr_expr *of = expr->items[0];
    const json_t *step = json_array_get(expr->path, 0);
    if (of->type == VR_EXPR_GATHER && !of->secret && json_is_integer(step) &&
        json_integer_value(step) >= 0) {
        size_t count = count_members(of, ev->lookup);
        if (count == SIZE_MAX)
            return unknown_of(expr, json_array_size(expr->path));
        if ((size_t)json_integer_value(step) < count) {
            json_t *value = eval_member(of, (size_t)json_integer_value(step), ev);
            return value ? follow(expr, value, 1, false, ev->err) : NULL;
        }
        char *text = vr_expr_text(of);
        vr_error_set(ev->err, "path",
                     "%s has %zu elements, so there is no [%" JSON_INTEGER_FORMAT "]", text, count,
                     json_integer_value(step) + 1);
        vr_error_place(ev->err, expr->file, expr->line);
        free(text);
        return NULL;
    }
    json_t *value = eval(of, ev);
    return value ? follow(expr, value, 0, false, ev->err) : NULL;
}

static json_t *refuse_join(const struct vr_expr *expr, const json_t *value, struct vr_error *err)
{
    char *text = vr_expr_text(expr);
    vr_error_set(err, "join", "%s is %s, which has no text to join", text, vr_value_noun(value));
    if (json_is_array(value))
        vr_error_hint(err, "use join(list, \", \"), json(value) or yaml(value)");
    else if (json_is_object(value))
        vr_error_hint(
            err, "name the part that you mean, such as .id, or use json(value) or yaml(value)");
    vr_error_place(err, expr->file, expr->line);
    free(text);
    return NULL;
}

static json_t *eval_join(const struct vr_expr *expr, struct evaluation *ev)
{
    struct vr_buf buf = {0};
    json_t *unknown = NULL;
    bool secret = false, ok = true;
    for (size_t i = 0; ok && i < expr->count; i++) {
        json_t *value =
            buf.length <= LONGEST_TEXT ? eval(expr->items[i], ev) : refuse_size(expr, ev->err);
        secret |= vr_is_secret(value);
        if (!value)
            ok = false;
        else if (vr_is_unknown(value))
            unknown = unknown ? unknown : json_incref(value);
        else if (!vr_value_join(&buf, value))
            ok = refuse_join(expr->items[i], value, ev->err) != NULL;
        json_decref(value);
    }
    json_t *result = NULL;
    const char *text = buf.data ? buf.data : "";
    if (ok && unknown)
        result = json_incref(unknown);
    else if (ok)
        result = secret ? vr_secret(text, buf.length) : json_stringn_nocheck(text, buf.length);
    json_decref(unknown);
    vr_buf_free(&buf);
    return result;
}

static json_t *find_first_unknown(json_t *value)
{
    if (vr_is_unknown(value))
        return value;
    json_t *found = NULL;
    if (json_is_object(value)) {
        for (void *at = json_object_iter(value); at && !found;
             at = json_object_iter_next(value, at))
            found = find_first_unknown(json_object_iter_value(at));
    } else {
        for (size_t i = 0; i < json_array_size(value) && !found; i++)
            found = find_first_unknown(json_array_get(value, i));
    }
    return found;
}

/* An argument's unknown that stops the call: anywhere inside, or at the top for functions that only
 * move parts. */
static json_t *blocking_unknown(json_t *args, bool moves)
{
    if (!moves)
        return find_first_unknown(args);
    for (size_t i = 0; i < json_array_size(args); i++) {
        if (vr_is_unknown(json_array_get(args, i)))
            return json_array_get(args, i);
    }
    return NULL;
}

static json_t *eval_call(const struct vr_expr *expr, struct evaluation *ev)
{
    const struct vr_function *function = expr->function;
    json_t *args = eval_items(expr, ev);
    if (!args)
        return NULL;
    if (!function->moves && measure(args, LONGEST_TEXT) > LONGEST_TEXT) {
        json_decref(args);
        return refuse_size(expr, ev->err);
    }
    json_t *unknown = blocking_unknown(args, function->moves);
    if (unknown) {
        json_incref(unknown);
        json_decref(args);
        return unknown;
    }
    bool secret = false;
    if (function->moves) { /* an argument that is a secret as a whole is looked into */
        for (size_t i = 0; i < json_array_size(args); i++)
            secret |= vr_is_secret(json_array_get(args, i));
    } else {
        secret = vr_has_secret(args);
    }
    if (secret)
        args = vr_secret_unwrap(args);
    struct vr_error inner = {0};
    json_t *result = function->call(args, &inner);
    json_decref(args);
    if (!result) {
        /* the function's text may quote its arguments */
        vr_error_set(ev->err, "function", "%s: %s", function->name,
                     secret && inner.message ? "refuses its arguments, which are secret"
                                             : inner.message);
        if (inner.hint && !secret)
            vr_error_hint(ev->err, "%s", inner.hint);
        vr_error_place(ev->err, expr->file, expr->line);
        vr_error_clear(&inner);
        return NULL;
    }
    result = check_size(expr, result, ev->err);
    return result && secret ? vr_secret_wrap(result) : result;
}

static json_t *eval(const struct vr_expr *expr, struct evaluation *ev)
{
    if (++ev->parts > VR_EXPR_LARGEST)
        return refuse_size(expr, ev->err);
    json_t *value = NULL;
    switch (expr->type) {
    case VR_EXPR_LITERAL:
        value = json_incref(expr->value);
        break;
    case VR_EXPR_ARRAY:
    case VR_EXPR_OBJECT:
        value = eval_items(expr, ev);
        break;
    case VR_EXPR_REF:
    case VR_EXPR_ITEM:
        value = eval_ref(expr, ev);
        break;
    case VR_EXPR_INDEX:
        value = eval_index(expr, ev);
        break;
    case VR_EXPR_JOIN:
        value = eval_join(expr, ev);
        break;
    case VR_EXPR_CALL:
        value = eval_call(expr, ev);
        break;
    case VR_EXPR_GATHER:
        value = eval_gather(expr, ev);
        break;
    }
    return value && expr->secret ? vr_secret_wrap(value) : value;
}

bool vr_expr_too_large(const struct vr_expr *expr, struct vr_error *err)
{
    if (expr->depth > VR_EXPR_DEEPEST) {
        vr_error_set(err, "size", "an expression of more than %d parts inside each other",
                     VR_EXPR_DEEPEST);
        vr_error_hint(err, "build long texts with a list and join(list, \"\")");
        vr_error_place(err, expr->file, expr->line);
    } else if (expr->parts > VR_EXPR_LARGEST) {
        refuse_size(expr, err);
    } else {
        return false;
    }
    return true;
}

json_t *vr_expr_eval(const struct vr_expr *expr, const struct vr_lookup *lookup,
                     struct vr_error *err)
{
    struct evaluation ev = {.lookup = lookup, .err = err};
    return vr_expr_too_large(expr, err) ? NULL : eval(expr, &ev);
}

/* What is needed */

/* The gathers around the place of the walk. */
struct gathering {
    const struct gathering *outer;
    struct vr_scope *scope;
    size_t member;
    bool named; /* something of its scope was visited */
};

struct walk {
    vr_expr_visit visit;
    void *payload;
};

static void tell(const struct walk *walk, const struct vr_expr *expr, struct vr_decl *decl,
                 struct vr_scope *scope, struct gathering *inside)
{
    struct vr_need need = {.decl = decl, .scope = scope, .member = SIZE_MAX, .expr = expr};
    struct vr_scope *of = decl ? decl->scope : scope;
    for (struct gathering *at = inside; of && at; at = (struct gathering *)at->outer) {
        if (at->scope == of) {
            at->named = need.gathered = true;
            need.member = at->member;
            break;
        }
    }
    walk->visit(walk->payload, &need);
}

static void walk_refs(const struct walk *walk, const struct vr_expr *expr, struct gathering *inside,
                      size_t member)
{
    if (expr->constant)
        return;
    if (expr->type == VR_EXPR_REF) {
        tell(walk, expr, expr->decl, NULL, inside);
    } else if (expr->type == VR_EXPR_ITEM) {
        tell(walk, expr, NULL, expr->scope, inside);
    } else if (expr->type == VR_EXPR_GATHER) {
        struct gathering here = {inside, expr->scope, member, false};
        walk_refs(walk, expr->items[0], &here, SIZE_MAX);
        if (!here.named)
            tell(walk, expr, NULL, expr->scope, &here);
    } else {
        const json_t *step = expr->type == VR_EXPR_INDEX ? json_array_get(expr->path, 0) : NULL;
        bool picks =
            json_is_integer(step) && json_integer_value(step) >= 0 && !expr->items[0]->secret;
        for (size_t i = 0; i < expr->count; i++)
            walk_refs(walk, expr->items[i], inside,
                      picks ? (size_t)json_integer_value(step) : SIZE_MAX);
    }
}

void vr_expr_refs(const struct vr_expr *expr, vr_expr_visit visit, void *payload)
{
    struct walk walk = {visit, payload};
    if (expr->depth <= VR_EXPR_DEEPEST && expr->parts <= VR_EXPR_LARGEST)
        walk_refs(&walk, expr, NULL, SIZE_MAX);
}
