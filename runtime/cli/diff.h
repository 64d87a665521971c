/* Two texts, line by line. */
#ifndef VR_CLI_DIFF_H
#define VR_CLI_DIFF_H

#include "base/buf.h"

/* Adds what differs, with a line of context; each line begins with `indent` spaces and `-`, `+` or
 * a space. */
void vr_diff_lines(struct vr_buf *out, const char *before, const char *after, int indent);

#endif
