#include "cli/policy.h"

#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"

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

static bool tell(const json_t *said)
{
    const char *level = json_string_value(json_object_get(said, "level")),
               *file = json_string_value(json_object_get(said, "file"));
    bool denies = strcmp(level, "deny") == 0;
    struct vr_error err = {0};
    vr_error_set(&err, "policy", "%s%s: %s (policy %s)",
                 denies ? "" : "warning: ", json_string_value(json_object_get(said, "address")),
                 json_string_value(json_object_get(said, "message")),
                 json_string_value(json_object_get(said, "policy")));
    if (file)
        vr_error_place(&err, file, (int)json_integer_value(json_object_get(said, "line")));
    vr_cli_error(&err);
    vr_error_clear(&err);
    return denies;
}

bool vr_policy_allows(struct vr_session *session, struct vr_error *err)
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
    size_t denied = 0;
    for (size_t i = 0; i < json_array_size(said); i++)
        denied += tell(json_array_get(said, i));
    bool asked = said != NULL;
    json_decref(said);
    return asked &&
           (denied == 0 ||
            vr_error_set(err, "policy", "%zu denied by policy; nothing was changed", denied));
}
