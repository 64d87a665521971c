/* Trees are built from the leaves, so whether one is constant or tainted, and how deep it is, is
 * known when it is made.
 *
 * Evaluating passes secrets as {"$secret": ...} and unknowns as {"$unknown": ...}. A function sees
 * neither: with an unknown argument there is no call, and secrets are laid open for it and its
 * whole result is wrapped again. Functions that only move parts around are the exception; they get
 * the values as they are. */
#include "engine/expr.h"

#include <assert.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
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

/* Values */

json_t *vr_unknown(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    char *text = NULL;
    json_t *why = vasprintf(&text, format, args) < 0 ? NULL : json_string(text);
    va_end(args);
    free(text);
    return json_pack("{so}", "$unknown", why ? why : json_string("?"));
}

bool vr_is_unknown(const json_t *value)
{
    return json_object_get(value, "$unknown") != NULL;
}

const char *vr_secret_text(const json_t *value)
{
    return json_string_value(json_object_get(value, "$secret"));
}

bool vr_is_secret(const json_t *value)
{
    return vr_secret_text(value) != NULL;
}

static bool has(const json_t *value, bool (*is)(const json_t *value))
{
    if (is(value))
        return true;
    if (json_is_object(value)) {
        const char *key;
        json_t *part;
        json_object_foreach((json_t *)value, key, part)
        {
            if (has(part, is))
                return true;
        }
    } else {
        size_t count = json_array_size(value);
        for (size_t i = 0; i < count; i++) {
            if (has(json_array_get(value, i), is))
                return true;
        }
    }
    return false;
}

bool vr_has_unknown(const json_t *value)
{
    return has(value, vr_is_unknown);
}

bool vr_has_secret(const json_t *value)
{
    return has(value, vr_is_secret);
}

static void find_unknown(const json_t *value, json_t *path, json_t *paths)
{
    if (vr_is_unknown(value)) {
        json_array_append_new(paths, json_copy(path));
    } else if (json_is_object(value)) {
        const char *key;
        json_t *part;
        json_object_foreach((json_t *)value, key, part)
        {
            json_array_append_new(path, json_string(key));
            find_unknown(part, path, paths);
            json_array_remove(path, json_array_size(path) - 1);
        }
    } else {
        for (size_t i = 0; i < json_array_size(value); i++) {
            json_array_append_new(path, json_integer((json_int_t)i));
            find_unknown(json_array_get(value, i), path, paths);
            json_array_remove(path, json_array_size(path) - 1);
        }
    }
}

json_t *vr_unknown_paths(const json_t *value)
{
    json_t *paths = json_array(), *path = json_array();
    find_unknown(value, path, paths);
    json_decref(path);
    return paths;
}

/* The text of a number as Lua's `..` writes it. */
static const char *number_text(const json_t *value, char *text, size_t size)
{
    if (json_is_integer(value)) {
        snprintf(text, size, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    } else {
        snprintf(text, size, "%.14g", json_real_value(value));
        if (!text[strcspn(text, ".eEni")])
            strcat(text, ".0");
    }
    return text;
}

bool vr_value_join(struct vr_buf *buf, const json_t *value)
{
    char number[64];
    if (vr_is_secret(value))
        value = json_object_get(value, "$secret");
    if (json_is_string(value))
        vr_buf_add(buf, json_string_value(value), json_string_length(value));
    else if (json_is_number(value))
        vr_buf_puts(buf, number_text(value, number, sizeof(number)));
    else if (json_is_boolean(value))
        vr_buf_puts(buf, json_is_true(value) ? "true" : "false");
    else
        return false;
    return true;
}

const char *vr_value_noun(const json_t *value)
{
    if (vr_is_secret(value))
        return "a secret";
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "a table";
    case JSON_ARRAY:
        return "a list";
    case JSON_STRING:
        return "a text";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a truth value";
    default:
        return "null";
    }
}

static json_t *make_secret(const char *text, size_t length)
{
    return json_pack("{so}", "$secret", json_stringn_nocheck(text, length));
}

/* A copy of value in which all texts and numbers are secrets. Steals value. */
static json_t *wrap(json_t *value)
{
    char number[64];
    json_t *wrapped;
    if (vr_is_secret(value) || vr_is_unknown(value) || json_is_boolean(value) ||
        json_is_null(value))
        return value;
    if (json_is_string(value)) {
        wrapped = make_secret(json_string_value(value), json_string_length(value));
    } else if (json_is_number(value)) {
        number_text(value, number, sizeof(number));
        wrapped = make_secret(number, strlen(number));
    } else if (json_is_object(value)) {
        const char *key;
        json_t *part;
        wrapped = json_object();
        json_object_foreach(value, key, part)
            json_object_set_new(wrapped, key, wrap(json_incref(part)));
    } else {
        wrapped = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(wrapped, wrap(json_incref(json_array_get(value, i))));
    }
    json_decref(value);
    return wrapped;
}

/* A copy of value in which all secrets are plain texts. Steals value. */
static json_t *unwrap(json_t *value)
{
    json_t *plain;
    if (vr_is_secret(value)) {
        plain = json_incref(json_object_get(value, "$secret"));
    } else if (json_is_object(value)) {
        const char *key;
        json_t *part;
        plain = json_object();
        json_object_foreach(value, key, part)
            json_object_set_new(plain, key, unwrap(json_incref(part)));
    } else if (json_is_array(value)) {
        plain = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(plain, unwrap(json_incref(json_array_get(value, i))));
    } else {
        return value;
    }
    json_decref(value);
    return plain;
}

/* Constructors */

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

/* As text */

enum { LONGEST_SHOWN = 500 };

