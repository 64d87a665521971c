/* vmrun kinds: what kinds of resources there are, and what each takes; from their own pages. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/session.h"
#include "cli/tool.h"

const struct vr_opt vr_kinds_options[] = {
    VR_OPT("json", 0, VR_OPT_FLAG, json, NULL, "as JSON"),
    VR_OPT("help", 'h', VR_OPT_FLAG, help, NULL, "this help"),
    VR_OPT_END,
};

static int kinds(struct vr_session *session, struct vr_error *err)
{
    json_t *result = vr_session_call(session, "cli.kinds", "run", vr_tool_args(session->args), err);
    return result ? vr_tool_result(result) : VR_EXIT_ERROR;
}

int vr_cmd_kinds(int argc, char **argv)
{
    return vr_session_main_with(VR_RECIPE_NONE, argc, argv, vr_kinds_options, kinds);
}
