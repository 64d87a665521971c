/* Verbs whose body is Lua: stdlib/cli/NAME.lua. `run(call)` gets {session, args, values} and gives
 * {text, code} or nothing; `choose(call)`, if there, names the resources whose values (secrets too)
 * are fetched from where they live first. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/session.h"
#include "cli/tool.h"
#include "cli/ui.h"
#include "engine/expr.h"
#include "script/program.h"

const struct vr_opt vr_inventory_options[] = {
    VR_OPT("format", 'f', VR_OPT_TEXT, format, "FORMAT",
           "ansible (the default, JSON), ssh (an ssh_config) or known_hosts"),
    VR_OPT("identity", 'i', VR_OPT_TEXT, identity, "FILE",
           "the file of the private key, to be named in it (else a host's key_file)"),
    VR_OPT_COMMON,
    VR_OPT_END,
};
const struct vr_opt vr_kubeconfig_options[] = {
    VR_OPT("out", 'o', VR_OPT_TEXT, out, "FILE", "where to write it, mode 0600; `-` is stdout"),
    VR_OPT("user", 'u', VR_OPT_TEXT, user, "NAME",
           "a certificate for this user, instead of the administrator's"),
    VR_OPT("group", 'g', VR_OPT_TEXTS, groups, "NAME", "and this group of Kubernetes users"),
    VR_OPT("hours", 0, VR_OPT_TEXT, hours, "N",
           "how long the user's certificate is good (default: 8)"),
    VR_OPT("merge", 0, VR_OPT_FLAG, merge, NULL,
           "put it into $KUBECONFIG or ~/.kube/config, and make it current"),
    VR_OPT_COMMON,
    VR_OPT_END,
};
const struct vr_opt vr_backup_options[] = {
    VR_OPT("out", 'o', VR_OPT_TEXT, out, "FILE",
           "where to write it, mode 0600 (default: STACK-TIME.backup)"),
    VR_OPT("key-file", 'k', VR_OPT_TEXT, key_file, "FILE",
           "the passphrase that encrypts it; `-` is stdin (else $VMRUN_BACKUP_KEY, or it is asked "
           "for)"),
    VR_OPT("show", 0, VR_OPT_TEXT, from, "FILE",
           "verify this backup instead, and print what it is of"),
    VR_OPT_COMMON,
    VR_OPT_END,
};
const struct vr_opt vr_report_options[] = {
    VR_OPT("out", 'o', VR_OPT_TEXT, out, "FILE", "where to write it; stdout unless given"),
    VR_OPT_COMMON,
    VR_OPT_END,
};
const struct vr_opt vr_ssh_options[] = {
    VR_OPT("tty", 't', VR_OPT_FLAG, tty, NULL, "a terminal for the command, too"),
    VR_OPT_COMMON,
    VR_OPT_END,
};
const struct vr_opt vr_exec_options[] = {
    VR_OPT("user", 'u', VR_OPT_TEXT, user, "NAME", "run as this user, by sudo"),
    VR_OPT("timeout", 0, VR_OPT_TEXT, timeout, "SECONDS", "give up on a host after so long"),
    VR_OPT_COMMON,
    VR_OPT_END,
};

static json_t *texts(const struct vr_texts *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, json_string(list->items[i]));
    return array;
}

json_t *vr_tool_args(const struct vr_args *args)
{
    return json_pack(
        "{s:s*, s:o, s:o, s:o, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, s:s*, "
        "s:s*, s:s*, s:s*, s:s*, s:b, "
        "s:b, s:b, s:b, s:b, s:b, "
        "s:b, s:b}",
        "recipe", args->recipe, "words", texts(&args->words), "rest", texts(&args->rest), "groups",
        texts(&args->groups), "format", args->format, "out", args->out, "user", args->user,
        "identity", args->identity, "timeout", args->timeout, "hours", args->hours, "clock",
        args->clock, "tenant", args->tenant, "profile", args->profile, "seed", args->seed,
        "machines", args->machines, "key_file", args->key_file, "from", args->from, "cloud",
        args->cloud, "json", args->json, "all", args->all, "force", args->force, "merge",
        args->merge, "tty", args->tty, "show", args->show, "forget", args->forget);
}

static json_t *call_of(struct vr_session *session)
{
    return json_pack("{s:o, s:o}", "session", vr_session_describe(session), "args",
                     vr_tool_args(session->args));
}

/* A copy with secrets as plain texts: it stays in this process. */
static json_t *plain(json_t *value)
{
    if (vr_is_secret(value))
        return json_string(vr_secret_text(value));
    if (vr_is_unknown(value))
        return json_null();
    if (json_is_array(value)) {
        json_t *copy = json_array();
        for (size_t i = 0; i < json_array_size(value); i++)
            json_array_append_new(copy, plain(json_array_get(value, i)));
        return copy;
    }
    if (json_is_object(value)) {
        json_t *copy = json_object(), *item;
        const char *key;
        json_object_foreach(value, key, item) json_object_set_new(copy, key, plain(item));
        return copy;
    }
    return json_incref(value);
}

