/* What the functions take and give. */
#include "engine/function_internal.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/text.h"
#include "engine/expr.h"

enum { LONGEST_TEXT = 64 << 20 };

bool vr_refuse(const json_t *args, size_t i, const char *want, struct vr_error *err)
{
    const json_t *value = json_array_get(args, i);
    return vr_error_set(err, "function", "argument %zu wants %s, got %s", i + 1, want,
                        value ? vr_value_noun(value) : "nothing");
}

const char *vr_text_arg(const json_t *args, size_t i, struct vr_error *err)
{
    const json_t *value = json_array_get(args, i);
    if (!json_is_string(value))
        vr_refuse(args, i, "a text", err);
    return json_string_value(value);
}

bool vr_integer_arg(const json_t *args, size_t i, json_int_t *out, struct vr_error *err)
{
    const json_t *value = json_array_get(args, i);
    if (!json_is_integer(value))
        return vr_refuse(args, i, "an integer", err);
    *out = json_integer_value(value);
    return true;
}

json_t *vr_list_arg(const json_t *args, size_t i, struct vr_error *err)
{
    json_t *value = json_array_get(args, i);
    if (json_is_array(value))
        return value;
    vr_refuse(args, i, "a list", err);
    return NULL;
}

json_t *vr_object_arg(const json_t *args, size_t i, struct vr_error *err)
{
    json_t *value = json_array_get(args, i);
    if (json_is_object(value) && !vr_is_secret(value) && !vr_is_unknown(value))
        return value;
    vr_refuse(args, i, "a table", err);
    return NULL;
}

bool vr_too_long(const struct vr_buf *buf, struct vr_error *err)
{
    return buf->length > LONGEST_TEXT &&
           !vr_error_set(err, "function", "a text of more than %d MiB", LONGEST_TEXT >> 20);
}

json_t *vr_give_buf(struct vr_buf *buf)
{
    json_t *text = json_stringn_nocheck(buf->data ? buf->data : "", buf->length);
    vr_buf_free(buf);
    return text;
}

json_t *vr_give_or_free(struct vr_buf *buf, bool give)
{
    if (give)
        return vr_give_buf(buf);
    vr_buf_free(buf);
    return NULL;
}

json_t *vr_give_text(char *text)
{
    json_t *value = json_string(text);
    free(text);
    return value;
}

const char *vr_nearest_key(const json_t *object, const char *name)
{
    size_t count = 0;
    const char **keys = vr_alloc(json_object_size(object) * sizeof(*keys));
    for (void *at = json_object_iter((json_t *)object); at;
         at = json_object_iter_next((json_t *)object, at))
        keys[count++] = json_object_iter_key(at);
    const char *near = vr_text_nearest(name, keys, count);
    free(keys);
    return near;
}
