/* A plan in a file: what was planned, from what. Applied only when a fresh plan says the same. */
#ifndef VR_CLI_SAVED_H
#define VR_CLI_SAVED_H

#include <stdbool.h>

#include "cli/session.h"

bool vr_saved_write(struct vr_session *session, const char *path, struct vr_error *err);
/* Whether a file is a saved plan, by its first bytes. */
bool vr_saved_is(const char *path);
/* Reads it: a new reference, or NULL with an error. Keys: "recipe", "stack", "state_dir",
 * "target" (absent: none), "parameters", "destroy", "refresh_only", "targets", "excludes",
 * "replace", "plan". */
json_t *vr_saved_read(const char *path, struct vr_error *err);

#endif
