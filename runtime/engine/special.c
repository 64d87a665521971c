#include "engine/special.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mask.h"

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

json_t *vr_secret(const char *text, size_t length)
{
    return json_pack("{so}", "$secret", json_stringn_nocheck(text, length));
}

json_t *vr_secret_wrap(json_t *value)
{
    char number[64];
    json_t *wrapped;
    if (vr_is_secret(value) || vr_is_unknown(value) || json_is_boolean(value) ||
        json_is_null(value))
        return value;
    if (json_is_string(value)) {
        vr_mask_derived(json_string_value(value), json_string_length(value));
        wrapped = vr_secret(json_string_value(value), json_string_length(value));
    } else if (json_is_number(value)) {
        number_text(value, number, sizeof(number));
        wrapped = vr_secret(number, strlen(number));
    } else if (json_is_object(value)) {
        const char *key;
        json_t *part;
        wrapped = json_object();
        json_object_foreach(value, key, part)
            json_object_set_new(wrapped, key, vr_secret_wrap(json_incref(part)));
    } else {
        wrapped = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(wrapped, vr_secret_wrap(json_incref(json_array_get(value, i))));
    }
    json_decref(value);
    return wrapped;
}

json_t *vr_secret_unwrap(json_t *value)
{
    json_t *plain;
    if (vr_is_secret(value)) {
        plain = json_incref(json_object_get(value, "$secret"));
    } else if (json_is_object(value)) {
        const char *key;
        json_t *part;
        plain = json_object();
        json_object_foreach(value, key, part)
            json_object_set_new(plain, key, vr_secret_unwrap(json_incref(part)));
    } else if (json_is_array(value)) {
        plain = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(plain, vr_secret_unwrap(json_incref(json_array_get(value, i))));
    } else {
        return value;
    }
    json_decref(value);
    return plain;
}
