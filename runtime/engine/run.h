/* Apply: carries out a plan. Starts whatever is ready, longest remaining path first, within limits;
 * writes intents before and results after; a failure stops only what depends on it. */
#ifndef VR_ENGINE_RUN_H
#define VR_ENGINE_RUN_H

#include "base/buf.h"
#include "engine/plan.h"

struct vr_run;
struct vr_run_options {
    struct vr_plan *plan; /* done, without errors; must outlive the run */
    const struct vr_runner *runner;
    const struct vr_host *host;
    const struct vr_status *status; /* may be NULL */
    struct vr_limits limits;
};

/* NULL with an error: the plan has errors, was applied already, or the state moved on since (any
 * commit counts, so meta is written before the plan or after this call). */
struct vr_run *vr_run_new(const struct vr_run_options *options, struct vr_error *err);
void vr_run_free(struct vr_run *run); /* when done; NULL is fine */
typedef void (*vr_run_done)(void *payload);
/* done is called from vr_run_turn */
void vr_run_start(struct vr_run *run, vr_run_done done, void *payload);
void vr_run_turn(struct vr_run *run);

enum vr_cancel {
    VR_CANCEL_GRACEFUL, /* starts nothing more; what runs ends by itself */
    VR_CANCEL_NOW,      /* cancels what runs; its intents stay open, so the next run looks first */
};
void vr_run_cancel(struct vr_run *run, enum vr_cancel how, const char *reason);

struct vr_run_summary {
    size_t added, changed, destroyed, adopted;
    size_t failed, skipped;
    bool cancelled;
    double critical_path; /* seconds: the longest chain of what really ran */
};
struct vr_run_summary vr_run_summary(const struct vr_run *run);
/* Failures in the order they happened; skipped nodes say so in node->error. */
size_t vr_run_failure_count(const struct vr_run *run);
const struct vr_node *vr_run_failure_at(const struct vr_run *run, size_t index);
/* What could not be written: the run stopped. NULL if nothing. */
const struct vr_error *vr_run_state_error(const struct vr_run *run);

/* {"events": [{"address", "verb", "start", "seconds", "ok", "needs": [...]}]} for a report, as
 * JSON; start is since the run's start. */
void vr_run_report(const struct vr_run *run, struct vr_buf *out);

#endif
