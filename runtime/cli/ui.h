/* The screen: plans as text, progress as it happens, results. A terminal gets colour and a live
 * view of what runs, a pipe plain lines, --json an event a line. */
#ifndef VR_CLI_UI_H
#define VR_CLI_UI_H

#include <jansson.h>
#include <stdbool.h>

#include "engine/plan.h"
#include "engine/run.h"

struct vr_loop;
struct vr_ui;

struct vr_ui *vr_ui_new(struct vr_loop *loop, bool json, bool no_color);
void vr_ui_free(struct vr_ui *ui);           /* NULL is fine */
bool vr_ui_terminal(const struct vr_ui *ui); /* a person sits at both ends */
bool vr_ui_json(const struct vr_ui *ui);

/* What the engine tells. `phase` is what stands before the counts: "reading", "applying". */
struct vr_status vr_ui_status(struct vr_ui *ui);
void vr_ui_begin(struct vr_ui *ui, const char *phase,
                 bool quiet); /* quiet: single steps are not told, only shown live */
void vr_ui_end(struct vr_ui *ui);

/* A line for the person: not in --json. */
void vr_ui_say(struct vr_ui *ui, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* An event: in --json only. Steals event. */
void vr_ui_event(struct vr_ui *ui, const char *name, json_t *event);

void vr_ui_plan(struct vr_ui *ui, const struct vr_plan *plan);
void vr_ui_summary(struct vr_ui *ui, const struct vr_run *run, double seconds);
/* {name: value} in the order of `decls`, or by name. */
void vr_ui_outputs(struct vr_ui *ui, const json_t *outputs);

#endif
