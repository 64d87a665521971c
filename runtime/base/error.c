#include "base/error.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"

static char *format_text(const char *format, va_list args)
{
    char *text = NULL;
    if (vasprintf(&text, format, args) < 0)
        return vr_strdup(format);
    return text;
}

bool vr_error_setv(struct vr_error *err, const char *code, const char *format, va_list args)
{
    if (!err)
        return false;
    vr_error_clear(err);
    err->message = format_text(format, args);
    err->code = vr_strdup(code);
    return false;
}

bool vr_error_set(struct vr_error *err, const char *code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vr_error_setv(err, code, format, args);
    va_end(args);
    return false;
}

const char *vr_error_code(int number)
{
    static const struct {
        int number;
        const char *code;
    } codes[] = {
        {ENOENT, "not_found"},
        {EEXIST, "exists"},
        {EACCES, "denied"},
        {EPERM, "denied"},
        {ENOSPC, "full"},
        {EDQUOT, "full"},
        {EISDIR, "directory"},
        {ENOTDIR, "not_directory"},
        {ENOTEMPTY, "not_empty"},
        {ELOOP, "loop"},
        {EROFS, "read_only"},
        {ENAMETOOLONG, "too_long"},
        {ECONNREFUSED, "refused"},
        {EHOSTUNREACH, "unreachable"},
        {ENETUNREACH, "unreachable"},
        {ETIMEDOUT, "timeout"},
        {ECONNRESET, "reset"},
        {EPIPE, "reset"},
        {EADDRINUSE, "in_use"},
        {ECANCELED, "cancelled"},
    };
    for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
        if (codes[i].number == number)
            return codes[i].code;
    }
    return "io";
}

bool vr_error_system(struct vr_error *err, int number, const char *format, ...)
{
    if (!err)
        return false;
    va_list args;
    va_start(args, format);
    char *text = format_text(format, args);
    va_end(args);
    char *why = vr_strdup(strerror(number));
    if (why[0] >= 'A' && why[0] <= 'Z' && why[1] >= 'a' && why[1] <= 'z')
        why[0] = (char)(why[0] - 'A' + 'a');
    vr_error_set(err, vr_error_code(number), "%s: %s", text, why);
    if (number == ENOSPC || number == EDQUOT)
        vr_error_hint(err, "make room and run the same command again");
    free(why);
    free(text);
    return false;
}

void vr_error_hint(struct vr_error *err, const char *format, ...)
{
    if (!err)
        return;
    va_list args;
    va_start(args, format);
    free(err->hint);
    err->hint = format_text(format, args);
    va_end(args);
}

void vr_error_place(struct vr_error *err, const char *file, int line)
{
    if (!err)
        return;
    free(err->file);
    err->file = vr_strdup(file);
    err->line = line;
    err->column = err->width = 0;
}

void vr_error_move(struct vr_error *dst, struct vr_error *src)
{
    if (dst)
        *dst = *src;
    else
        vr_error_clear(src);
    *src = (struct vr_error){0};
}

void vr_error_copy(struct vr_error *dst, const struct vr_error *src)
{
    *dst = (struct vr_error){
        .message = vr_strdup(src->message),
        .code = vr_strdup(src->code),
        .hint = vr_strdup(src->hint),
        .file = vr_strdup(src->file),
        .line = src->line,
        .column = src->column,
        .width = src->width,
    };
}

void vr_error_clear(struct vr_error *err)
{
    if (!err)
        return;
    free(err->message);
    free(err->code);
    free(err->hint);
    free(err->file);
    *err = (struct vr_error){0};
}
