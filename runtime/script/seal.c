#include "script/seal.h"

#include <stdlib.h>
#include <string.h>

#include "base/mask.h"
#include "engine/expr.h"
#include "script/value.h"

enum { SHORTEST = 6 }; /* what is shorter stands in too many texts by chance */

/* A copy for Lua: secrets as plain texts, without what is not known (nil in a table, null in a
 * list). */
static json_t *plain(const json_t *value)
{
    if (vr_is_unknown(value))
        return NULL;
    const char *secret = vr_secret_text(value);
    if (secret)
        return json_string(secret);
    if (json_is_array(value)) {
        json_t *copy = json_array();
        for (size_t i = 0; i < json_array_size(value); i++) {
            json_t *item = plain(json_array_get(value, i));
            json_array_append_new(copy, item ? item : json_null());
        }
        return copy;
    }
    if (json_is_object(value)) {
        json_t *copy = json_object(), *item;
        const char *key;
        json_object_foreach((json_t *)value, key, item)
        {
            json_t *part = plain(item);
            if (part)
                json_object_set_new(copy, key, part);
        }
        return copy;
    }
    return json_incref((json_t *)value);
}

void vr_seal_push(lua_State *L, const json_t *value)
{
    json_t *copy = value ? plain(value) : NULL;
    if (json_is_object(copy)) {
        const char *key;
        json_t *item;
        void *next;
        json_object_foreach_safe(copy, next, key, item)
        {
            if (json_is_null(item))
                json_object_del(copy, key);
        }
    }
    if (copy)
        vr_value_push(L, copy);
    else
        lua_pushnil(L);
    json_decref(copy);
}

void vr_seal_collect(const json_t *value, json_t *found)
{
    const char *secret = vr_secret_text(value);
    if (secret) {
        if (strlen(secret) >= SHORTEST)
            json_array_append_new(found, json_string(secret));
        vr_mask_find(secret, strlen(secret), SHORTEST, found);
        return;
    }
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++)
            vr_seal_collect(json_array_get(value, i), found);
    } else if (json_is_object(value)) {
        const char *key;
        json_t *item;
        json_object_foreach((json_t *)value, key, item) vr_seal_collect(item, found);
    }
}

static bool holds_secret(const char *text, const json_t *secrets)
{
    for (size_t i = 0; i < json_array_size(secrets); i++)
        if (strstr(text, json_string_value(json_array_get(secrets, i))))
            return true;
    return false;
}

static json_t *sealed(json_t *text)
{
    return json_pack("{s:O}", "$secret", text);
}

/* A copy in which each text that holds a secret is one. */
json_t *vr_seal_known(json_t *value, const json_t *secrets)
{
    if (json_is_string(value))
        return holds_secret(json_string_value(value), secrets) ? sealed(value) : json_incref(value);
    if (vr_is_secret(value))
        return json_incref(value);
    if (json_is_array(value)) {
        json_t *copy = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(copy, vr_seal_known(json_array_get(value, i), secrets));
        return copy;
    }
    if (json_is_object(value)) {
        json_t *copy = json_object(), *item;
        const char *key;
        json_object_foreach(value, key, item)
            json_object_set_new(copy, key, vr_seal_known(item, secrets));
        return copy;
    }
    return json_incref(value);
}

/* A copy sealed as a described type says ({"type", "secret", "elem", "fields"}). */
json_t *vr_seal_typed(json_t *value, const json_t *type)
{
    if (!type || vr_is_secret(value) || json_is_null(value))
        return json_incref(value);
    if (json_is_true(json_object_get(type, "secret"))) {
        if (json_is_string(value)) {
            vr_mask_secret(json_string_value(value), json_string_length(value));
            return sealed(value);
        }
        char *text = json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY);
        vr_mask_secret(text, strlen(text));
        json_t *secret = json_pack("{s:s}", "$secret", text);
        free(text);
        return secret;
    }
    const json_t *elem = json_object_get(type, "elem"), *fields = json_object_get(type, "fields");
    if (json_is_array(value) && elem) {
        json_t *copy = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(copy, vr_seal_typed(json_array_get(value, i), elem));
        return copy;
    }
    if (json_is_object(value) && (elem || fields)) {
        json_t *copy = json_object(), *item;
        const char *key;
        json_object_foreach(value, key, item) json_object_set_new(
            copy, key, vr_seal_typed(item, elem ? elem : json_object_get(fields, key)));
        return copy;
    }
    return json_incref(value);
}

/* Seals an object of values by name, by the types of those names. */
void vr_seal_part(json_t *result, const char *part, const json_t *types, const json_t *secrets)
{
    json_t *values = json_object_get(result, part), *item;
    if (!json_is_object(values))
        return;
    json_t *copy = json_object();
    const char *key;
    json_object_foreach(values, key, item)
    {
        json_t *typed = vr_seal_typed(item, json_object_get(types, key));
        json_object_set_new(copy, key, vr_seal_known(typed, secrets));
        json_decref(typed);
    }
    json_object_set_new(result, part, copy);
}
