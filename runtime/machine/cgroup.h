/* A machine's own cgroups: a child of ours in each hierarchy of version 1, one below the root of a
 * version 2, where the controllers are handed on. */
#ifndef VR_MACHINE_CGROUP_H
#define VR_MACHINE_CGROUP_H

#include <stdbool.h>

#include "base/error.h"

struct vr_cgroups;

struct vr_cgroups *vr_cgroups_find(struct vr_error *err); /* NULL: none that machines can use */
void vr_cgroups_free(struct vr_cgroups *cgroups);         /* NULL is fine */

bool vr_cgroup_make(const struct vr_cgroups *cgroups, const char *name, struct vr_error *err);
/* This process goes in. `scope`: below the cgroup, where version 2 lets processes be; may be NULL.
 */
bool vr_cgroup_enter(const struct vr_cgroups *cgroups, const char *name, const char *scope);
/* In a cgroup namespace of its own: shows what is below at `folder`. */
bool vr_cgroup_mount(const struct vr_cgroups *cgroups, const char *folder);
/* False while somebody is in it. */
bool vr_cgroup_remove(const struct vr_cgroups *cgroups, const char *name);
/* Removes what others left, wherever they stood: every empty cgroup whose name begins so. */
void vr_cgroup_sweep(const struct vr_cgroups *cgroups, const char *prefix);

#endif
