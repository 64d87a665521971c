/* Verbs that are written in Lua. */
#ifndef VR_CLI_TOOL_H
#define VR_CLI_TOOL_H

#include <jansson.h>

#include "cli/opt.h"

json_t *
vr_tool_args(const struct vr_args *args); /* what the command line said, for Lua: a new reference */
/* Prints {text} and gives {code}; steals the result. */
int vr_tool_result(json_t *result);

#endif
