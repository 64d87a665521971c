/* vmrun why: what an address needs, what needs it, what would happen to it and why. The answer is
 * stdlib/cli/why.lua's. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/text.h"
#include "cli/cli.h"
#include "cli/hold.h"
#include "cli/session.h"
#include "cli/show.h"
#include "cli/tool.h"

const struct vr_opt vr_why_options[] = {VR_OPT_UNSET, VR_OPT_COMMON, VR_OPT_END};

static int missing(const struct vr_plan *plan, const char *address, struct vr_error *err)
{
    size_t count = vr_plan_count(plan);
    const char **names = vr_alloc((count + 1) * sizeof(*names));
    for (size_t i = 0; i < count; i++)
        names[i] = vr_plan_at(plan, i)->address;
    const char *near = vr_text_nearest(address, names, count);
    vr_error_set(err, "missing", "neither the recipe nor the state has '%s'", address);
    if (near)
        vr_error_hint(err, "did you mean '%s'?", near);
    free(names);
    return VR_EXIT_ERROR;
}

static char *held_text(struct vr_session *session, const char *address)
{
    const char *pattern;
    json_t *hold;
    json_object_foreach(session->holds, pattern, hold)
    {
        if (vr_plan_match(pattern, address))
            return vr_hold_text(pattern, hold);
    }
    return NULL;
}

static int why(struct vr_session *session, struct vr_error *err)
{
    struct vr_plan_options options = {0};
    if (session->args->words.count != 1) {
        vr_error_set(err, "usage", "which? vmrun why RECIPE ADDRESS");
        return VR_EXIT_ERROR;
    }
    const char *address = session->args->words.items[0];
    if (!vr_session_open(session, VR_MODE_LOOK, err) ||
        !vr_session_load(session, false, true, err) || !vr_session_target(session, err) ||
        !vr_session_plan(session, &options, err))
        return VR_EXIT_ERROR;
    const struct vr_node *node = vr_plan_find(session->plan, address);
    if (!node)
        return missing(session->plan, address, err);
    char *shown = vr_show_node(session->plan, node), *held = held_text(session, address);
    json_t *call =
        json_pack("{s:o, s:o, s:o, s:o, s:s, s:s*}", "session", vr_session_describe(session),
                  "args", vr_tool_args(session->args), "graph", vr_graph_json(session->graph),
                  "node", vr_node_json(node), "shown", shown, "held", held);
    free(shown);
    free(held);
    json_t *result = vr_session_call(session, "cli.why", "run", call, err);
    return result ? vr_tool_result(result) : VR_EXIT_ERROR;
}

int vr_cmd_why(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_why_options, why);
}
