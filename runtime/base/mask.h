/* The secrets that this process has seen, and texts without them. One list a process; any thread.
 * Nothing is ever taken off it. */
#ifndef VR_BASE_MASK_H
#define VR_BASE_MASK_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* A secret as it was given or made: a password, a key, a whole file. It counts in clear, in base64
 * at any alignment and as it stands in JSON; of several lines, so does each that is one word of 8
 * bytes or more, and each word of 16 or more with a digit in it, other than PEM's labels and
 * addresses. What is shorter than 4 bytes is too common to replace and is ignored. */
void vr_mask_secret(const char *text, size_t length);
/* A text made of secrets, such as a digest or a part of one: it counts as a whole only, from 8
 * bytes on. */
void vr_mask_derived(const char *text, size_t length);
/* A copy in which each known secret is "(secret)", the longest first. The caller frees. */
char *vr_masked(const char *text, size_t length);
/* Replaces *text, which may be NULL, by vr_masked of it. */
void vr_mask(char **text);
/* Adds the known secrets of `least` bytes or more that stand in a text to a list of texts. */
void vr_mask_find(const char *text, size_t length, size_t least, json_t *found);

#endif
