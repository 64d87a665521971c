/* The plan: what is declared against what is there and what was remembered. Every action with its
 * reason.
 *
 *     struct vr_plan *plan = vr_plan_new(&options);
 *     vr_plan_start(plan, done, payload);       reads in parallel through the runner; the host
 * turns it
 *     ... vr_plan_turn(plan) whenever notified ...
 *     done(payload): vr_plan_error_count, vr_plan_count, vr_plan_at; then vr_run_new(plan, ...) in
 * run.h
 *
 * Addresses: a member of a collection is ADDRESS.OUTPUT[ID]
 * ("azure.virtual_machine_scale_set.w.instances[w_1]"), one that is still to come
 * ADDRESS.OUTPUT[+1], [+2], ...; an instance of a template is MEMBER/TEMPLATE; the old one of a
 * replacement whose new one is made first keeps its row as ADDRESS#replaced.
 *
 * A whole reference in a field whose change forces replacement says what the node lives on: it is
 * made anew, or replaced, together with that. A row that is no longer declared but has the identity
 * of a new declaration of its kind is a move.
 */
#ifndef VR_ENGINE_PLAN_H
#define VR_ENGINE_PLAN_H

#include "engine/graph.h"
#include "engine/state.h"
#include "engine/step.h"

enum vr_action {
    VR_ACTION_NOOP,  /* as it should be */
    VR_ACTION_READ,  /* a kind that is only read, and can be read only during apply */
    VR_ACTION_ADOPT, /* exists and is right, but the state does not know it: only the state is
                        written */
    VR_ACTION_CREATE,
    VR_ACTION_UPDATE,
    VR_ACTION_REPLACE,
    VR_ACTION_DELETE,
    VR_ACTION_FORGET, /* leaves the state, stays in the world */
    VR_ACTION_ADD, /* a collection grows (node->add) and is otherwise right; or a member to come */
    VR_ACTION_REMOVE,  /* a member that goes */
    VR_ACTION_UNKNOWN, /* not reachable: nothing is planned for it */
};
const char *vr_action_name(enum vr_action action); /* "no-op", "create", ... */

enum vr_certainty {
    VR_EXACT,     /* read now and compared */
    VR_PREDICTED, /* follows from an earlier action of this plan */
    VR_LATER,     /* some values are known after apply */
};
/* "exact", "predicted", "known after apply" */
const char *vr_certainty_name(enum vr_certainty certainty);

enum vr_why {
    VR_WHY_RECIPE,  /* the recipe says something else than last time */
    VR_WHY_OUTSIDE, /* changed outside of vmrun */
    VR_WHY_BOTH,
    VR_WHY_ADOPTED,  /* there is no record of what it was */
    VR_WHY_UPSTREAM, /* follows from another action */
};
const char *vr_why_name(enum vr_why why);

struct vr_change {
    char *path;     /* "rules[ssh].port" */
    json_t *before; /* NULL: was not there. Secrets are {"$digest": ...} */
    json_t *after;  /* NULL: goes. {"$unknown": ...}: known after apply */
    enum vr_why why;
    bool replace; /* forces replacement */
    bool secret;
};

/* One node of the plan: a declaration, an instance of a template, a member of a collection, or a
 * row that is no longer declared. To others it is read-only. */
struct vr_node {
    const char *address;
    const struct vr_kind *kind; /* a member: the collection's kind */
    struct vr_decl *decl;       /* NULL: no longer declared, or a member */
    const char *file;           /* where it is (or was) declared; may be NULL */
    int line;
    enum vr_action action;
    enum vr_certainty certainty;
    const char *reason; /* one line: "new", "field `sku` changed: forces replacement", "no longer
                           declared", ... */
    struct vr_change *changes;
    size_t change_count;
    size_t add;                   /* a collection: how many members more */
    const char *member;           /* a member: its id; NULL for one to come */
    const char *template_address; /* an instance: its template's address, to fold by; else NULL */
    struct vr_node *parent;       /* a member: its collection; an instance: its member; else NULL */
    const char *status;           /* "stopped", "evicted", ... as read; may be NULL */
    const char *stale;            /* why it is not as it would be made now ("size"), though nothing
                                     of it differs; a member: or will not be after this apply; else
                                     NULL */
    bool rolls;                   /* stale, alone: it is to be replaced, one such at a time */
    struct vr_node *partner;      /* a member that rolls: who comes for it; one to come: for whom */
    const char *identity;         /* may be NULL */
    const char *moved_from;       /* its row had this address; may be NULL */
    struct vr_error error;        /* UNKNOWN; after apply: why it failed or was skipped */
    struct vr_node_private *private;
};

