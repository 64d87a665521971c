/* One failure: what went wrong, as one message for a person. Filled once, where it happened; passed
 * up untouched. */
#ifndef VR_BASE_ERROR_H
#define VR_BASE_ERROR_H

#include <stdarg.h>
#include <stdbool.h>

/* An error owns its texts. Zero-initialise it (`struct vr_error err = {0}`); vr_error_clear frees
 * and zeroes. */
struct vr_error {
    char *message; /* what and why, lower case, no full stop; NULL: no error */
    char *code;    /* a short word for programs: "timeout", "auth", "conflict"; may be NULL */
    char *hint;    /* what to do next; may be NULL */
    char *file;    /* the recipe's file; may be NULL */
    int line;      /* 1-based; 0: unknown */
    int column;    /* of the offending word, from 1; 0: unknown */
    int width;     /* of that word */
};

/* Fills err; a NULL err is ignored. Always returns false, so that `return vr_error_set(...)` reads
 * well. */
bool vr_error_set(struct vr_error *err, const char *code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
bool vr_error_setv(struct vr_error *err, const char *code, const char *format, va_list args);
/* A failed system call: "FORMAT: no such file or directory", with the code of vr_error_code. */
bool vr_error_system(struct vr_error *err, int number, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* The code of an errno: not_found, exists, denied, full, directory, not_directory, not_empty, loop,
 * read_only, too_long, refused, unreachable, timeout, reset, in_use, cancelled; else "io". */
const char *vr_error_code(int number);
void vr_error_hint(struct vr_error *err, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void vr_error_place(struct vr_error *err, const char *file, int line);
/* Moves src to dst (which must be clear); src is clear afterwards. */
void vr_error_move(struct vr_error *dst, struct vr_error *src);
void vr_error_copy(struct vr_error *dst, const struct vr_error *src);
void vr_error_clear(struct vr_error *err);

#endif
