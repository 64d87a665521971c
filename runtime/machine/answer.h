/* What the keeper says to the emulator: JSON, a line a message. */
#ifndef VR_MACHINE_ANSWER_H
#define VR_MACHINE_ANSWER_H

#include <jansson.h>

#include "base/error.h"

void vr_answer(json_t *message);                              /* takes it over */
void vr_answer_ok(const json_t *id);                          /* {"id", "ok": true} */
void vr_answer_error(const json_t *id, struct vr_error *err); /* and clears it */

/* Somebody who waits is told, and is nobody then; err: why not, or NULL. *id may be NULL. The error
 * stays the caller's: others may be told the same. */
void vr_answer_once(json_t **id, const struct vr_error *err);

/* A text of a message; "" when it has none. And a number, or 0. */
const char *vr_message_text(const json_t *message, const char *key);
int vr_message_number(const json_t *message, const char *key);

#endif
