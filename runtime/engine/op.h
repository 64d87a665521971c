/* The operations of an apply: what each node of the plan comes to, and which waits for which. Made
 * by op.c, carried out by run.c; nobody outside of the engine includes this. */
#ifndef VR_ENGINE_OP_H
#define VR_ENGINE_OP_H

#include "engine/node.h"

enum vr_op_state {
    VR_OP_WAITING,
    VR_OP_READY,  /* in the crew's queue, or about to be */
    VR_OP_INTENT, /* its intent is not durable yet */
    VR_OP_RUNNING,
    VR_OP_DONE,
    VR_OP_FAILED,
    VR_OP_SKIPPED,
};

struct vr_op_edge {
    struct vr_op *to; /* waits for this one */
    struct vr_op_edge *next;
    bool soft;  /* only good manners: may be dropped where it would close a circle */
    bool loose; /* to an operation that adds members: one less, when this one did not come to be */
    bool dropped;
};

/* A node has up to two: `act` makes it what it should be, `del` takes it (or what it was) away. */
struct vr_op {
    struct vr_node *node;
    bool del;
    bool real;                    /* runs a verb; else it is only written down, or nothing */
    bool placed;                  /* has a place with the crew */
    bool looked;                  /* a create has looked whether it exists */
    bool added;                   /* a collection has asked for its members */
    bool idle;                    /* there was nothing to do after all */
    bool barrier;                 /* nothing itself: of a roll, what all of a phase waits for */
    bool begins;                  /* a barrier: before the first phase */
    bool ends;                    /* a barrier: after the last one */
    const struct vr_phase *phase; /* adds the members of this one; else NULL */
    size_t count;                 /* of members to add */
    struct vr_tally *tally;       /* of a join: what counts those that failed; else NULL */
    double took;                  /* seconds of its create */
    enum vr_op_state state;
    enum vr_verb verb; /* that runs, or will when its intent is durable */
    size_t waits;
    struct vr_op_edge *users;
    double path;        /* seconds from its start to the end of all that waits for it */
    double end_path;    /* seconds of the longest chain that ended with it, as it ran */
    double last_end;    /* when the last that it waited for ended */
    struct vr_op *last; /* that one, if real */
    double started;
    uint64_t ticket; /* of its intent's commit; 0: not asked for yet */
    struct vr_op *next;
};

struct vr_ops {
    struct vr_arena *arena;
    struct vr_plan *plan;
    struct vr_op **items; /* in an order in which they can run */
    size_t count;
};

struct vr_ops vr_ops_make(struct vr_plan *plan); /* in an arena of their own */
void vr_ops_free(struct vr_ops *ops);
struct vr_op *vr_ops_add(struct vr_ops *ops, struct vr_node *node, bool del);
/* first before then; NULL (no edge) where one of them is not there */
struct vr_op_edge *vr_ops_edge(struct vr_ops *ops, struct vr_op *first, struct vr_op *then);

/* roll.c: the operations of rolls, and their edges; all others are there */
void vr_roll_ops(struct vr_ops *ops);

#endif
