/* vmrun plan: what an apply would do; vmrun drift: what changed outside. Nothing is written. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/policy.h"
#include "cli/saved.h"
#include "cli/session.h"
#include "cli/tell.h"
#include "cli/ui.h"

const struct vr_opt vr_plan_options[] = {
    VR_OPT("detailed-exitcode", 0, VR_OPT_FLAG, detailed_exitcode, NULL,
           "exit with 2 when there are changes"),
    VR_OPT("out", 'o', VR_OPT_TEXT, out, "FILE", "save the plan, for 'vmrun apply FILE'"),
    VR_OPT("destroy", 0, VR_OPT_FLAG, destroy, NULL, "plan what 'vmrun destroy' would do"),
    VR_OPT("refresh-only", 0, VR_OPT_FLAG, refresh_only, NULL, "only what changed outside"),
    VR_OPT_CHOICE,
    VR_OPT_POLICY,
    VR_OPT_UNSET,
    VR_OPT_COMMON,
    VR_OPT_END,
};

const struct vr_opt vr_drift_options[] = {
    VR_OPT_CHOICE,
    VR_OPT_COMMON,
    VR_OPT_END,
};

static int look(struct vr_session *session, bool remembered, struct vr_error *err)
{
    struct vr_args *args = session->args;
    struct vr_plan_options options = {.destroy = args->destroy, .refresh_only = args->refresh_only};
    vr_session_choice(session, &options);
    if (!vr_session_open(session, args->out ? VR_MODE_KEEP : VR_MODE_LOOK, err) ||
        !vr_session_load(session, false, remembered, err) || !vr_session_target(session, err) ||
        !vr_session_plan_rolling(session, &options, err))
        return VR_EXIT_ERROR;
    vr_session_show(session);
    if (!vr_policy_allows(session, err))
        return VR_EXIT_ERROR;
    if (args->out && !vr_saved_write(session, args->out, err))
        return VR_EXIT_ERROR;
    struct vr_plan_summary sum = vr_plan_summary(session->plan);
    if (sum.unknown > 0)
        return VR_EXIT_ERROR;
    bool changes = !vr_plan_empty(session->plan) || (args->refresh_only && sum.drifted > 0);
    return args->detailed_exitcode && changes ? VR_EXIT_CHANGES : VR_EXIT_OK;
}

static int plan(struct vr_session *session, struct vr_error *err)
{
    return look(session, session->args->destroy, err);
}

/* For schedulers: what changed outside since the last apply, with the parameters of that one. */
static int drift(struct vr_session *session, struct vr_error *err)
{
    session->args->refresh_only = session->args->detailed_exitcode = true;
    return look(session, true, err);
}

int vr_cmd_drift(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_drift_options, drift);
}

int vr_cmd_plan(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_plan_options, plan);
}
