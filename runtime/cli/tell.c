#include "cli/tell.h"

#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/hold.h"
#include "cli/ui.h"
#include "script/program.h"
#include "script/provider.h"

/* What an error says behind the resource's address. */
static const char *told_of(const struct vr_error *err)
{
    const char *behind = strstr(err->message, ": ");
    return behind ? behind : err->message;
}

/* A credential that is refused is refused for every resource: that is told once. */
void vr_tell_plan_error(const struct vr_plan *plan, size_t i)
{
    const struct vr_error *err = vr_plan_error_at(plan, i);
    size_t others = 0, count = vr_plan_error_count(plan);
    for (size_t k = 0; err->code && strcmp(err->code, "auth") == 0 && k < count; k++) {
        bool same = k != i && strcmp(told_of(vr_plan_error_at(plan, k)), told_of(err)) == 0;
        if (same && k < i)
            return;
        others += same;
    }
    struct vr_error told = {0};
    vr_error_copy(&told, err);
    if (others > 0)
        vr_error_hint(&told, "%s (%zu other%s the same)",
                      err->hint ? err->hint : "look at this first", others,
                      others == 1 ? " says" : "s say");
    vr_cli_error(&told);
    vr_error_clear(&told);
}

void vr_session_tell_notes(struct vr_session *session)
{
    const json_t *notes = vr_provider_notes(session->provider);
    for (; session->notes_told < json_array_size(notes); session->notes_told++) {
        const json_t *note = json_array_get(notes, session->notes_told);
        vr_ui_say(session->ui, "Note: %s: %s", json_string_value(json_object_get(note, "address")),
                  json_string_value(json_object_get(note, "text")));
        vr_ui_event(session->ui, "note", json_deep_copy(note));
    }
}

const char *vr_tell_stdlib(void)
{
    const char *folder = getenv("VMRUN_STDLIB");
    return folder && *folder ? "a folder" : vr_stdlib_digest;
}

static void tell_stdlib(struct vr_session *session)
{
    json_t *stdlib = vr_state_meta(session->state, "stdlib"),
           *version = vr_state_meta(session->state, "version");
    if (json_is_string(stdlib) && strcmp(json_string_value(stdlib), vr_tell_stdlib()) != 0 &&
        !vr_plan_empty(session->plan)) {
        vr_ui_say(session->ui,
                  "The standard library is another than at the last apply (by vmrun %s): changes "
                  "that the recipe does not explain come from it.",
                  json_is_string(version) ? json_string_value(version) : "?");
        vr_ui_event(session->ui, "stdlib",
                    json_pack("{s:O, s:s}", "was", stdlib, "is", vr_tell_stdlib()));
    }
    json_decref(stdlib);
    json_decref(version);
}

void vr_session_show(struct vr_session *session)
{
    const char *address;
    json_t *hold;
    vr_ui_plan(session->ui, session->plan);
    tell_stdlib(session);
    vr_session_tell_notes(session);
    json_object_foreach(session->holds, address, hold)
    {
        char *text = vr_hold_text(address, hold);
        vr_ui_say(session->ui, "%s", text);
        free(text);
    }
    if (json_object_size(session->holds) > 0)
        vr_ui_event(session->ui, "held", json_pack("{s:O}", "holds", session->holds));
}
