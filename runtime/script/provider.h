/* Kinds of the standard library (and of libraries) for the engine, and the runner that runs their
 * verbs: a task a step. */
#ifndef VR_SCRIPT_PROVIDER_H
#define VR_SCRIPT_PROVIDER_H

#include <jansson.h>

#include "base/error.h"
#include "engine/kind.h"
#include "engine/step.h"

struct lua_State;
struct vr_script;
struct vr_provider;
struct vr_provider *vr_provider_new(struct vr_script *script);
void vr_provider_free(struct vr_provider *provider); /* no step may run; NULL is fine */
struct lua_State *vr_provider_lua(const struct vr_provider *provider);
struct vr_provider *vr_provider_of(struct lua_State *L); /* the state's provider, or NULL */

/* What verbs see as ctx.target and ctx.stack. The target is copied. Set before the first identity
 * is asked for. */
void vr_provider_bind(struct vr_provider *provider, const json_t *target, const char *stack);

/* The kind of a full name, or NULL with an error (code "kind"). It lives as long as the provider.
 */
const struct vr_kind *vr_provider_kind(struct vr_provider *provider, const char *name,
                                       struct vr_error *err);
/* The kind of the page (a table) at index: made anew when the page is another one than last time.
 */
const struct vr_kind *vr_provider_page(struct vr_provider *provider, struct lua_State *L, int index,
                                       struct vr_error *err);

/* The runner; the provider is its payload. */
struct vr_runner vr_provider_runner(struct vr_provider *provider);
/* What verbs want a person to know in the end (`note` in what they give back): array of {"address",
 * "text"}. Borrowed. */
const json_t *vr_provider_notes(const struct vr_provider *provider);
/* Steps that were started and not ended. */
size_t vr_provider_running(const struct vr_provider *provider);

#endif
