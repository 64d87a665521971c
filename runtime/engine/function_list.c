/* Functions of lists and tables. */
#include "engine/function_internal.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/map.h"

enum { MOST_ELEMENTS = 100000 };

json_t *vr_f_concat(const json_t *args, struct vr_error *err)
{
    json_t *all = json_array();
    for (size_t i = 0; i < json_array_size(args); i++) {
        if (json_is_null(json_array_get(args, i)))
            continue;
        json_t *list = vr_list_arg(args, i, err);
        if (!list) {
            json_decref(all);
            return NULL;
        }
        json_array_extend(all, list);
    }
    return all;
}

json_t *vr_f_merge(const json_t *args, struct vr_error *err)
{
    json_t *all = json_object();
    for (size_t i = 0; i < json_array_size(args); i++) {
        if (json_is_null(json_array_get(args, i)))
            continue;
        json_t *object = vr_object_arg(args, i, err);
        if (!object) {
            json_decref(all);
            return NULL;
        }
        json_object_update(all, object);
    }
    return all;
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* The keys of an object in order; the caller frees the array. */
static const char **sorted_keys(json_t *object, size_t *count)
{
    const char **keys = vr_alloc(json_object_size(object) * sizeof(*keys));
    *count = 0;
    for (void *at = json_object_iter(object); at; at = json_object_iter_next(object, at))
        keys[(*count)++] = json_object_iter_key(at);
    qsort(keys, *count, sizeof(*keys), compare_keys);
    return keys;
}

json_t *vr_f_keys(const json_t *args, struct vr_error *err)
{
    json_t *object = vr_object_arg(args, 0, err), *list = object ? json_array() : NULL;
    size_t count = 0;
    const char **keys = object ? sorted_keys(object, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list, json_string(keys[i]));
    free(keys);
    return list;
}

json_t *vr_f_values(const json_t *args, struct vr_error *err)
{
    json_t *object = vr_object_arg(args, 0, err), *list = object ? json_array() : NULL;
    size_t count = 0;
    const char **keys = object ? sorted_keys(object, &count) : NULL;
    for (size_t i = 0; i < count; i++)
        json_array_append(list, json_object_get(object, keys[i]));
    free(keys);
    return list;
}

json_t *vr_f_length(const json_t *args, struct vr_error *err)
{
    json_t *value = json_array_get(args, 0);
    if (json_is_array(value))
        return json_integer((json_int_t)json_array_size(value));
    if (json_is_object(value))
        return json_integer((json_int_t)json_object_size(value));
    if (!json_is_string(value)) {
        vr_refuse(args, 0, "a list, table or text", err);
        return NULL;
    }
    json_int_t letters = 0;
    for (const char *at = json_string_value(value); *at; at++)
        letters += ((unsigned char)*at & 0xc0) != 0x80;
    return json_integer(letters);
}

json_t *vr_f_lookup(const json_t *args, struct vr_error *err)
{
    json_t *object = vr_object_arg(args, 0, err);
    const char *key = object ? vr_text_arg(args, 1, err) : NULL;
    if (!key)
        return NULL;
    json_t *value = json_object_get(object, key);
    if (!value)
        value = json_array_get(args, 2);
    if (value)
        return json_incref(value);
    const char *near = vr_nearest_key(object, key);
    vr_error_set(err, "function", near ? "no key '%s'; did you mean '%s'?" : "no key '%s'", key,
                 near);
    vr_error_hint(err, "a third argument is given back for keys that are not there");
    return NULL;
}

json_t *vr_f_contains(const json_t *args, struct vr_error *err)
{
    json_t *in = json_array_get(args, 0), *what = json_array_get(args, 1);
    if (json_is_array(in)) {
        for (size_t i = 0; i < json_array_size(in); i++) {
            if (json_equal(json_array_get(in, i), what))
                return json_true();
        }
        return json_false();
    }
    if (!json_is_string(in) && !json_is_object(in)) {
        vr_refuse(args, 0, "a list, table or text", err);
        return NULL;
    }
    const char *text = vr_text_arg(args, 1, err);
    if (!text)
        return NULL;
    return json_boolean(json_is_string(in) ? strstr(json_string_value(in), text) != NULL
                                           : json_object_get(in, text) != NULL);
}

static json_t *element(const json_t *args, bool last, struct vr_error *err)
{
    json_t *list = vr_list_arg(args, 0, err);
    if (!list)
        return NULL;
    size_t count = json_array_size(list);
    if (count)
        return json_incref(json_array_get(list, last ? count - 1 : 0));
    vr_error_set(err, "function", "the list is empty");
    return NULL;
}

json_t *vr_f_first(const json_t *args, struct vr_error *err)
{
    return element(args, false, err);
}

json_t *vr_f_last(const json_t *args, struct vr_error *err)
{
    return element(args, true, err);
}

json_t *vr_f_element(const json_t *args, struct vr_error *err)
{
    json_int_t n;
    json_t *list = vr_list_arg(args, 0, err);
    if (!list || !vr_integer_arg(args, 1, &n, err))
        return NULL;
    size_t count = json_array_size(list);
    if (n >= 1 && count)
        return json_incref(json_array_get(list, (size_t)(n - 1) % count));
    vr_error_set(err, "function", count ? "positions begin with 1" : "the list is empty");
    return NULL;
}

json_t *vr_f_range(const json_t *args, struct vr_error *err)
{
    json_int_t from = 1, to, step = 1;
    size_t count = json_array_size(args);
    if (count > 1 && !vr_integer_arg(args, 0, &from, err))
        return NULL;
    if (!vr_integer_arg(args, count > 1, &to, err) ||
        (count > 2 && !vr_integer_arg(args, 2, &step, err)))
        return NULL;
    if (step == 0) {
        vr_error_set(err, "function", "a step of 0 never ends");
        return NULL;
    }
    json_t *list = json_array();
    while (step > 0 ? from <= to : from >= to) {
        if (json_array_size(list) == MOST_ELEMENTS) {
            json_decref(list);
            vr_error_set(err, "function", "more than %d elements", MOST_ELEMENTS);
            return NULL;
        }
        json_array_append_new(list, json_integer(from));
        if (__builtin_add_overflow(from, step, &from))
            break;
    }
    return list;
}

static void flatten_into(json_t *all, json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *part = json_array_get(list, i);
        if (json_is_array(part))
            flatten_into(all, part);
        else
            json_array_append(all, part);
    }
}

