/* Turns the engine on the loop: what a plan or a run asks for, from any thread, happens on the
 * loop's. */
#ifndef VR_CLI_DRIVE_H
#define VR_CLI_DRIVE_H

#include "base/error.h"
#include "engine/step.h"

struct vr_loop;
struct vr_drive;

struct vr_drive *vr_drive_new(struct vr_loop *loop, struct vr_error *err);
void vr_drive_free(struct vr_drive *drive);
struct vr_host vr_drive_host(struct vr_drive *drive);
/* Runs the loop, with turn(payload) once for each notice, until vr_drive_stop. */
void vr_drive_run(struct vr_drive *drive, void (*turn)(void *payload), void *payload);
void vr_drive_stop(struct vr_drive *drive);

#endif
