/* vmrun hold: exempts an address for everybody, until a time and for a reason. */
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "cli/cli.h"
#include "cli/hold.h"
#include "cli/session.h"
#include "cli/ui.h"

const struct vr_opt vr_hold_options[] = {
    VR_OPT("until", 0, VR_OPT_TEXT, until, "TIME",
           "2026-12-01, 2026-12-01T18:00Z, or 3d (h, m) from now on"),
    VR_OPT("reason", 0, VR_OPT_TEXT, reason, "TEXT", "why, for those who meet it"),
    VR_OPT("release", 0, VR_OPT_FLAG, release, NULL, "the hold ends now"),
    VR_OPT_LOCK,
    VR_OPT_COMMON,
    VR_OPT_END,
};

static int list(struct vr_session *session, struct vr_error *err)
{
    if (!vr_session_open(session, VR_MODE_LOOK, err))
        return VR_EXIT_ERROR;
    json_t *holds = vr_hold_active(session->state), *hold;
    const char *address;
    if (session->args->json) {
        json_dumpf(holds, stdout, JSON_INDENT(2));
        putchar('\n');
    } else {
        json_object_foreach(holds, address, hold)
        {
            char *text = vr_hold_text(address, hold);
            puts(text);
            free(text);
        }
    }
    json_decref(holds);
    return VR_EXIT_OK;
}

static char *who(void)
{
    char host[256] = "?";
    gethostname(host, sizeof(host) - 1);
    const struct passwd *user = getpwuid(getuid());
    return vr_format("%s@%s", user ? user->pw_name : "?", host);
}

static int keep(struct vr_session *session, json_t *holds, struct vr_error *err)
{
    vr_state_set_meta(session->state, "holds", holds);
    return vr_state_sync(session->state, err) ? VR_EXIT_OK : VR_EXIT_ERROR;
}

static int release(struct vr_session *session, const char *address, struct vr_error *err)
{
    json_t *holds = vr_hold_active(session->state);
    if (json_object_del(holds, address) != 0) {
        json_decref(holds);
        vr_error_set(err, "missing", "there is no hold on '%s'", address);
        vr_error_hint(err, "vmrun hold %s lists them", session->args->recipe);
        return VR_EXIT_ERROR;
    }
    vr_ui_say(session->ui, "%s is no longer held", address);
    return keep(session, holds, err);
}

static bool is_known(struct vr_session *session, const char *address)
{
    for (size_t i = 0; i < vr_state_slots(session->state); i++) {
        const struct vr_row *row = vr_state_at(session->state, i);
        if (row && vr_plan_match(address, row->address))
            return true;
    }
    return false;
}

static int hold(struct vr_session *session, const char *address, struct vr_error *err)
{
    const struct vr_args *args = session->args;
    long long until = args->until ? vr_hold_time(args->until) : 0;
    if (!args->until || !args->reason || !*args->reason)
        vr_error_set(err, "usage", "a hold wants --until TIME and --reason TEXT");
    else if (until == 0)
        vr_error_set(err, "usage", "--until wants a time such as 2026-12-01T18:00Z or 3d, got '%s'",
                     args->until);
    else if (until <= (long long)time(NULL))
        vr_error_set(err, "usage", "--until %s is over already", args->until);
    else if (!is_known(session, address))
        return vr_cli_missing(session, address, err);
    if (err->message)
        return VR_EXIT_ERROR;
    json_t *holds = vr_hold_active(session->state);
    char *by = who();
    json_t *made =
        json_pack("{s:I, s:s, s:s}", "until", (json_int_t)until, "reason", args->reason, "by", by);
    free(by);
    json_object_set_new(holds, address, made);
    char *text = vr_hold_text(address, made);
    vr_ui_say(session->ui, "%s", text);
    free(text);
    return keep(session, holds, err);
}

static int run(struct vr_session *session, struct vr_error *err)
{
    const struct vr_texts *words = &session->args->words;
    if (words->count == 0)
        return list(session, err);
    if (words->count != 1) {
        vr_error_set(err, "usage", "one address at a time; one that ends with * is a prefix");
        return VR_EXIT_ERROR;
    }
    if (!vr_session_open(session, VR_MODE_WRITE, err))
        return VR_EXIT_ERROR;
    return session->args->release ? release(session, words->items[0], err)
                                  : hold(session, words->items[0], err);
}

int vr_cmd_hold(int argc, char **argv)
{
    return vr_session_main(argc, argv, vr_hold_options, run);
}
