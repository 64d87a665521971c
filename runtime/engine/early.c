/* Reads ahead of their turn. A node is visited when all that it needs is planned, so a chain would
 * be read one by one. But mostly nothing changes: what the state says of the dependencies is what
 * the plan will find, and a node can be read with that at once. The result counts if all that the
 * node needs stays as it is and its fields come out the same; else it is read again. Secrets are
 * not in the state, so who needs one is tried again when a dependency is planned. */
#include "engine/expr.h"
#include "engine/node.h"

enum { TRIES = 6 }; /* of one node: each costs an evaluation */

static bool may_try(const struct vr_node *node)
{
    const struct vr_node_private *p = node->private;
    return p->row && p->was && !node->kind->remembered && !p->planned && !p->left_out &&
           p->waits > 0 && p->early == VR_EARLY_NONE && p->tries < TRIES &&
           (p->type == VR_NODE_DECL || p->type == VR_NODE_INSTANCE) && !p->reads_only;
}

/* True where a whole reference is only a name: what it names is not known far enough to read with.
 */
static bool names_only(const json_t *value)
{
    const char *key;
    json_t *item;
    size_t index;
    if (json_is_object(value)) {
        if (json_object_get(value, "$ref") &&
            json_object_size(value) <= 1 + (json_object_get(value, "id") != NULL))
            return true;
        json_object_foreach((json_t *)value, key, item) if (names_only(item)) return true;
    }
    json_array_foreach(value, index, item) if (names_only(item)) return true;
    return false;
}

void vr_early_try(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    if (!may_try(node))
        return;
    p->tries++;
    p->plan->early = true;
    json_t *fields = vr_node_desired(node);
    p->plan->early = false;
    if (!fields || vr_has_unknown(fields) || names_only(fields)) {
        json_decref(fields);
        return;
    }
    p->early = VR_EARLY_WAITING;
    p->early_fields = fields;
    p->plan->reads_total++;
    vr_crew_wait(p->plan->crew, node->kind, -1, node);
}

/* A dependency of these is planned now. */
void vr_early_retry(const struct vr_link *users)
{
    for (; users; users = users->next)
        vr_early_try(users->node);
}

static bool nothing_moved(const struct vr_node *node)
{
    const struct vr_node_private *p = node->private;
    for (size_t i = 0; i < p->deps.count; i++) {
        const struct vr_node *dep = p->deps.items[i];
        if (dep->action != VR_ACTION_NOOP || dep->private->acts || dep->moved_from)
            return false;
    }
    json_t *now = vr_value_compact(p->fields), *then = vr_value_compact(p->early_fields);
    bool same = json_equal(now, then);
    json_decref(now);
    json_decref(then);
    return same;
}

bool vr_early_serves(struct vr_node *node)
{
    struct vr_node_private *p = node->private;
    if (p->early == VR_EARLY_NONE)
        return false;
    bool holds = nothing_moved(node);
    if (p->early == VR_EARLY_DONE) {
        struct vr_job *job = p->early_job;
        p->early = VR_EARLY_NONE;
        p->early_job = NULL;
        if (holds)
            vr_node_was_read(node, job);
        vr_job_free(job);
        return holds;
    }
    p->early = holds                          ? VR_EARLY_WANTED
               : p->early == VR_EARLY_WAITING ? VR_EARLY_NORMAL
                                              : VR_EARLY_STALE;
    return true; /* it is under way; what is stale is read again when it ends */
}

bool vr_early_ended(struct vr_node *node, struct vr_job *job)
{
    struct vr_node_private *p = node->private;
    switch (p->early) {
    case VR_EARLY_NONE:
    case VR_EARLY_NORMAL:
    case VR_EARLY_WANTED:
        p->early = VR_EARLY_NONE;
        return false;
    case VR_EARLY_STALE:
        p->early = VR_EARLY_NONE;
        vr_crew_wait(p->plan->crew, node->kind, 0, node);
        p->plan->reads_total++;
        vr_job_free(job);
        return true;
    default:
        p->early = p->planned ? VR_EARLY_NONE
                              : VR_EARLY_DONE; /* planned: nobody wanted to know after all */
        if (p->planned)
            vr_job_free(job);
        else
            p->early_job = job;
        return true;
    }
}
