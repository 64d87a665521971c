/* The log: lines with a level, to stderr or a file, in which known secrets are replaced
 * (base/mask.h). One a process; any thread. */
#ifndef VR_BASE_LOG_H
#define VR_BASE_LOG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"

enum vr_log_level { VR_LOG_DEBUG, VR_LOG_INFO, VR_LOG_WARN, VR_LOG_ERROR, VR_LOG_NONE };

/* Lines below the level are dropped. The default is "warn". False: no such level (debug, info,
 * warn, error, none). */
bool vr_log_set_level(const char *name);
enum vr_log_level vr_log_get_level(void);
/* Takes the level from $VMRUN_LOG if it is set and right. */
void vr_log_from_environment(void);

/* Lines below "warn" for a file are collected: writes them. Also done by every later line of "warn"
 * or above, when there are many, and at the end of the process. */
void vr_log_flush(void);

/* Appends to a file (made 0600) instead of stderr; NULL: to stderr again. */
bool vr_log_to(const char *path, struct vr_error *err);

/* Writes one line; line ends within become "\n". A line on stderr is "warning: text", in a file it
 * starts with the time. */
void vr_log(enum vr_log_level level, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