struct vr_plan_options {
    struct vr_graph *graph; /* NULL only with `destroy` */
    struct vr_state *state;
    const struct vr_runner *runner;
    const struct vr_host *host;
    const struct vr_status *status; /* may be NULL */
    struct vr_limits limits;
    /* Kinds by name, for rows that are no longer declared. NULL gives an error that names the row.
     */
    const struct vr_kind *(*find_kind)(void *payload, const char *name);
    void *payload;
    bool destroy;         /* everything in the state goes */
    bool refresh_only;    /* only what changed outside is noted; nothing is done */
    const char **targets; /* only these addresses (prefixes end with `*`) and what they need */
    size_t target_count;
    const char **excludes; /* not these, nor what needs them */
    size_t exclude_count;
    const char **holds; /* these stay as they are; what needs them goes on, if they are there */
    size_t hold_count;
    const char **replace; /* these are replaced whatever they look like */
    size_t replace_count;
    const char *roll; /* the one that is replaced as it is stale (vr_plan_next_roll); may be NULL */
};

/* Whether an address is what a pattern says: itself, or when the pattern ends with `*`, a prefix.
 */
bool vr_plan_match(const char *pattern, const char *address);

struct vr_plan;
/* what options points to must outlive the plan */
struct vr_plan *vr_plan_new(const struct vr_plan_options *options);
/* NULL is fine; nothing may run */
void vr_plan_free(struct vr_plan *plan);
typedef void (*vr_plan_done)(void *payload);
/* done is called from vr_plan_turn */
void vr_plan_start(struct vr_plan *plan, vr_plan_done done, void *payload);
void vr_plan_turn(struct vr_plan *plan);
/* running reads are cancelled; done still comes */
void vr_plan_cancel(struct vr_plan *plan, const char *reason);

size_t vr_plan_count(const struct vr_plan *plan);
/* Nodes in the order to show: deletions and replacements first, then by place; NOOP ones too. */
struct vr_node *vr_plan_at(const struct vr_plan *plan, size_t index);
struct vr_node *vr_plan_find(const struct vr_plan *plan, const char *address);
/* Why the plan cannot be applied. "unreachable" ones are not in here: they are nodes with
 * VR_ACTION_UNKNOWN. */
size_t vr_plan_error_count(const struct vr_plan *plan);
const struct vr_error *vr_plan_error_at(const struct vr_plan *plan, size_t index);

struct vr_plan_summary {
    size_t add, change, destroy; /* a replacement counts as one add and one destroy */
    size_t adopt, forget, unknown;
    size_t exact, predicted, later; /* of all actions */
    size_t left_out;                /* by targets and excludes */
    size_t drifted;                 /* changed or deleted outside, whatever is planned for them */
    bool refresh_only;              /* the plan was made so */
};
/* Whether it changed or was deleted outside since the last apply. */
bool vr_node_drifted(const struct vr_node *node);
struct vr_plan_summary vr_plan_summary(const struct vr_plan *plan);
/* No action at all. A run of an empty plan still writes down what the reads found new (an etag, a
 * moved address), and does nothing if there is none. */
bool vr_plan_empty(const struct vr_plan *plan);
/* Whether it is stale and rolls, and this plan leaves it as it is, but not for good: it is neither
 * held, nor protected, nor left out. */
bool vr_node_waits(const struct vr_node *node);
/* The first that waits: a plan with it as `roll` is made once nothing else is left
 * to do. NULL: there is none. */
const struct vr_node *vr_plan_next_roll(const struct vr_plan *plan);

/* An output's value now, or after apply: a new reference; NULL with an error. Secrets are
 * {"$secret": ...}. */
json_t *vr_plan_output(const struct vr_plan *plan, const struct vr_output *output,
                       struct vr_error *err);
/* A node's fields and outputs as known now: a new reference. */
json_t *vr_plan_value(const struct vr_plan *plan, const struct vr_node *node);

/* What is planned for a node, as in vr_plan_json: a new reference. */
json_t *vr_node_json(const struct vr_node *node);
/* The plan as data, without secrets: {"format": 1, "vmrun", "stack", "serial", "actions": [...],
 * "summary": {...}}. */
json_t *vr_plan_json(const struct vr_plan *plan);
/* True when this plan, just made, does what the saved one (vr_plan_json) said and nothing else;
 * else what moved. */
bool vr_plan_matches(const struct vr_plan *plan, const json_t *saved, struct vr_error *err);

#endif
