/* vmrun apply, and the bare `vmrun RECIPE`: plan, ask, do, say what came of it. Also of a saved
 * plan. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "cli/folder.h"
#include "cli/policy.h"
#include "cli/saved.h"
#include "cli/session.h"
#include "cli/target.h"
#include "cli/tell.h"
#include "cli/ui.h"
#include "script/provider.h"

const struct vr_opt vr_apply_options[] = {
    VR_OPT("yes", 'y', VR_OPT_YES, yes, NULL, "do not ask"),
    VR_OPT("refresh-only", 0, VR_OPT_FLAG, refresh_only, NULL, "only note what changed outside"),
    VR_OPT_CHOICE,
    VR_OPT_POLICY,
    VR_OPT_LOCK,
    VR_OPT_UNSET,
    VR_OPT_COMMON,
    VR_OPT_END,
};

/* On Azure a person, or --yes, says so. */
static bool confirmed(struct vr_session *session, struct vr_error *err)
{
    struct vr_args *args = session->args;
    if (args->yes || !vr_target_is(session->target, "azure") || vr_plan_empty(session->plan))
        return true;
    if (!vr_ui_terminal(session->ui)) {
        vr_error_set(err, "confirm", "there is no terminal to ask on");
        vr_error_hint(err, "pass --yes to apply without a question");
        return false;
    }
    json_t *account =
        vr_session_call(session, "cli.account", "describe", json_incref(session->target), err);
    if (!account)
        return false;
    vr_ui_say(session->ui,
              "\ntenant:        %s\nsubscription:  %s (%s)\nprincipal:     %s\nstack:         %s",
              json_string_value(json_object_get(account, "tenant")),
              json_string_value(json_object_get(account, "name")),
              json_string_value(json_object_get(account, "subscription")),
              json_string_value(json_object_get(account, "principal")), session->stack);
    json_decref(account);
    char *answer = vr_folder_ask("Apply this plan? [y/N]");
    bool yes = answer && (strcasecmp(answer, "y") == 0 || strcasecmp(answer, "yes") == 0);
    free(answer);
    return yes || vr_error_set(err, "confirm", "not confirmed; nothing was changed");
}

static double seconds_now(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static void tell_outputs(struct vr_session *session)
{
    json_t *outputs = vr_session_outputs(session),
           *shown = vr_state_redact(session->state, outputs);
    vr_ui_outputs(session->ui, shown);
    vr_ui_event(session->ui, "outputs", json_pack("{s:O}", "outputs", shown));
    json_decref(shown);
    json_decref(outputs);
}

/* The run's report, for `vmrun report`: the last one. */
static void keep_report(struct vr_session *session)
{
    char *path = vr_format("%s/report.json", session->stack_folder);
    struct vr_buf report = {0};
    vr_run_report(session->run, &report);
    if (!vr_file_replace(path, report.data, report.length, 0600, false))
        vr_log(VR_LOG_WARN, "cannot write %s: %s", path, strerror(errno));
    vr_buf_free(&report);
    free(path);
}

int vr_apply_carry_out(struct vr_session *session, struct vr_error *err)
{
    double began = seconds_now();
    size_t unknown = vr_plan_summary(session->plan).unknown;
    if (vr_plan_empty(session->plan)) {
        vr_session_remember(session);
    } else {
        if (!vr_session_apply(session, err))
            return VR_EXIT_ERROR;
        vr_session_remember(session);
        keep_report(session);
        vr_ui_summary(session->ui, session->run, seconds_now() - began);
        vr_session_tell_notes(session);
    }
    if (!vr_state_sync(session->state, err))
        return VR_EXIT_ERROR;
    struct vr_run_summary sum =
        session->run ? vr_run_summary(session->run) : (struct vr_run_summary){0};
    bool fine = !sum.failed && !sum.skipped && !sum.cancelled && unknown == 0;
    if (session->recipe && !session->args->destroy)
        tell_outputs(session);
    return fine ? VR_EXIT_OK : VR_EXIT_ERROR;
}

/* A roll of what is alone: a session for each that is replaced, so that each plan is made of what
 * is there then. */
static struct {
    bool confirmed; /* the plan that named them all */
    json_t *done;   /* {address: true} */
    size_t others;  /* sessions since the last that had something else to do */
    bool goes_on;
} roll;

/* What comes by itself, such as a kubelet's next certificate, is made up for; not for ever. */
static const size_t OTHERS = 3;

/* What an apply does not change, and a kind that calls stale what it has just made, would go on for
 * ever. */
static bool may_go_on(struct vr_session *session, struct vr_error *err)
{
    if (!session->roll)
        return roll.others++ < OTHERS ||
               vr_error_set(err, "stale",
                            "what is stale waits: the plan has changes again after each apply");
    roll.others = 0;
    if (!roll.done)
        roll.done = json_object();
    if (json_object_get(roll.done, session->roll))
        return vr_error_set(err, "stale", "%s was replaced, and is stale still (%s)", session->roll,
                            vr_plan_find(session->plan, session->roll)->stale);
    return json_object_set_new(roll.done, session->roll, json_true()) == 0;
}

static int apply(struct vr_session *session, struct vr_error *err)
{
    struct vr_plan_options options = {.refresh_only = session->args->refresh_only};
    vr_session_choice(session, &options);
    if (roll.confirmed)
        options.replace_count = 0; /* these were */
    if (!vr_session_prepare(session, false, err) ||
        !vr_session_plan_rolling(session, &options, err) || !may_go_on(session, err))
        return VR_EXIT_ERROR;
    vr_session_show(session);
    if (!vr_policy_allows(session, err) ||
        !((session->roll && roll.confirmed) || confirmed(session, err)))
        return VR_EXIT_ERROR;
    roll.confirmed = true;
    int code = vr_apply_carry_out(session, err);
    roll.goes_on = session->goes_on = code == VR_EXIT_OK && !options.refresh_only &&
                                      !session->interrupted && vr_plan_next_roll(session->plan);
    return code;
}

/* A saved plan: the same recipe, stack and parameters, and a fresh plan that says the same. */
static int apply_saved(struct vr_session *session, json_t *saved, struct vr_error *err)
{
    struct vr_plan_options options = {.destroy = session->args->destroy,
                                      .refresh_only = session->args->refresh_only};
    vr_session_choice(session, &options);
    vr_session_recall(session, json_object_get(saved, "parameters"));
    if (!vr_session_prepare(session, options.destroy, err) ||
        !vr_session_plan_rolling(session, &options, err) ||
        !vr_plan_matches(session->plan, json_object_get(saved, "plan"), err))
        return VR_EXIT_ERROR;
    vr_session_show(session);
    if (!vr_policy_allows(session, err) || !confirmed(session, err))
        return VR_EXIT_ERROR;
    int code = vr_apply_carry_out(session, err);
    const struct vr_node *next = vr_plan_next_roll(session->plan);
    if (code == VR_EXIT_OK && next)
        vr_ui_say(session->ui, "Not in this plan: %s is stale (%s); the next apply replaces it.",
                  next->address, next->stale);
    return code;
}

static int apply_either(struct vr_session *session, struct vr_error *err)
{
    return session->saved ? apply_saved(session, session->saved, err) : apply(session, err);
}

int vr_cmd_apply(int argc, char **argv)
{
    int code;
    do {
        roll.goes_on = false;
        code = vr_session_main(argc, argv, vr_apply_options, apply_either);
    } while (roll.goes_on);
    return code;
}
