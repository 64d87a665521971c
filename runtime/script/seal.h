/* Secrets on their way to verbs and back. The engine has them as {"$secret": text}; verbs see plain
 * texts. */
#ifndef VR_SCRIPT_SEAL_H
#define VR_SCRIPT_SEAL_H

#include <jansson.h>
#include <lua.h>

/* Pushes a value for a verb: secrets as plain texts, without what is not known (nil in a table,
 * null in a list), and without nulls at its top. NULL gives nil. */
void vr_seal_push(lua_State *L, const json_t *value);
/* Adds the secrets inside a value to the list `found`, as texts, and the known secrets that they
 * are made of. */
void vr_seal_collect(const json_t *value, json_t *found);
/* A copy in which each text that holds one of the secrets is one: a new reference. */
json_t *vr_seal_known(json_t *value, const json_t *secrets);
/* A copy sealed as a described type says ({"type", "secret", "elem", "fields"}), NULL: no type;
 * from now on these secrets are masked. A new reference. */
json_t *vr_seal_typed(json_t *value, const json_t *type);
/* Seals result[part], an object of values by name, by the types of these names and by the secrets.
 */
void vr_seal_part(json_t *result, const char *part, const json_t *types, const json_t *secrets);

#endif
