/* What a session tells around its plan. */
#ifndef VR_CLI_TELL_H
#define VR_CLI_TELL_H

#include "cli/session.h"

/* An error that kept the plan from being made; one that all have alike is told once. */
void vr_tell_plan_error(const struct vr_plan *plan, size_t i);
/* What the kinds want known, each once: what stays behind and until when, what a check warns of. */
void vr_session_tell_notes(struct vr_session *session);
/* Shows the plan, its notes, and what is held. */
void vr_session_show(struct vr_session *session);
/* Which standard library this is, for the state: a digest, or "a folder" (VMRUN_STDLIB). */
const char *vr_tell_stdlib(void);

#endif
