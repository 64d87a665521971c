/* A world that is made up, for tests of plan and run: things with ids, a clock that only moves when
 * nothing else can happen, and durations, failures and crashes out of a seed. Rules are checked as
 * steps start and end; the first that is broken is kept in `broken`. Kinds are those of
 * graph_text.h, with fields `name` (identity /KIND/NAME, forces replacement), `on` (what it lives
 * on: forces replacement), `pw` (secret, cannot be read), `size` (a set's: its members have it from
 * when they were made, and are stale when the set's is another), `roll`. */
#ifndef FAKE_RUNNER_H
#define FAKE_RUNNER_H

#include <pthread.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/map.h"
#include "engine/run.h"
#include "graph_text.h"

struct fake_thing {
    char *id, *address, *kind;
    json_t *fields; /* as given by create or update: whole references as {"id"} */
    json_t *outputs;
    json_t *members; /* of a set */
    bool unreachable;
    char *status, *stale; /* stale: as its reads say, and it rolls */
    struct fake_thing *prev, *next;
};

struct fake {
    struct fake_thing *things;
    struct vr_map by_id, by_address; /* the latest at an address */
    double clock;
    uint64_t seed;
    bool random;                          /* durations and the end of cancelled steps are random */
    unsigned fail_percent;                /* of effects */
    double seconds;                       /* how long an effect takes */
    const char *fail_address, *fail_code; /* its effects fail; NULL: none */
    const char *lost_address;             /* its reads are unreachable */
    bool sync;                            /* steps end inside of start */
    bool members_at_once;                 /* create of a set makes its members */
    bool ids_again;                       /* each set counts its members from 1 */
    bool predict;                         /* a named thing's id is known before creation */
    bool predict_wrong;                   /* ... and its etag, wrongly */
    bool no_identity;                     /* kinds do not know identities before creation */
    size_t each;                          /* limit that must hold; 0: none */
    char *broken;                         /* the first rule that was broken */
    struct vr_buf log;                    /* "create t.x.a; ..." : effects, as they start */
    size_t reads, writes, running, most;
    size_t next_id;
    size_t added, removed;            /* members, by ADD and REMOVE, and with their set */
    void (*watch)(struct fake *fake); /* called after each effect */
    size_t limit[4];                  /* for watch's use */
    json_t *last_fields, *last_changes, *last_prior, *last_recorded; /* of the last effect */
    json_t *own_changes; /* what reads say that changed; NULL: nothing, the engine compares */
    bool record;         /* effects note {"note": address} first */
    size_t recorded;
    size_t progress;
    size_t told; /* secrets, by reads */

    /* Of the stack. */
    char *root;
    struct vr_state *state;
    struct graph_text *text;
    struct vr_graph *graph;
    struct vr_plan *plan;
    struct vr_run *run;
    struct vr_runner runner;
    struct vr_host host;
    bool notified, ended;
    pthread_t thread;
    struct fake_step *steps;
    size_t turns;
    long crash_after; /* turns of the run until a crash; negative: none */
    bool crashed;
    long cancel_after;
    enum vr_cancel cancel_how;
    bool cancel_plan; /* as soon as it reads */
};

struct fake *fake_new(uint64_t seed);
void fake_free(struct fake *fake);
uint64_t fake_random(struct fake *fake, uint64_t below);
/* Calls live with the seeds 1 to VMRUN_SEEDS (else `otherwise`), or with VMRUN_SEED alone. */
void fake_seeds(void (*live)(uint64_t seed), uint64_t otherwise);

void fake_recipe(struct fake *fake, const char *text); /* from now on; frees the old plan */
struct vr_plan *fake_plan(struct fake *fake);          /* of the recipe; kept until the next */
struct vr_plan *fake_plan_with(struct fake *fake, struct vr_plan_options options);
struct vr_run_summary fake_apply(struct fake *fake); /* carries out the last plan */
struct vr_run_summary fake_run(struct fake *fake);   /* both; the plan must have no errors */
void fake_reopen(struct fake *fake);                 /* closes the state and opens it again */

/* alive; NULL if there is none */
struct fake_thing *fake_find(struct fake *fake, const char *address);
void fake_lose(struct fake *fake, const char *address); /* deleted outside */
size_t fake_count(const struct fake *fake);
/* Things without a row and rows without a thing: a new text, empty if all is well. */
char *fake_strays(struct fake *fake);
/* "action address; ..." of all that is not a no-op */
char *fake_show(const struct vr_plan *plan);
char *fake_take_log(struct fake *fake); /* and empties it */

#endif
