#include "machine/report.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

static bool tell(int fd, const struct vr_report *report)
{
    return write(fd, report, sizeof(*report)) == sizeof(*report);
}

_Noreturn void vr_report_fail(int fd, const char *what)
{
    struct vr_report report = {.error = errno};
    snprintf(report.what, sizeof(report.what), "%s", what);
    _exit(tell(fd, &report) ? 1 : 2);
}

bool vr_report_done(int fd)
{
    return tell(fd, &(struct vr_report){0});
}

bool vr_report_read(int fd, struct vr_report *report)
{
    if (read(fd, report, sizeof(*report)) != sizeof(*report))
        *report = (struct vr_report){.error = EPIPE, .what = "its first process ended"};
    return report->error == 0;
}
