/* Lua code that the command line is made of: a signal cancels it. */
#include <signal.h>

#include "cli/session.h"
#include "net/loop.h"
#include "script/program.h"

static void interrupted(void *payload, int number)
{
    vr_script_interrupt(payload, number == SIGINT ? "interrupted" : "told to end");
}

json_t *vr_session_call(struct vr_session *session, const char *module, const char *function,
                        json_t *argument, struct vr_error *err)
{
    struct vr_signal *signals[] = {
        vr_signal_start(session->loop, SIGINT, interrupted, session->script),
        vr_signal_start(session->loop, SIGTERM, interrupted, session->script),
        vr_signal_start(session->loop, SIGHUP, interrupted, session->script),
    };
    json_t *result = vr_script_call(session->script, module, function, argument, err);
    for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
        vr_signal_stop(signals[i]);
    return result;
}
