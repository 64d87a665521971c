/* vmrun output: what the last apply gave out. --json has the shape of `terraform output -json`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "cli/show.h"
#include "engine/expr.h"

const struct vr_opt vr_output_options[] = {
    VR_OPT("raw", 'r', VR_OPT_FLAG, raw, NULL, "a text as it is, without quotes"),
    VR_OPT("reveal", 0, VR_OPT_FLAG, reveal, NULL,
           "fetch secrets from where they live, and show them"),
    VR_OPT_COMMON,
    VR_OPT_END,
};

static bool is_hidden(const json_t *value)
{
    return vr_is_secret(value) || json_object_get(value, "$digest");
}

/* Whether a value is a secret, or has one inside. */
static bool is_sensitive(const json_t *value)
{
    if (is_hidden(value))
        return true;
    if (json_is_array(value)) {
        for (size_t i = 0; i < json_array_size(value); i++)
            if (is_sensitive(json_array_get(value, i)))
                return true;
    } else if (json_is_object(value)) {
        const char *key;
        json_t *item;
        json_object_foreach((json_t *)value, key, item) if (is_sensitive(item)) return true;
    }
    return false;
}

/* A copy with secrets as their texts; those that are not known here as null. */
static json_t *opened(json_t *value)
{
    if (vr_is_secret(value))
        return json_string(vr_secret_text(value));
    if (is_hidden(value) || vr_is_unknown(value))
        return json_null();
    if (json_is_array(value)) {
        json_t *copy = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(copy, opened(json_array_get(value, i)));
        return copy;
    }
    if (json_is_object(value)) {
        json_t *copy = json_object(), *item;
        const char *key;
        json_object_foreach(value, key, item) json_object_set_new(copy, key, opened(item));
        return copy;
    }
    return json_incref(value);
}

/* Terraform's name of a value's type. */
static json_t *type_of(const json_t *value)
{
    if (json_is_string(value) || is_hidden(value))
        return json_string("string");
    if (json_is_boolean(value))
        return json_string("bool");
    if (json_is_number(value))
        return json_string("number");
    if (json_is_array(value)) {
        json_t *types = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(types, type_of(json_array_get(value, i)));
        return json_pack("[s, o]", "tuple", types);
    }
    if (json_is_object(value)) {
        json_t *types = json_object(), *item;
        const char *key;
        json_object_foreach((json_t *)value, key, item)
            json_object_set_new(types, key, type_of(item));
        return json_pack("[s, o]", "object", types);
    }
    return json_string("dynamic");
}

static void put_json(const json_t *value)
{
    char *text = json_dumps(value, JSON_INDENT(2) | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    puts(text);
    free(text);
}

static void put_all_json(const json_t *outputs)
{
    json_t *told = json_object(), *value;
    const char *name;
    json_object_foreach((json_t *)outputs, name, value)
        json_object_set_new(told, name,
                            json_pack("{s:b, s:o, s:o}", "sensitive", is_sensitive(value), "type",
                                      type_of(value), "value", opened(value)));
    put_json(told);
    json_decref(told);
}

static void put_all(const json_t *outputs, bool reveal)
{
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)outputs, name, value)
    {
        json_t *shown = reveal ? opened(value) : json_incref(value);
        char *text = vr_show_value(shown, 0);
        printf("%s = %s\n", name, text);
        free(text);
        json_decref(shown);
    }
}

static int no_output(const json_t *outputs, const char *wanted, struct vr_error *err)
{
    const char *names[256], *name;
    size_t count = 0;
    json_t *value;
    json_object_foreach((json_t *)outputs, name, value) if (count < 256) names[count++] = name;
    const char *near = vr_text_nearest(wanted, names, count);
    vr_error_set(err, "output", "there is no output '%s'", wanted);
    if (near)
        vr_error_hint(err, "did you mean '%s'?", near);
    else if (count == 0)
        vr_error_hint(err, "outputs are known after an apply");
    return VR_EXIT_ERROR;
}

static int put_one(struct vr_session *session, const json_t *outputs, const char *name,
                   struct vr_error *err)
{
    json_t *value = json_object_get(outputs, name);
    if (!value)
        return no_output(outputs, name, err);
    if (is_sensitive(value) && !session->args->reveal) {
        vr_error_set(err, "secret", "output '%s' is a secret", name);
        vr_error_hint(err, "--reveal fetches it from where it lives");
        return VR_EXIT_ERROR;
    }
    json_t *shown = opened(value);
    if (json_is_string(shown) && !session->args->json)
        printf("%s%s", json_string_value(shown), session->args->raw ? "" : "\n");
    else
        put_json(shown);
    json_decref(shown);
    return VR_EXIT_OK;
}

/* Secrets are not in the state: their homes are asked. */
static json_t *revealed(struct vr_session *session, struct vr_error *err)
{
    struct vr_plan_options options = {0};
    if (!vr_session_load(session, false, true, err) || !vr_session_target(session, err) ||
        !vr_session_plan(session, &options, err))
        return NULL;
    return vr_session_outputs(session);
}

static int output(struct vr_session *session, struct vr_error *err)
{
    if (!vr_session_open(session, VR_MODE_LOOK, err))
        return VR_EXIT_ERROR;
    json_t *outputs =
        session->args->reveal ? revealed(session, err) : vr_state_meta(session->state, "outputs");
    if (err->message)
        return VR_EXIT_ERROR;
    if (!outputs)
        outputs = json_object();
    int code = VR_EXIT_OK;
    if (session->args->words.count > 0)
        code = put_one(session, outputs, session->args->words.items[0], err);
    else if (session->args->json)
        put_all_json(outputs);
    else
        put_all(outputs, session->args->reveal);
    json_decref(outputs);
    return code;
}

int vr_cmd_output(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_output_options, output);
}
