/* Verbs that are written in Lua. */
#ifndef VR_CLI_TOOL_H
#define VR_CLI_TOOL_H

#include <jansson.h>

#include "cli/opt.h"
#include "cli/session.h"

json_t *
vr_tool_args(const struct vr_args *args); /* what the command line said, for Lua: a new reference */
/* {address: value}, secrets as plain texts, of the resources with the chosen addresses and of what
 * they need, read now; of a session that is open. NULL with an error. */
json_t *vr_tool_values(struct vr_session *session, const json_t *chosen, struct vr_error *err);
/* Prints {text} and gives {code}; steals the result. */
int vr_tool_result(json_t *result);

#endif
