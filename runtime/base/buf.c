#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

void vr_buf_reserve(struct vr_buf *buf, size_t more)
{
    size_t need = buf->length + more + 1;
    if (need <= buf->room)
        return;
    size_t room = buf->room ? buf->room : 64;
    while (room < need)
        room *= 2;
    buf->data = vr_realloc(buf->data, room);
    buf->room = room;
}

void vr_buf_add(struct vr_buf *buf, const void *data, size_t length)
{
    vr_buf_reserve(buf, length);
    if (length)
        memcpy(buf->data + buf->length, data, length);
    buf->length += length;
    buf->data[buf->length] = '\0';
}

void vr_buf_puts(struct vr_buf *buf, const char *text)
{
    vr_buf_add(buf, text, strlen(text));
}

void vr_buf_printf(struct vr_buf *buf, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    va_end(args);
    if (length > 0) {
        vr_buf_reserve(buf, (size_t)length);
        vsnprintf(buf->data + buf->length, (size_t)length + 1, format, again);
        buf->length += (size_t)length;
    }
    va_end(again);
}

void vr_buf_consume(struct vr_buf *buf, size_t length)
{
    if (length == 0)
        return;
    memmove(buf->data, buf->data + length, buf->length - length);
    buf->length -= length;
    buf->data[buf->length] = '\0';
}

char *vr_buf_steal(struct vr_buf *buf)
{
    char *data = buf->data ? buf->data : vr_strdup("");
    *buf = (struct vr_buf){0};
    return data;
}

void vr_buf_free(struct vr_buf *buf)
{
    free(buf->data);
    *buf = (struct vr_buf){0};
}
