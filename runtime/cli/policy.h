/* Policies: Lua files that see a whole plan and may deny it (--policy DIR; stdlib/cli/policy.lua).
 */
#ifndef VR_CLI_POLICY_H
#define VR_CLI_POLICY_H

#include <stdbool.h>

#include "cli/session.h"

/* Asks all policies of the command line about the session's plan, and tells what they say. False
 * (code "told") when one denies, or when one cannot be asked. */
bool vr_policy_allows(struct vr_session *session, struct vr_error *err);

#endif
