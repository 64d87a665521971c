/* A plan as text. */
#ifndef VR_CLI_SHOW_H
#define VR_CLI_SHOW_H

#include <stdbool.h>
#include <stdio.h>

#include "engine/plan.h"

void vr_show_plan(FILE *out, const struct vr_plan *plan, bool color);
/* What would change in one node, as in a plan; empty when nothing would. The caller frees. */
char *vr_show_node(const struct vr_plan *plan, const struct vr_node *node);
/* A value as people read it; lines after the first are indented. The caller frees. */
char *vr_show_value(const json_t *value, int indent);

#endif
