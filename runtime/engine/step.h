/* One call of a kind's verb, as the runner sees it; and the host that the engine runs on. The
 * engine has no loop, no clock and no threads of its own but the state's writer: it is turned by
 * its host. */
#ifndef VR_ENGINE_STEP_H
#define VR_ENGINE_STEP_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/error.h"
#include "engine/kind.h"

struct vr_step {
    enum vr_verb verb;
    const struct vr_kind *kind;
    const char *address, *name;
    const char *file; /* the declaration's place; may be NULL */
    int line;
    json_t
        *fields; /* desired; whole references are objects of fields and outputs, with "$ref": the
                    address (below a few levels only {"$ref", "id"}); secrets as {"$secret": ...}. A
                    delete has what the state recorded, references made live again; a secret that
                    cannot be had again is {"$digest": ...}. ADD and REMOVE have the collection's */
    json_t *
        unknown; /* READ at plan time: paths (arrays) of what is not known in fields; may be NULL */
    json_t *prior;        /* {"id", "fields", "outputs"} of the state, or NULL */
    json_t *changes;      /* UPDATE: array of {"path", "old", "new"}; or NULL */
    json_t *recorded;     /* the last note of an interrupted run, or NULL */
    const char *identity; /* may be NULL */
    const char *etag;     /* what the plan's read saw; may be NULL */
    size_t count;         /* ADD: how many */
    const char *member;   /* REMOVE: whose id */
    double timeout;       /* seconds; 0: the runner's default */
    bool dry;             /* plan time: nothing may be written */
    bool secrets; /* READ: somebody may need its secret outputs; else it may give back those of
                     `prior`, which are digests */
    bool gone;    /* DELETE: what it lived on is gone already; "unreachable" will count as done */
    void *runner; /* for the runner's own use */
};

/* Runs verbs. start may call vr_step_done itself: the engine only queues the result for its next
 * turn. */
struct vr_runner {
    void (*start)(void *payload, struct vr_step *step);
    /* Asks a started step to end soon: it still ends with vr_step_done (code "cancelled", or its
     * result). */
    void (*cancel)(void *payload, struct vr_step *step, const char *reason);
    void *payload;
};

/* Ends a step, once, from the loop's thread; the step is gone when this returns (the engine's turn
 * frees it). result (stolen; may be NULL for delete, remove) is an object: read     absent: json
 * null or {"absent": true}; else {"fields", "outputs", "etag", "identity", "status", "members",
 * "changes", "stale", "rolls"} create   {"outputs", "identity", "members", "etag"};  update: the
 * same add {"members":
 * [{"id", ...}]} or err (moved; not NULL with a message): it failed. Code "unreachable" in a read
 * is neither drift nor absence. */
void vr_step_done(struct vr_step *step, json_t *result, struct vr_error *err);
/* Keeps a note with the step, durably: an interrupted run finds it in `recorded`. done runs on the
 * loop when it is safe on disk (or at once if not possible, with ok false), unless the step ended
 * first. note is stolen. done may be NULL. */
typedef void (*vr_step_recorded)(void *payload, bool ok);
void vr_step_record(struct vr_step *step, json_t *note, vr_step_recorded done, void *payload);
/* Says whether the step only waits now for what other steps of the run do. While all that run are
 * such, one more is begun than the limits say. Returns whether all are and none is left to begin:
 * then none of them will see what it waits for. */
bool vr_step_waits(struct vr_step *step, bool waits);
/* What is going on: what is waited for, or (`said`) a line that a remote command printed. */
void vr_step_progress(struct vr_step *step, const char *text, bool said);

/* Who turns the engine. */
struct vr_host {
    /* Something happened: call vr_plan_turn or vr_run_turn soon, on the loop. Called from any
     * thread; may be called many times for one turn. */
    void (*notify)(void *payload);
    double (*now)(void *payload); /* monotonic seconds */
    void *payload;
};

/* What a screen shows. Any callback may be NULL. */
struct vr_node;
struct vr_status {
    /* after each change */
    void (*totals)(void *payload, size_t done, size_t running, size_t total);
    void (*started)(void *payload, const struct vr_node *node, enum vr_verb verb);
    void (*progress)(void *payload, const struct vr_node *node, enum vr_verb verb, const char *text,
                     bool said);
    void (*done)(void *payload, const struct vr_node *node, enum vr_verb verb, double seconds);
    void (*failed)(void *payload, const struct vr_node *node, enum vr_verb verb,
                   const struct vr_error *err);
    /* Not done because of another: why is "X failed", "cancelled", ... */
    void (*skipped)(void *payload, const struct vr_node *node, const char *why);
    void *payload;
};

/* How many steps of a provider may run at once. */
struct vr_limits {
    size_t total;       /* 0: 256 */
    size_t each;        /* of a provider that is not listed; 0: 64 */
    const char **names; /* of providers ("azure"), and of kinds ("azure.subnet") that have one of
                           their own */
    const size_t *limits;
    size_t count;
};

#endif
