#include "cli/policy.h"

#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/target.h"

static json_t *resource_of(struct vr_session *session, const struct vr_node *node)
{
    json_t *resource = vr_node_json(node), *value = vr_plan_value(session->plan, node);
    json_object_set_new(resource, "name",
                        json_string(node->decl ? node->decl->name : node->address));
    if (value)
        json_object_set_new(resource, "fields", vr_state_redact(session->state, value));
    json_decref(value);
    return resource;
}

static json_t *plan_of(struct vr_session *session)
{
    json_t *plan = vr_plan_json(session->plan), *resources = json_array();
    for (size_t i = 0; i < vr_plan_count(session->plan); i++)
        json_array_append_new(resources, resource_of(session, vr_plan_at(session->plan, i)));
    json_object_del(plan, "actions");
    json_object_set_new(plan, "resources", resources);
    return plan;
}

static bool starts_with(const char *text, const char *start)
{
    return strncmp(text, start, strlen(start)) == 0;
}

static bool is_of_azure(const char *kind)
{
    return starts_with(kind, "azure.");
}

/* What a cluster of kubeadm stands on: its members, their machines, the key of its Secrets. */
static bool is_of_cluster(const char *kind)
{
    return starts_with(kind, "kubeadm.") || starts_with(kind, "kubernetes.node") ||
           starts_with(kind, "azure.virtual_machine") || strcmp(kind, "azure.vault_random") == 0;
}

/* The rows that write a resource of such a kind. */
static json_t *writes_of(struct vr_session *session, bool (*is_wanted)(const char *kind))
{
    json_t *rows = json_array();
    for (size_t i = 0; i < vr_plan_count(session->plan); i++) {
        const struct vr_node *node = vr_plan_at(session->plan, i);
        bool writes = node->action == VR_ACTION_CREATE || node->action == VR_ACTION_UPDATE ||
                      node->action == VR_ACTION_REPLACE || node->action == VR_ACTION_DELETE ||
                      node->action == VR_ACTION_ADD;
        if (writes && is_wanted(node->kind->name))
            json_array_append_new(rows, resource_of(session, node));
    }
    return rows;
}

static const char *prefix(const char *level)
{
    return strcmp(level, "deny") == 0 ? "" : strcmp(level, "warn") == 0 ? "warning: " : "note: ";
}

/* Tells as errors are told. True when it denies. */
static bool tell(const json_t *said, const char *who)
{
    const char *level = json_string_value(json_object_get(said, "level")),
               *address = json_string_value(json_object_get(said, "address")),
               *file = json_string_value(json_object_get(said, "file")),
               *policy = json_string_value(json_object_get(said, "policy")),
               *hint = json_string_value(json_object_get(said, "hint"));
    struct vr_error err = {0};
    vr_error_set(&err, who, "%s%s%s%s (%s%s%s)", prefix(level), address ? address : "",
                 address ? ": " : "", json_string_value(json_object_get(said, "message")), who,
                 policy ? " " : "", policy ? policy : "");
    if (file)
        vr_error_place(&err, file, (int)json_integer_value(json_object_get(said, "line")));
    if (hint)
        vr_error_hint(&err, "%s", hint);
    vr_cli_error(&err);
    vr_error_clear(&err);
    return strcmp(level, "deny") == 0;
}

/* Tells all and steals the list; how many deny. */
static size_t tell_all(json_t *said, const char *who)
{
    size_t denied = 0;
    for (size_t i = 0; i < json_array_size(said); i++)
        denied += tell(json_array_get(said, i), who);
    json_decref(said);
    return denied;
}

/* Whether Azure would take the plan, as far as it tells before a write. */
static bool preflight(struct vr_session *session, size_t *denied, struct vr_error *err)
{
    bool azure =
        vr_target_is(session->target, "azure") || vr_target_is(session->target, "emulator");
    if (!azure || session->args->no_preflight || session->args->refresh_only)
        return true;
    json_t *rows = writes_of(session, is_of_azure);
    if (json_array_size(rows) == 0) {
        json_decref(rows);
        return true;
    }
    json_t *said = vr_session_call(session, "azure.preflight", "run",
                                   json_pack("{s:O, s:s, s:o}", "target", session->target, "recipe",
                                             session->args->recipe, "resources", rows),
                                   err);
    if (!said)
        return false;
    *denied = tell_all(said, "preflight");
    return true;
}

/* What would break a cluster: steps of an upgrade that may not be, etcd without its majority. */
static bool guard(struct vr_session *session, size_t *denied, struct vr_error *err)
{
    json_t *rows = session->args->refresh_only ? json_array() : writes_of(session, is_of_cluster);
    if (json_array_size(rows) == 0) {
        json_decref(rows);
        return true;
    }
    json_t *told = vr_session_describe(session);
    json_t *said = vr_session_call(
        session, "kubeadm.guard", "run",
        json_pack("{s:o, s:O}", "resources", rows, "state", json_object_get(told, "rows")), err);
    json_decref(told);
    if (!said)
        return false;
    *denied = tell_all(said, "cluster");
    return true;
}

static bool policies_allow(struct vr_session *session, size_t *denied, struct vr_error *err)
{
    const struct vr_texts *policies = &session->args->policies;
    if (policies->count == 0)
        return true;
    json_t *folders = json_array();
    for (size_t i = 0; i < policies->count; i++)
        json_array_append_new(folders, json_string(policies->items[i]));
    json_t *said =
        vr_session_call(session, "cli.policy", "run",
                        json_pack("{s:o, s:o}", "folders", folders, "plan", plan_of(session)), err);
    if (!said)
        return false;
    *denied = tell_all(said, "policy");
    return true;
}

bool vr_policy_allows(struct vr_session *session, struct vr_error *err)
{
    size_t denied = 0, refused = 0, guarded = 0;
    if (!policies_allow(session, &denied, err) || !guard(session, &guarded, err) ||
        !preflight(session, &refused, err))
        return false;
    if (guarded > 0)
        return vr_error_set(err, "cluster", "%zu %s would break the cluster; nothing was changed",
                            guarded, guarded == 1 ? "step" : "steps");
    if (refused > 0) {
        vr_error_set(err, "preflight", "%zu %s would fail; nothing was changed", refused + denied,
                     refused + denied == 1 ? "thing" : "things");
        vr_error_hint(err, "--no-preflight goes on without asking");
    }
    return refused == 0 &&
           (denied == 0 ||
            vr_error_set(err, "policy", "%zu denied by policy; nothing was changed", denied));
}
