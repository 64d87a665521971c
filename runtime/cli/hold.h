/* Holds: addresses that nobody's run touches until a time. They are in the state, for everybody:
 * {address or prefix*: {"until": seconds, "reason", "by"}}. */
#ifndef VR_CLI_HOLD_H
#define VR_CLI_HOLD_H

#include <jansson.h>

#include "base/error.h"
#include "engine/state.h"

/* Those that are not over: a new reference, never NULL. */
json_t *vr_hold_active(const struct vr_state *state);
/* "ADDRESS is held until TIME by WHO: REASON"; the caller frees. */
char *vr_hold_text(const char *address, const json_t *hold);
/* A time such as 2026-12-01, 2026-12-01T18:00Z (UTC unless it says +02:00) or, from now on, 3d. 0:
 * it is none. */
long long vr_hold_time(const char *text);

#endif
