/* Texts for people. */
#ifndef VR_BASE_TEXT_H
#define VR_BASE_TEXT_H

#include <stddef.h>

/* The candidate that `name` most likely meant, or NULL when none is near: at most a third of its letters may differ. */
const char *vr_text_nearest(const char *name, const char *const *candidates, size_t count);

#endif