json_t *vr_f_flatten(const json_t *args, struct vr_error *err)
{
    json_t *list = vr_list_arg(args, 0, err), *all = list ? json_array() : NULL;
    if (list)
        flatten_into(all, list);
    return all;
}

json_t *vr_f_distinct(const json_t *args, struct vr_error *err)
{
    json_t *list = vr_list_arg(args, 0, err), *all = list ? json_array() : NULL;
    struct vr_map seen = {0};
    for (size_t i = 0; i < json_array_size(list); i++) {
        char *text =
            json_dumps(json_array_get(list, i), JSON_ENCODE_ANY | JSON_SORT_KEYS | JSON_COMPACT);
        if (vr_map_get(&seen, text)) {
            free(text);
            continue;
        }
        vr_map_set(&seen, text, text);
        json_array_append(all, json_array_get(list, i));
    }
    size_t cursor = 0;
    for (void *text; (text = vr_map_next(&seen, &cursor, NULL));)
        free(text);
    vr_map_free(&seen);
    return all;
}

static int compare_values(const void *x, const void *y)
{
    const json_t *a = *(json_t *const *)x, *b = *(json_t *const *)y;
    if (json_is_string(a))
        return strcmp(json_string_value(a), json_string_value(b));
    if (json_is_integer(a) && json_is_integer(b))
        return (json_integer_value(a) > json_integer_value(b)) -
               (json_integer_value(a) < json_integer_value(b));
    return (json_number_value(a) > json_number_value(b)) -
           (json_number_value(a) < json_number_value(b));
}

json_t *vr_f_sort(const json_t *args, struct vr_error *err)
{
    json_t *list = vr_list_arg(args, 0, err);
    if (!list)
        return NULL;
    size_t count = json_array_size(list), texts = 0, numbers = 0;
    json_t **items = vr_alloc(count * sizeof(*items));
    for (size_t i = 0; i < count; i++) {
        items[i] = json_array_get(list, i);
        texts += json_is_string(items[i]);
        numbers += json_is_number(items[i]);
    }
    json_t *sorted = NULL;
    if (texts != count && numbers != count) {
        vr_error_set(err, "function", "only a list of texts or a list of numbers has an order");
    } else {
        qsort(items, count, sizeof(*items), compare_values);
        sorted = json_array();
        for (size_t i = 0; i < count; i++)
            json_array_append(sorted, items[i]);
    }
    free(items);
    return sorted;
}
