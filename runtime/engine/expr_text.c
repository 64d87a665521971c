/* An expression as a person would write it. */
#include <ctype.h>
#include <stdlib.h>

#include "engine/decl.h"
#include "engine/expr.h"
#include "engine/function.h"

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
    if (buf->length > LONGEST_SHOWN)
        return;
    if (vr_is_secret(value)) {
        vr_buf_puts(buf, "(secret)");
    } else if (vr_is_unknown(value)) {
        vr_buf_puts(buf, "(unknown)");
    } else if (json_is_string(value)) {
        print_string(buf, json_string_value(value));
    } else if (json_is_number(value)) {
        vr_value_join(buf, value);
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
