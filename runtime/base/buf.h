/* Growing bytes, always followed by a NUL that does not count. Zero-initialise; vr_buf_free frees
 * and zeroes. */
#ifndef VR_BASE_BUF_H
#define VR_BASE_BUF_H

#include <stddef.h>

struct vr_buf {
    char *data; /* NULL while nothing was added */
    size_t length;
    size_t room;
};

void vr_buf_add(struct vr_buf *buf, const void *data, size_t length);
/* room for so many bytes after the present ones */
void vr_buf_reserve(struct vr_buf *buf, size_t more);
void vr_buf_puts(struct vr_buf *buf, const char *text);
void vr_buf_printf(struct vr_buf *buf, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
void vr_buf_consume(struct vr_buf *buf, size_t length); /* drops the first bytes */
char *vr_buf_steal(struct vr_buf *buf);                 /* the caller frees; never NULL */
void vr_buf_free(struct vr_buf *buf);

#endif