static bool is_name(const char *text)
{
    if (!isalpha((unsigned char)*text) && *text != '_')
        return false;
    for (; *text; text++) {
        if (!isalnum((unsigned char)*text) && *text != '_')
            return false;
    }
    return true;
}

static void print_string(struct vr_buf *buf, const char *text)
{
    json_t *string = json_string(text);
    char *quoted = json_dumps(string, JSON_ENCODE_ANY);
    vr_buf_puts(buf, quoted);
    free(quoted);
    json_decref(string);
}

/* Positions are counted from 1, as recipes do. */
static void print_path(struct vr_buf *buf, const json_t *path)
{
    for (size_t i = 0; i < json_array_size(path); i++) {
        const json_t *step = json_array_get(path, i);
        if (json_is_integer(step)) {
            vr_buf_printf(buf, "[%" JSON_INTEGER_FORMAT "]", json_integer_value(step) + 1);
        } else if (is_name(json_string_value(step))) {
            vr_buf_printf(buf, ".%s", json_string_value(step));
        } else {
            vr_buf_puts(buf, "[");
            print_string(buf, json_string_value(step));
            vr_buf_puts(buf, "]");
        }
    }
}

static void print_key(struct vr_buf *buf, const char *key)
{
    if (is_name(key)) {
        vr_buf_puts(buf, key);
    } else {
        vr_buf_puts(buf, "[");
        print_string(buf, key);
        vr_buf_puts(buf, "]");
    }
    vr_buf_puts(buf, " = ");
}

static void print_value(struct vr_buf *buf, const json_t *value)
{
    char number[64];
    if (buf->length > LONGEST_SHOWN)
        return;
    if (vr_is_secret(value)) {
        vr_buf_puts(buf, "(secret)");
    } else if (vr_is_unknown(value)) {
        vr_buf_puts(buf, "(unknown)");
    } else if (json_is_string(value)) {
        print_string(buf, json_string_value(value));
    } else if (json_is_number(value)) {
        vr_buf_puts(buf, number_text(value, number, sizeof(number)));
    } else if (json_is_object(value)) {
        const char *key;
        json_t *part;
        const char *before = "{ ";
        json_object_foreach((json_t *)value, key, part)
        {
            vr_buf_puts(buf, before);
            print_key(buf, key);
            print_value(buf, part);
            before = ", ";
        }
        vr_buf_puts(buf, json_object_size(value) ? " }" : "{}");
    } else if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++) {
            vr_buf_puts(buf, i ? ", " : "{ ");
            print_value(buf, json_array_get(value, i));
        }
        vr_buf_puts(buf, json_array_size(value) ? " }" : "{}");
    } else {
        vr_buf_puts(buf, json_is_true(value) ? "true" : json_is_false(value) ? "false" : "null");
    }
}

static void print(struct vr_buf *buf, const struct vr_expr *expr);

static void print_items(struct vr_buf *buf, const struct vr_expr *expr, const char *separator)
{
    for (size_t i = 0; i < expr->count; i++) {
        if (i)
            vr_buf_puts(buf, separator);
        if (expr->keys)
            print_key(buf, expr->keys[i]);
        print(buf, expr->items[i]);
    }
}

static void print(struct vr_buf *buf, const struct vr_expr *expr)
{
    if (buf->length > LONGEST_SHOWN)
        return;
    if (expr->secret && expr->constant) {
        vr_buf_puts(buf, "(secret)");
        return;
    }
    switch (expr->type) {
    case VR_EXPR_LITERAL:
        print_value(buf, expr->value);
        break;
    case VR_EXPR_ARRAY:
    case VR_EXPR_OBJECT:
        vr_buf_puts(buf, expr->count ? "{ " : "{}");
        print_items(buf, expr, ", ");
        vr_buf_puts(buf, expr->count ? " }" : "");
        break;
    case VR_EXPR_REF:
        vr_buf_puts(buf, expr->decl->address);
        print_path(buf, expr->path);
        break;
    case VR_EXPR_ITEM:
        vr_buf_printf(buf, "%s.%s[*]", expr->scope->collection->address,
                      expr->scope->collection->kind->collection);
        print_path(buf, expr->path);
        break;
    case VR_EXPR_INDEX:
        print(buf, expr->items[0]);
        print_path(buf, expr->path);
        break;
    case VR_EXPR_JOIN:
        print_items(buf, expr, " .. ");
        break;
    case VR_EXPR_CALL:
        vr_buf_printf(buf, "%s(", expr->function->name);
        print_items(buf, expr, ", ");
        vr_buf_puts(buf, ")");
        break;
    case VR_EXPR_GATHER:
        vr_buf_printf(buf, "each(%s.%s, ", expr->scope->collection->address,
                      expr->scope->collection->kind->collection);
        print_items(buf, expr, ", ");
        vr_buf_puts(buf, ")");
        break;
    }
}

/* Not in the middle of a letter. */
static void shorten(struct vr_buf *buf)
{
    size_t length = LONGEST_SHOWN;
    while (length > 0 && ((unsigned char)buf->data[length] & 0xc0) == 0x80)
        length--;
    buf->length = length;
    vr_buf_puts(buf, "...");
}

char *vr_expr_text(const struct vr_expr *expr)
{
    struct vr_buf buf = {0};
    if (expr->depth > VR_EXPR_DEEPEST)
        vr_buf_puts(&buf, "...");
    else
        print(&buf, expr);
    if (buf.length > LONGEST_SHOWN)
        shorten(&buf);
    return vr_buf_steal(&buf);
}

/* Evaluation */

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
    return value && expr->tainted ? wrap(value) : value;
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
        result = secret ? make_secret(text, buf.length) : json_stringn_nocheck(text, buf.length);
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
        args = unwrap(args);
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
    return result && secret ? wrap(result) : result;
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
    return value && expr->secret ? wrap(value) : value;
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
