/* Who works at once: the steps in flight, the limits that they count against, and the queue of what
 * waits for a place. Used by plan.c for reads and by run.c for everything; nobody outside of the
 * engine needs it. */
#ifndef VR_ENGINE_CREW_H
#define VR_ENGINE_CREW_H

#include "engine/step.h"

struct vr_crew;

/* A step with what belongs to it. The texts and JSON values of `step` that were set by the engine
 * are given to vr_job_free: JSON is owned, texts live as long as the owner. */
struct vr_job {
    struct vr_step step; /* first: a step is its job */
    struct vr_crew *crew;
    void *owner;    /* a node (plan) or an operation (run) */
    json_t *result; /* when done: owned */
    struct vr_error error;
    bool done;
    bool waits; /* for what others do, see vr_step_waits */
    double started;
    struct vr_job *prev, *next; /* running, or finished */
};

/* What vr_step_record and vr_step_progress come to. */
struct vr_crew_sink {
    void (*record)(void *payload, struct vr_job *job, json_t *note, vr_step_recorded done,
                   void *done_payload);
    void (*progress)(void *payload, struct vr_job *job, const char *text, bool said);
    void *payload;
};

struct vr_crew *vr_crew_new(const struct vr_runner *runner, const struct vr_host *host,
                            const struct vr_limits *limits, struct vr_crew_sink sink);
void vr_crew_free(struct vr_crew *crew); /* nothing may run; NULL is fine */

/* The owner waits for a place with its kind's provider; higher priority first, then first come. */
void vr_crew_wait(struct vr_crew *crew, const struct vr_kind *kind, double priority, void *owner);
/* The next owner that has a place now, or NULL. It keeps the place until vr_crew_leave. Where all
 * that have one only wait for what others do, there is one more place. */
void *vr_crew_take(struct vr_crew *crew);
void vr_crew_leave(struct vr_crew *crew, const struct vr_kind *kind);
/* takes any owner that waits out of the queue; NULL: none */
void *vr_crew_drop(struct vr_crew *crew);

struct vr_job *vr_job_new(struct vr_crew *crew, const struct vr_kind *kind, enum vr_verb verb,
                          void *owner);
void vr_job_start(struct vr_job *job);
/* the next that has ended, or NULL; the caller frees it */
struct vr_job *vr_crew_finished(struct vr_crew *crew);
bool vr_crew_has_finished(const struct vr_crew *crew);
void vr_job_free(struct vr_job *job);
size_t vr_crew_running(const struct vr_crew *crew);
void vr_crew_cancel(struct vr_crew *crew, const char *reason); /* asks all that run to end soon */

#endif
