/* Texts for people. */
#ifndef VR_BASE_TEXT_H
#define VR_BASE_TEXT_H

#include <stddef.h>

/* The candidate that `name` most likely meant, or NULL when none is near: at most a third of its
 * letters may differ. */
const char *vr_text_nearest(const char *name, const char *const *candidates, size_t count);

/* A line of a file with carets under the word at `column` (bytes, from 1; 0: none) of `width`
 * bytes, both lines indented by four spaces; tabs stay and letters count once, so that the carets
 * stand right. The caller frees; NULL when the file has no such line. */
char *vr_text_excerpt(const char *path, int line, int column, int width);

/* The order of two versions such as "0.4.2", part by part: below, at or above 0. */
int vr_text_compare_versions(const char *a, const char *b);
/* The seconds of a duration such as "90", "90s", "5m", "2h" or "1d"; negative: it is none. */
double vr_text_seconds(const char *text);

#endif
