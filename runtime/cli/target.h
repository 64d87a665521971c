/* The target of a stack: bound by its first apply, and never another one afterwards. */
#ifndef VR_CLI_TARGET_H
#define VR_CLI_TARGET_H

#include <jansson.h>

#include "base/error.h"
#include "cli/opt.h"

/* What to use: {"kind": "emulator"} or {"kind": "azure", "subscription", "tenant", "cloud"}: a new
 * reference, or NULL with an error. bound: what the state remembers, or NULL. emulator: the
 * emulator's endpoint.json, or NULL when there is none yet: its subscription, as `emulator env`
 * exports it, means the emulator. *chosen: nobody said it, so say it. */
json_t *vr_target_choose(const struct vr_args *args, const json_t *bound, const json_t *emulator,
                         bool terminal, bool *chosen, struct vr_error *err);
/* As a person calls it: "the emulator", "Azure subscription ID". The caller frees. */
char *vr_target_text(const json_t *target);
bool vr_target_is(const json_t *target, const char *kind);

#endif
