/* What a child that builds a machine's root tells its parent through a pipe: an errno and what it
 * was about, or that it is done. */
#ifndef VR_MACHINE_REPORT_H
#define VR_MACHINE_REPORT_H

#include <stdbool.h>

struct vr_report {
    int error; /* 0: done */
    char what[120];
};

/* The child ends, with errno told. */
_Noreturn void vr_report_fail(int fd, const char *what);
/* The child says that it is done; false: nobody listens. */
bool vr_report_done(int fd);
/* What the child says, or that it ended without a word; true when it is done. */
bool vr_report_read(int fd, struct vr_report *report);

#endif
