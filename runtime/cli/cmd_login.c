/* vmrun login: a person's login to Azure, and which credential is used: stdlib/cli/login.lua. */
#include <stdio.h>

#include "cli/cli.h"
#include "cli/session.h"
#include "cli/tool.h"

const struct vr_opt vr_login_options[] = {
    VR_OPT("show", 0, VR_OPT_FLAG, show, NULL,
           "which credential is used, and why the earlier ones are not"),
    VR_OPT("forget", 0, VR_OPT_FLAG, forget, NULL, "forget the login"),
    VR_OPT("tenant", 0, VR_OPT_TEXT, tenant, "ID", "the tenant to log in to"),
    VR_OPT("json", 0, VR_OPT_FLAG, json, NULL, "JSON instead of text"),
    VR_OPT("log-level", 0, VR_OPT_TEXT, log_level, "LEVEL", "debug, info, warn, error or none"),
    VR_OPT("help", 'h', VR_OPT_FLAG, help, NULL, "this help"),
    VR_OPT_END,
};

static int login(struct vr_session *session, struct vr_error *err)
{
    json_t *result = vr_session_call(session, "cli.login", "run", vr_tool_args(session->args), err);
    return result ? vr_tool_result(result) : VR_EXIT_ERROR;
}

int vr_cmd_login(int argc, char **argv)
{
    return vr_session_main_with(VR_RECIPE_NONE, argc, argv, vr_login_options, login);
}
