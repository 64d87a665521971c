/* Two texts, line by line. */
#ifndef VR_CLI_DIFF_H
#define VR_CLI_DIFF_H

#include "base/buf.h"

/* Adds what differs as a unified diff: hunks of `@@ -LINE,COUNT +LINE,COUNT @@` with three lines of
 * context, each line behind `indent` spaces. */
void vr_diff_lines(struct vr_buf *out, const char *before, const char *after, int indent);

#endif
