/* The Lua state as the program around it sees it: made, asked, interrupted, ended. No lua.h: what
 * goes in and comes out is JSON. */
#ifndef VR_SCRIPT_PROGRAM_H
#define VR_SCRIPT_PROGRAM_H

#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"

struct vr_loop;
struct vr_script;

/* A Lua state with the standard libraries, on the loop. */
struct vr_script *vr_script_new(struct vr_loop *loop);
/* Cancels every operation, drops every task where it stands and closes the state. NULL is fine.
 * What the state's objects leave to close is closed by vr_loop_free. */
void vr_script_free(struct vr_script *script);
/* Cancels all tasks and runs the loop until they have unwound, for `seconds` at most; before
 * vr_script_free. False: some have not. */
bool vr_script_wind_up(struct vr_script *script, double seconds);

/* Calls require(module)[function](argument) as a task and runs the loop until it has ended: its
 * result, a new reference, or NULL with an error. argument is stolen; NULL is null. One at a time.
 */
json_t *vr_script_call(struct vr_script *script, const char *module, const char *function,
                       json_t *argument, struct vr_error *err);
/* The same at once, outside of tasks, for a function that does not wait: NULL when it fails. */
json_t *vr_script_call_now(struct vr_script *script, const char *module, const char *function,
                           const char *text);
/* True when the module has a function of that name. */
bool vr_script_has(struct vr_script *script, const char *module, const char *function);

/* Runs argv[0] as a Lua file with the others as its arguments, as vr_script_call does; what lies
 * beside the file is found by require. False with an error. */
bool vr_script_run_file(struct vr_script *script, int argc, char **argv, struct vr_error *err);

/* Cancels what vr_script_call or vr_script_run_file waits for. False: nothing is waited for. Safe
 * in callbacks of the loop. */
bool vr_script_interrupt(struct vr_script *script, const char *reason);

/* Of all files of the embedded standard library, in hexadecimal. */
extern const char vr_stdlib_digest[];

#endif
