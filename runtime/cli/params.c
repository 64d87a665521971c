#include "cli/params.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "script/recipe.h"

static void give(json_t *given, const char *name, json_t *value, bool text, const char *from)
{
    json_object_set_new(given, name,
                        json_pack("{s:o, s:b, s:s}", "value", value, "text", text, "from", from));
}

static bool give_file(struct vr_provider *provider, json_t *given, const char *path,
                      struct vr_error *err)
{
    json_t *params = vr_recipe_params_file(provider, path, err);
    if (!params)
        return false;
    const char *name;
    json_t *value;
    const char *slash = strrchr(path, '/');
    json_object_foreach(params, name, value)
    {
        give(given, name, json_incref(value), false, path);
        if (slash) /* a path in the file is from where the file is */
            json_object_set_new(json_object_get(given, name), "folder",
                                json_stringn(path, (size_t)(slash - path + 1)));
    }
    json_decref(params);
    return true;
}

static bool give_beside(struct vr_provider *provider, json_t *given, const char *recipe,
                        const char *stack, struct vr_error *err)
{
    static const char *const endings[] = {"lua", "json", "yaml", "yml"};
    const char *slash = strrchr(recipe, '/');
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof(endings) / sizeof(endings[0]); i++) {
        char *path = vr_format("%.*s%s.params.%s", slash ? (int)(slash - recipe + 1) : 0, recipe,
                               stack, endings[i]);
        if (access(path, F_OK) == 0)
            ok = give_file(provider, given, path, err);
        free(path);
    }
    return ok;
}

/* name=@FILE: the text of a file, without its last line end; secrets are given like this. */
static bool give_from_file(json_t *given, const char *name, const char *path, struct vr_error *err)
{
    FILE *file = fopen(path, "r");
    char *text = NULL;
    size_t room = 0;
    ssize_t length = file ? getdelim(&text, &room, '\0', file) : -1;
    if (!file || (length < 0 && ferror(file))) {
        vr_error_system(err, errno, "parameter '%s': cannot read %s", name, path);
        free(text);
        if (file)
            fclose(file);
        return false;
    }
    fclose(file);
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\r'))
        length--;
    json_t *value = json_stringn(text ? text : "", length > 0 ? (size_t)length : 0);
    free(text);
    if (!value)
        return vr_error_set(err, "params", "parameter '%s': %s is not UTF-8 text", name, path);
    give(given, name, value, true, path);
    return true;
}

static bool give_word(json_t *given, const char *word, struct vr_error *err)
{
    const char *equals = strchr(word, '=');
    char *name = vr_strndup(word, (size_t)(equals - word));
    bool ok = true;
    if (equals[1] == '@') {
        ok = give_from_file(given, name, equals + 2, err);
    } else {
        json_t *value = json_string(equals + 1);
        if (value)
            give(given, name, value, true, "command line");
        else
            ok = vr_error_set(err, "params", "parameter '%s' is not UTF-8 text", name);
    }
    free(name);
    return ok;
}

json_t *vr_params_given(struct vr_provider *provider, const struct vr_args *args,
                        const char *recipe, const char *stack, struct vr_error *err)
{
    json_t *given = json_object();
    bool ok = give_beside(provider, given, recipe, stack, err);
    for (size_t i = 0; ok && i < args->params_files.count; i++)
        ok = give_file(provider, given, args->params_files.items[i], err);
    for (size_t i = 0; ok && i < args->params.count; i++)
        ok = give_word(given, args->params.items[i], err);
    if (ok)
        return given;
    json_decref(given);
    return NULL;
}

static bool is_unset(const struct vr_args *args, const char *name)
{
    for (size_t i = 0; i < args->unset.count; i++)
        if (strcmp(args->unset.items[i], name) == 0)
            return true;
    return false;
}

void vr_params_recall(json_t *given, const json_t *remembered, const struct vr_args *args)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)remembered, name, value)
    {
        if (!json_object_get(given, name) && !is_unset(args, name))
            give(given, name, json_incref(value), false, "the last apply");
    }
}

static const json_t *find(const json_t *told, const char *name)
{
    for (size_t i = 0; i < json_array_size(told); i++) {
        const json_t *param = json_array_get(told, i);
        if (strcmp(json_string_value(json_object_get(param, "name")), name) == 0)
            return param;
    }
    return NULL;
}

bool vr_params_compare(const json_t *told, const json_t *remembered, const struct vr_args *args,
                       struct vr_error *err)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)remembered, name, value)
    {
        const json_t *param = find(told, name);
        if (!param || json_is_true(json_object_get(param, "given")) || is_unset(args, name))
            continue;
        char *text = json_is_string(value) ? vr_strdup(json_string_value(value))
                                           : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
        vr_error_set(err, "params", "%s was %s; pass %s=%s or --unset %s", name, text, name, text,
                     name);
        free(text);
        return false;
    }
    return true;
}

json_t *vr_params_keep(const json_t *told)
{
    json_t *kept = json_object();
    for (size_t i = 0; i < json_array_size(told); i++) {
        const json_t *param = json_array_get(told, i);
        json_t *value = json_object_get(param, "value");
        if (value && json_is_true(json_object_get(param, "given")) &&
            !json_is_true(json_object_get(param, "secret")))
            json_object_set(kept, json_string_value(json_object_get(param, "name")), value);
    }
    return kept;
}