json_t *vr_tool_values(struct vr_session *session, const json_t *chosen, struct vr_error *err)
{
    if (!vr_session_target(session, err))
        return NULL;
    size_t count = json_array_size(chosen);
    const char **targets = vr_alloc((count + 1) * sizeof(*targets));
    for (size_t i = 0; i < count; i++)
        targets[i] = json_string_value(json_array_get(chosen, i));
    struct vr_plan_options options = {.targets = targets, .target_count = count};
    bool ok = vr_session_load(session, false, true, err) && vr_session_plan(session, &options, err);
    free(targets);
    if (!ok)
        return NULL;
    json_t *values = json_object();
    for (size_t i = 0; i < vr_plan_count(session->plan); i++) {
        const struct vr_node *node = vr_plan_at(session->plan, i);
        json_t *value = vr_plan_value(session->plan, node);
        json_object_set_new(values, node->address, value ? plain(value) : json_null());
        json_decref(value);
    }
    return values;
}

int vr_tool_result(json_t *result)
{
    const char *text = json_string_value(json_object_get(result, "text"));
    json_t *code = json_object_get(result, "code");
    if (text) {
        fputs(text, stdout);
        if (*text && text[strlen(text) - 1] != '\n')
            putchar('\n');
    }
    int status = json_is_integer(code) ? (int)json_integer_value(code) : VR_EXIT_OK;
    json_decref(result);
    return status;
}

static int run_tool(struct vr_session *session, const char *name, struct vr_error *err)
{
    char *module = vr_format("cli.%s", name);
    int status = VR_EXIT_ERROR;
    if (!vr_session_open(session, VR_MODE_LOOK, err))
        goto out;
    json_t *values = NULL;
    if (vr_script_has(session->script, module, "choose")) {
        json_t *chosen = vr_session_call(session, module, "choose", call_of(session), err);
        values = chosen ? vr_tool_values(session, chosen, err) : NULL;
        json_decref(chosen);
        if (!values)
            goto out;
    }
    json_t *call = call_of(session);
    json_object_set_new(call, "values", values ? values : json_object());
    json_t *result = vr_session_call(session, module, "run", call, err);
    if (result)
        status = vr_tool_result(result);
out:
    free(module);
    return status;
}

static int inventory(struct vr_session *session, struct vr_error *err)
{
    return run_tool(session, "inventory", err);
}

static int kubeconfig(struct vr_session *session, struct vr_error *err)
{
    return run_tool(session, "kubeconfig", err);
}

static int backup(struct vr_session *session, struct vr_error *err)
{
    return run_tool(session, "backup", err);
}

static int report(struct vr_session *session, struct vr_error *err)
{
    return run_tool(session, "report", err);
}

static int ssh(struct vr_session *session, struct vr_error *err)
{
    return run_tool(session, "ssh", err);
}

static int exec(struct vr_session *session, struct vr_error *err)
{
    return run_tool(session, "exec", err);
}

int vr_cmd_inventory(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_inventory_options, inventory);
}

int vr_cmd_kubeconfig(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_kubeconfig_options, kubeconfig);
}

int vr_cmd_backup(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_backup_options, backup);
}

int vr_cmd_report(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_report_options, report);
}

int vr_cmd_ssh(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_ssh_options, ssh);
}

int vr_cmd_exec(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_exec_options, exec);
}
