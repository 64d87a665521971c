/* Commands that run inside a machine, with their input given and their output kept. */
#ifndef VR_MACHINE_COMMAND_H
#define VR_MACHINE_COMMAND_H

#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

struct vr_command;
struct vr_commands {
    int epoll;
    struct vr_command *first;
};

/* Goes to where a command runs, in the child that becomes it; false: it cannot. */
typedef bool vr_enter(const void *place);

/* Starts `argv` of a message with `stdin` as its input; its end is an answer to `id`. */
void vr_command_start(struct vr_commands *commands, const json_t *id, const json_t *message,
                      vr_enter *enter, const void *place);

/* A child that ended; true when it was a command. */
bool vr_command_ended(struct vr_commands *commands, pid_t pid, int status);

/* For any child: dies with the keeper, has no signal blocked or ignored, leads a session. */
void vr_command_child(void);

/* The environment of whatever runs inside. */
extern char *const vr_command_environment[];

#endif
