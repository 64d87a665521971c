/* The inside of a plan, shared by the files that make it (plan.c, decide.c, diff.c, value.c,
 * collection.c, gone.c, show.c) and by run.c, which carries it out. Nobody outside of the engine
 * includes this. */
#ifndef VR_ENGINE_NODE_H
#define VR_ENGINE_NODE_H

#include "base/alloc.h"
#include "base/map.h"
#include "engine/crew.h"
#include "engine/plan.h"

enum { VR_DEPTH = 3 }; /* how deep whole references are shown inside of others' values */

enum vr_node_type {
    VR_NODE_DECL,     /* a declaration that is no template */
    VR_NODE_MEMBER,   /* a member of a collection */
    VR_NODE_INSTANCE, /* a template for a member */
    VR_NODE_GATHER,   /* all instances of a template, for who needs them all; never shown */
    VR_NODE_GONE,     /* a row that is no longer declared */
};

/* A read ahead of its turn: early.c. */
enum vr_early {
    VR_EARLY_NONE,
    VR_EARLY_WAITING, /* for a place */
    VR_EARLY_RUNNING,
    VR_EARLY_DONE,   /* its job is kept until the node is visited */
    VR_EARLY_WANTED, /* under way, and the node was visited: it counts */
    VR_EARLY_STALE,  /* under way, but it does not count: read again */
    VR_EARLY_NORMAL, /* still waited for a place when the node was visited: an ordinary read now */
};

struct vr_link {
    struct vr_node *node;
    struct vr_link *next;
};

/* A list of nodes in the plan's arena. */
struct vr_nodes {
    struct vr_node **items;
    size_t count;
};

struct vr_held { /* the rows of a collection's members */
    struct vr_row *row;
    struct vr_held *next;
};

struct vr_op; /* run.c */

/* A step of a roll: members that are added together, or taken away together. */
struct vr_phase {
    bool add;
    struct vr_nodes members;
    struct vr_op *before, *after; /* what it waits for, and what waits for all of it */
};

/* How the stale members of a collection are replaced: the phases one after the other, adding and
 * taking away in turns. */
struct vr_roll {
    size_t unavailable, surge; /* how many fewer, and how many more than wanted there may be */
    struct vr_phase *phases;
    size_t count;
};

struct vr_node_private {
    struct vr_plan *plan;
    enum vr_node_type type;
    size_t order;                   /* of declaration, for showing */
    size_t serial;                  /* of its making */
    struct vr_row *row;             /* as the plan found it; NULL: the state does not know it */
    const struct vr_decl *was_decl; /* a gone row that is declared, but goes with everything or with
                                       its member; else NULL */
    struct vr_nodes deps;           /* what is needed first */
    struct vr_node *turn;  /* of a join: whose turn is before its own; an apply's order only */
    struct vr_link *users; /* who waits for it in the plan */
    size_t waits;          /* dependencies that are not planned yet */
    struct vr_node *ready; /* next in the ready list */

    bool planned;
    bool blocked;     /* not planned for an error elsewhere */
    bool left_out;    /* by targets and excludes */
    bool note;        /* its row must be written, though nothing is done */
    bool look;        /* a create that must look first: it may exist */
    bool was_read;    /* observed is what the plan's read saw */
    bool absent;      /* the read said so, or it cannot exist */
    bool gone;        /* what it lived on is gone */
    bool reads_only;  /* its kind only reads */
    bool refs;        /* fields hold whole references */
    bool open;        /* fields hold unknowns outside of whole references */
    bool partial;     /* outputs that are missing are not known yet */
    bool digests;     /* nobody needs its secret outputs: they may be what the state has of them */
    bool acts;        /* a gather: the plan does something about one of its nodes */
    bool cbd;         /* a replacement that is made before the old one goes */
    bool last;        /* a replacement whose old one must go first */
    bool adopt;       /* exists without a row */
    bool tentative;   /* a member whose number is not known yet */
    bool renewed;     /* evaluated again in apply */
    bool keep_inputs; /* the row keeps what the recipe said when it was last applied */

    enum vr_early early;
    unsigned tries;
    json_t *early_fields;
    struct vr_job *early_job;

    json_t *fields;              /* as declared, evaluated; a gone row: as recorded */
    json_t *triggers;            /* replace_triggered_by, evaluated; NULL: none */
    json_t *inputs;              /* the row's inputs; NULL: none */
    json_t *was;                 /* the row's outputs; NULL: none */
    json_t *observed;            /* fields, as read; NULL: not read or absent */
    json_t *outputs;             /* as known now; NULL: none */
    json_t *own_changes;         /* the kind's own diff; NULL: the generic one */
    json_t *seen_members;        /* a collection, as read; NULL: not read */
    json_t *step_changes;        /* [{path, old, new}] with the real values, for update */
    json_t *value[VR_DEPTH + 1]; /* made when asked for */
    const char *etag;
    const char *recorded; /* the row's note */
    const char *deposed; /* the address of the old one's row while the new one is made; else NULL */
    const char *prior_id; /* the row's identity */
    const char *intent;   /* the verb that an earlier run began and did not end; else NULL */

