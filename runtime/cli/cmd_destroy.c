/* vmrun destroy: everything that the state knows goes, in reverse order. What our groups hold that
 * is not ours is listed first, and nothing is destroyed while there is any. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/folder.h"
#include "cli/hold.h"
#include "cli/policy.h"
#include "cli/session.h"
#include "cli/target.h"
#include "cli/tell.h"
#include "cli/ui.h"

const struct vr_opt vr_destroy_options[] = {
    VR_OPT("yes", 'y', VR_OPT_YES, yes, NULL, "do not ask; on Azure: --yes=STACK"),
    VR_OPT("include-unmanaged", 0, VR_OPT_FLAG, include_unmanaged, NULL,
           "also what others put into our groups"),
    VR_OPT_CHOICE,
    VR_OPT_POLICY,
    VR_OPT_LOCK,
    VR_OPT_COMMON,
    VR_OPT_END,
};

static bool confirmed(struct vr_session *session, struct vr_error *err)
{
    struct vr_args *args = session->args;
    if (!vr_target_is(session->target, "azure"))
        return true;
    if (args->yes_stack && strcmp(args->yes_stack, session->stack) == 0)
        return true;
    if (!vr_ui_terminal(session->ui) || args->yes) {
        vr_error_set(err, "confirm", "destroying on Azure wants the stack's name");
        vr_error_hint(err, "pass --yes=%s", session->stack);
        return false;
    }
    char *target = vr_target_text(session->target);
    vr_ui_say(session->ui, "\nThis destroys stack '%s' on %s.", session->stack, target);
    free(target);
    char *answer = vr_folder_ask("Type the stack's name to go on:");
    bool yes = answer && strcmp(answer, session->stack) == 0;
    free(answer);
    return yes || vr_error_set(err, "confirm", "not confirmed; nothing was destroyed");
}

/* Asks the kinds what else is where our things are. */
static bool nothing_foreign(struct vr_session *session, struct vr_error *err)
{
    json_t *argument = vr_session_describe(session);
    json_object_set_new(argument, "remove", json_boolean(session->args->include_unmanaged));
    json_t *found = vr_session_call(session, "cli.foreign", "find", argument, err);
    if (!found)
        return false;
    size_t count = json_array_size(found);
    for (size_t i = 0; i < count; i++) {
        const json_t *thing = json_array_get(found, i);
        vr_ui_say(session->ui, "  %s: %s %s", json_string_value(json_object_get(thing, "address")),
                  session->args->include_unmanaged ? "also goes:" : "also holds",
                  json_string_value(json_object_get(thing, "what")));
    }
    json_decref(found);
    if (count == 0 || session->args->include_unmanaged)
        return true;
    vr_error_set(err, "unmanaged", "%zu %s not ours %s in what would be destroyed", count,
                 count == 1 ? "thing that is" : "things that are", count == 1 ? "is" : "are");
    vr_error_hint(err, "delete or move them, or pass --include-unmanaged to destroy them too");
    return false;
}

static bool nothing_held(struct vr_session *session, struct vr_error *err)
{
    json_t *holds = vr_hold_active(session->state), *hold;
    const char *address;
    bool free_of = true;
    json_object_foreach(holds, address, hold)
    {
        for (size_t i = 0; free_of && i < vr_state_slots(session->state); i++) {
            const struct vr_row *row = vr_state_at(session->state, i);
            if (!row || !vr_plan_match(address, row->address))
                continue;
            char *text = vr_hold_text(address, hold);
            free_of = vr_error_set(err, "held", "%s", text);
            free(text);
            vr_error_hint(err, "ask; or vmrun hold %s %s --release", session->args->recipe,
                          address);
        }
    }
    json_decref(holds);
    return free_of;
}

/* With a recipe that cannot be read any more the state alone says what goes. */
static bool load(struct vr_session *session, struct vr_error *err)
{
    return access(session->path, R_OK) != 0 || vr_session_load(session, false, true, err);
}

static int destroy(struct vr_session *session, struct vr_error *err)
{
    session->args->destroy = true;
    struct vr_plan_options options = {.destroy = true};
    vr_session_choice(session, &options);
    if (!vr_session_open(session, VR_MODE_WRITE, err) || !load(session, err) ||
        !vr_session_target(session, err))
        return VR_EXIT_ERROR;
    if (vr_state_count(session->state) == 0) {
        vr_ui_say(session->ui, "Stack '%s' has nothing to destroy.", session->stack);
        return VR_EXIT_OK;
    }
    if (!nothing_held(session, err) || !vr_session_plan(session, &options, err))
        return VR_EXIT_ERROR;
    vr_session_show(session);
    if (!vr_policy_allows(session, err) || !nothing_foreign(session, err) ||
        !confirmed(session, err))
        return VR_EXIT_ERROR;
    int code = vr_apply_carry_out(session, err);
    if (code == VR_EXIT_OK && vr_state_count(session->state) == 0)
        vr_session_forget(session);
    return code;
}

int vr_cmd_destroy(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_destroy_options, destroy);
}
