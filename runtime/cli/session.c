#include "cli/session.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "cli/cli.h"
#include "net/loop.h"
#include "script/host.h"
#include "script/provider.h"

static const double WIND_UP = 5;

/* --- names --- */

static char *stack_of(const char *path)
{
    const char *name = strrchr(path, '/');
    name = name ? name + 1 : path;
    size_t length = strlen(name);
    if (length > 4 && strcmp(name + length - 4, ".lua") == 0)
        length -= 4;
    return vr_strndup(name, length);
}

static bool name_is_fine(const char *name)
{
    if (!isalnum((unsigned char)*name))
        return false;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
            return false;
    return true;
}

bool vr_session_begin(struct vr_session *session, struct vr_args *args, struct vr_error *err)
{
    session->args = args;
    if (args->log_level && !vr_log_set_level(args->log_level))
        return vr_error_set(err, "usage", "there is no log level '%s'; it is debug, info, warn, error or none",
                            args->log_level);
    session->stack = args->stack ? vr_strdup(args->stack) : stack_of(args->recipe);
    if (!name_is_fine(session->stack))
        return vr_error_set(err, "usage", "'%s' cannot name a stack: letters, digits, '.', '_' and '-', no sign first",
                            session->stack);
    session->folder = vr_strdup(args->state_dir ? args->state_dir : ".vmrun");
    session->stack_folder = vr_format("%s/stacks/%s", session->folder, session->stack);
    session->loop = vr_loop_new();
    session->script = vr_script_new(session->loop);
    session->provider = vr_provider_new(vr_script_lua(session->script));
    return true;
}

/* --- parameters --- */

static void give(json_t *given, const char *name, json_t *value, bool text, const char *from)
{
    json_object_set_new(given, name, json_pack("{s:o, s:b, s:s}", "value", value, "text", text, "from", from));
}

static bool give_file(struct vr_session *session, json_t *given, const char *path, struct vr_error *err)
{
    json_t *params = vr_recipe_params_file(session->provider, path, err);
    if (!params)
        return false;
    const char *name;
    json_t *value;
    json_object_foreach(params, name, value)
        give(given, name, json_incref(value), false, path);
    json_decref(params);
    return true;
}

/* STACK.params.* beside the recipe is read by itself. */
static bool give_beside(struct vr_session *session, json_t *given, struct vr_error *err)
{
    static const char *const endings[] = {"lua", "json", "yaml", "yml"};
    const char *recipe = session->args->recipe, *slash = strrchr(recipe, '/');
    bool ok = true;
    for (size_t i = 0; ok && i < sizeof(endings) / sizeof(endings[0]); i++) {
        char *path = vr_format("%.*s%s.params.%s", slash ? (int)(slash - recipe + 1) : 0, recipe, session->stack, endings[i]);
        if (access(path, F_OK) == 0)
            ok = give_file(session, given, path, err);
        free(path);
    }
    return ok;
}

/* name=@FILE: the text of a file, without its last line end; secrets are given like this. */
static bool give_from_file(json_t *given, const char *name, const char *path, struct vr_error *err)
{
    FILE *file = fopen(path, "r");
    if (!file)
        return vr_error_set(err, "params", "parameter '%s': %s cannot be read: %m", name, path);
    char *text = NULL;
    size_t room = 0;
    ssize_t length = getdelim(&text, &room, '\0', file);
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

static bool give_words(struct vr_session *session, json_t *given, struct vr_error *err)
{
    bool ok = true;
    for (size_t i = 0; ok && i < session->args->params.count; i++) {
        const char *word = session->args->params.items[i], *equals = strchr(word, '=');
        char *name = vr_strndup(word, (size_t)(equals - word));
        json_t *value = json_string(equals + 1);
        if (equals[1] == '@')
            ok = give_from_file(given, name, equals + 2, err);
        else if (value)
            give(given, name, json_incref(value), true, "command line");
        else
            ok = vr_error_set(err, "params", "parameter '%s' is not UTF-8 text", name);
        json_decref(value);
        free(name);
    }
    return ok;
}

/* What was given, the strongest last: the stack's own file, --params, name=value. The environment is asked by the recipe. */
static json_t *given_params(struct vr_session *session, struct vr_error *err)
{
    json_t *given = json_object();
    bool ok = give_beside(session, given, err);
    for (size_t i = 0; ok && i < session->args->params_files.count; i++)
        ok = give_file(session, given, session->args->params_files.items[i], err);
    if (ok && give_words(session, given, err))
        return given;
    json_decref(given);
    return NULL;
}

/* --- stages --- */

static bool tell_errors(struct vr_session *session, struct vr_error *err)
{
    struct vr_decls *decls = vr_recipe_decls(session->recipe);
    size_t count = vr_decls_error_count(decls);
    for (size_t i = 0; i < count; i++)
        vr_cli_error(vr_decls_error_at(decls, i));
    return count == 0 || vr_error_set(err, "told", "the recipe has errors");
}

bool vr_session_load(struct vr_session *session, bool lint, struct vr_error *err)
{
    json_t *given = given_params(session, err);
    if (!given)
        return false;
    struct vr_recipe_options options = {
        .path = session->args->recipe,
        .library_paths = getenv("VMRUN_PATH"),
        .given = given,
        .lint = lint,
    };
    session->recipe = vr_recipe_load(session->provider, &options);
    json_decref(given);
    if (!tell_errors(session, err))
        return false;
    session->graph = vr_graph_new(vr_recipe_decls(session->recipe), err);
    return session->graph != NULL;
}

void vr_session_end(struct vr_session *session)
{
    vr_graph_free(session->graph);
    if (session->script)
        vr_script_wind_up(session->script, WIND_UP);
    vr_recipe_free(session->recipe);
    vr_provider_free(session->provider);
    vr_script_free(session->script);
    if (session->loop)
        vr_loop_free(session->loop);
    free(session->stack);
    free(session->folder);
    free(session->stack_folder);
    *session = (struct vr_session){0};
}

int vr_session_failed(struct vr_session *session, struct vr_error *err)
{
    (void)session;
    if (!err->code || strcmp(err->code, "told") != 0)
        vr_cli_error(err);
    vr_error_clear(err);
    return VR_EXIT_ERROR;
}