    struct vr_nodes members;    /* a collection: those that stay, then those to come */
    bool counts;                /* a collection: its row shall say how many there are to be */
    size_t goal;                /* ... so many: of a roll that goes on */
    struct vr_roll *roll;       /* a collection of which members roll; else NULL */
    struct vr_phase *phase;     /* a member that rolls, or that comes for one; else NULL */
    const struct vr_node *wide; /* roll.c: needs all members of this collection */
    struct vr_nodes instances;  /* a member: one a template, at the template's slot */

    struct vr_op *act, *del; /* run.c */
};

struct vr_pick {          /* one member's instance of a template, for who needs only that */
    struct vr_node *node; /* a gather */
    size_t position;
    struct vr_pick *next;
};

/* The templates over one collection, in topological order. */
struct vr_templates {
    struct vr_decl **items;
    size_t count;
};

struct vr_plan {
    struct vr_plan_options options;
    struct vr_decls *decls; /* NULL: destroying without a recipe */
    struct vr_arena *arena;
    struct vr_crew *crew;
    uint64_t serial; /* the state's, when the plan was started */
    struct vr_nodes all;
    struct vr_nodes shown;
    struct vr_map by_address;
    struct vr_map moved;            /* new address -> row */
    struct vr_map renamed;          /* kind and identity -> row that is no longer declared */
    struct vr_map held;             /* collection's address -> its members' rows (struct vr_held) */
    struct vr_node **by_decl;       /* by vr_decl.index; a template: its gather */
    struct vr_pick **picks;         /* by vr_decl.index, of templates */
    size_t *slot;                   /* a template's place among its collection's */
    struct vr_templates *templates; /* by the collection's vr_decl.index */
    unsigned char
        *selected; /* by vr_decl.index: 0 left out, 1 in, 2 only instances that match a target */
    bool *secrets; /* by vr_decl.index: somebody may need its secret outputs */
    struct vr_node **current; /* by scope: the member that an evaluation stands in */
    struct vr_scope
        *standing_scope; /* of the node that is evaluated, with its member; NULL: no template */
    struct vr_node *standing;
    struct vr_node *ready_head, *ready_tail;
    struct vr_error *errors;
    size_t error_count;
    size_t left, phase; /* nodes that are not planned yet */
    size_t reads_done, reads_total;
    size_t left_out;
    struct vr_refusal *refusals; /* records asked for at plan time */
    char *cancel_reason;
    bool early;   /* an evaluation may use what the state says of nodes that are not planned yet */
    bool deposed; /* an earlier run left old ones of replacements */
    bool started, finished, applied;
    vr_plan_done done;
    void *payload;
};

/* plan.c */
bool vr_plan_match_any(const char **patterns, size_t count, const char *address);
bool vr_plan_held(const struct vr_plan *plan, const char *address);
void vr_node_leave_out(struct vr_node *node, bool out); /* out: by targets and excludes */
struct vr_node *vr_node_new(struct vr_plan *plan, enum vr_node_type type, const char *address,
                            const struct vr_kind *kind);
