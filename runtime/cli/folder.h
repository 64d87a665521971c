/* The state folder, the logs in it, and what a person types in. */
#ifndef VR_CLI_FOLDER_H
#define VR_CLI_FOLDER_H

#include "base/error.h"

/* Makes the folder (0700) with a .gitignore that holds `*`. */
bool vr_folder_make(const char *folder, struct vr_error *err);
/* From now on the log goes to stack_folder/logs/TIME.log; only those of the last 20 runs are kept.
 * level: the one that was asked for, or NULL for "info". */
bool vr_folder_log(const char *stack_folder, const char *level, struct vr_error *err);
/* An absolute form of a path whose last part may not exist. The caller frees. */
char *vr_folder_absolute(const char *path);
/* Asks on the terminal, without echo. NULL: nothing was typed. The caller frees. */
char *vr_folder_ask_secret(const char *name, const char *help);
/* A line that a person types; NULL at the end. The caller frees. */
char *vr_folder_ask(const char *question);

#endif
