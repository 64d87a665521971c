/* Who may deny a whole plan before anything is written: policies, Lua files that see it (--policy
 * DIR; stdlib/cli/policy.lua), and Azure, asked in advance (stdlib/azure/preflight.lua). */
#ifndef VR_CLI_POLICY_H
#define VR_CLI_POLICY_H

#include <stdbool.h>

#include "cli/session.h"

/* Asks all policies of the command line, and Azure, about the session's plan, and tells what they
 * say. False with an error that counts when one denies, or when a policy cannot be asked. */
bool vr_policy_allows(struct vr_session *session, struct vr_error *err);

#endif