void vr_node_rename(struct vr_node *node, const char *address);
void vr_node_add(struct vr_plan *plan, struct vr_nodes *list, struct vr_node *node);
void vr_node_needs(struct vr_node *node, struct vr_node *dep); /* before it is planned */
void vr_node_enqueue(struct vr_node *node);                    /* if it waits for nothing more */
void vr_node_planned(struct vr_node *node);                    /* releases who waits */
/* its dependencies, from the graph */
void vr_node_edges(struct vr_node *node, struct vr_node *member);
void vr_node_find_row(struct vr_node *node); /* by address, or moved */
void vr_node_take_row(struct vr_node *node, struct vr_row *row);
/* moves err */
void vr_plan_error_add(struct vr_plan *plan, const struct vr_node *node, struct vr_error *err);
const char *vr_plan_format(struct vr_plan *plan, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* also one that was moved */
struct vr_node *vr_plan_address(const struct vr_plan *plan, const char *address);
bool vr_node_acts(const struct vr_node *node); /* the plan does something about it */
struct vr_job *vr_node_job(struct vr_crew *crew, struct vr_node *node, enum vr_verb verb,
                           void *owner);

/* value.c */

/* fields and triggers, from its declaration */
bool vr_node_evaluate(struct vr_node *node, struct vr_error *err);
/* its fields with what is known by now: a new reference; NULL: error */
json_t *vr_node_desired(struct vr_node *node);
json_t *vr_node_value(struct vr_node *node, int depth); /* a new reference; has "$ref" */
void vr_node_forget_values(struct vr_node *node);       /* outputs or fields changed */
const char *vr_node_id(const struct vr_node *node);     /* NULL: not known */
/* whole references as {"$ref", "id"} */
json_t *vr_value_compact(const json_t *value);
/* compact, and without secrets */
json_t *vr_value_redact(const struct vr_plan *plan, const json_t *value);
/* a row's inputs with what they refer to */
json_t *vr_value_live(struct vr_node *node, const json_t *recorded);
/* Digests replaced by the secrets that decl says at their places, where they are the same: recorded
 * is stolen. */
json_t *vr_value_with_secrets(struct vr_node *node, const struct vr_decl *decl, json_t *recorded);
/* digests are unknown: a new reference */
json_t *vr_value_undigest(struct vr_node *node, const json_t *recorded);
void vr_value_scan(const json_t *value, bool *refs, bool *open); /* sets what it finds */
/* a secret or a digest outside of whole references */
bool vr_value_hides(const json_t *value);
/* unknown outside of whole references */
bool vr_value_open(const json_t *value);
/* only what was unknown became known */
bool vr_value_fills(const json_t *planned, const json_t *actual);
/* stolen */
json_t *vr_value_taint(json_t *value, const struct vr_field *fields, size_t count, unsigned flag);
json_t *vr_value_wrap(const json_t *value); /* all texts inside as secrets: a new reference */
typedef void (*vr_value_visit)(void *payload, struct vr_node *to, const char *field);
void vr_value_refs(struct vr_plan *plan, const json_t *fields, vr_value_visit visit, void *payload);
json_t *vr_node_inputs(struct vr_node *node); /* what its row shall say: a new reference */
json_t *vr_node_deps(struct vr_node *node);   /* addresses: a new reference */
struct vr_lookup vr_plan_lookup(struct vr_plan *plan);

/* diff.c */

/* changes and step_changes, of fields against observed and inputs */
void vr_node_diff(struct vr_node *node);
bool vr_value_same(const struct vr_plan *plan, const json_t *a, const json_t *b, bool fold);

/* decide.c */

/* all it needs is planned: read it or decide */
void vr_node_visit(struct vr_node *node);
void vr_node_was_read(struct vr_node *node, struct vr_job *job); /* job->result or job->error */
void vr_node_recall(struct vr_node *node); /* sees what the state says: of a remembered kind */
void vr_node_see(struct vr_node *node, const json_t *result); /* what a read answered */
/* diff and action, of what was seen */
void vr_node_compare(struct vr_node *node);
/* stolen; tainted by the kind's flags */
void vr_node_outputs(struct vr_node *node, json_t *outputs);
void vr_node_why(struct vr_node *node); /* the reason, of its changes */

/* early.c */
void vr_early_try(struct vr_node *node);
void vr_early_retry(const struct vr_link *users);
/* true: no other read is needed (it may have been decided by this call) */
bool vr_early_serves(struct vr_node *node);
/* true: the job is taken care of; false: an ordinary read */
bool vr_early_ended(struct vr_node *node, struct vr_job *job);

/* collection.c */
void vr_collection_plan(struct vr_node *node, const json_t *members); /* once its action is known */
/* Gives a gather, made for it, the instances that it stands for; the collection is planned. */
void vr_collection_gather(struct vr_node *node, struct vr_node *gather, struct vr_decl *decl,
                          size_t position);
/* run.c: members that came, for those to come of a phase (NULL: of none) */
size_t vr_collection_bind(struct vr_node *node, const json_t *members,
                          const struct vr_phase *phase);
/* run.c: a member that came under the address of an old one whose row still stands; NULL: none */
const char *vr_collection_taken(const struct vr_node *node, const json_t *members);
/* How many there are to be where so many are there: inside of a range that is how many there are.
 * false: as many as there are, or nobody knows yet */
bool vr_collection_wants(const struct vr_node *node, size_t have, size_t *want);
void vr_collection_list(struct vr_node *node);        /* its output says who its members are now */
bool vr_member_is_dead(const struct vr_node *member); /* failed, evicted, deleted */
char *vr_member_address(const struct vr_node *collection, const char *id);

/* roll.c */
/* Who of the members that are there is stale, and what of these rolls: the list, in their order;
 * they are to be removed. */
void vr_roll_mark(struct vr_node *node, struct vr_nodes *there);
struct vr_nodes vr_roll_choose(struct vr_node *node, const struct vr_nodes *there);
/* An interrupted roll knows how many there were to be, where a range would not say. */
void vr_roll_goal(struct vr_node *node, size_t have, size_t *want);
/* The phases: old ones go, new ones come. have: how many there are when it begins. */
void vr_roll_plan(struct vr_node *node, const struct vr_nodes *old, const struct vr_nodes *fresh,
                  size_t have, size_t want);
/* The member of the plan that a row's address stands on, if that rolls; else NULL. */
struct vr_node *vr_roll_member(const struct vr_plan *plan, const char *address);

/* gone.c */
void vr_gone_add(struct vr_plan *plan);    /* nodes for all rows that nobody took */
void vr_gone_visit(struct vr_node *node);  /* like vr_node_visit */
void vr_gone_settle(struct vr_plan *plan); /* when all is planned */
void vr_gone_was_read(struct vr_node *node, struct vr_job *job);

/* show.c */
void vr_plan_sort(struct vr_plan *plan);

#endif
