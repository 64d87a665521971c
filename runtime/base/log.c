#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"

struct secret {
    struct secret *next;
    size_t length;
    char text[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum vr_log_level threshold = VR_LOG_WARN;
static int file = -1;
static struct secret *secrets; /* longest first: a part must not hide the whole */

static const char *const level_names[] = {"debug", "info", "warn", "error", "none"};

bool vr_log_set_level(const char *name)
{
    for (int i = 0; i <= VR_LOG_NONE; i++) {
        if (strcmp(name, level_names[i]) == 0) {
            threshold = (enum vr_log_level)i;
            return true;
        }
    }
    return false;
}

enum vr_log_level vr_log_get_level(void)
{
    return threshold;
}

void vr_log_from_environment(void)
{
    const char *name = getenv("VMRUN_LOG");
    if (name && *name && !vr_log_set_level(name))
        vr_log(VR_LOG_WARN, "VMRUN_LOG is '%s'; it can be debug, info, warn, error or none", name);
}

bool vr_log_to(const char *path, struct vr_error *err)
{
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (path && fd < 0)
        return vr_error_system(err, errno, "cannot write the log %s", path);
    pthread_mutex_lock(&lock);
    int old = file;
    file = fd;
    pthread_mutex_unlock(&lock);
    if (old >= 0)
        close(old);
    return true;
}

static void add_secret(const char *text, size_t length)
{
    struct secret **at = &secrets;
    while (*at && (*at)->length > length)
        at = &(*at)->next;
    for (struct secret *s = *at; s && s->length == length; s = s->next) {
        if (memcmp(s->text, text, length) == 0)
            return;
    }
    struct secret *s = vr_alloc(sizeof(*s) + length + 1);
    memcpy(s->text, text, length);
    s->length = length;
    s->next = *at;
    *at = s;
}

void vr_log_mask(const char *secret, size_t length)
{
    if (length < 4)
        return;
    pthread_mutex_lock(&lock);
    add_secret(secret, length);
    for (const char *line = secret, *end = secret + length; line < end;) {
        const char *stop = memchr(line, '\n', (size_t)(end - line));
        if (!stop)
            stop = end;
        bool label = stop - line >= 5 && memcmp(line, "-----", 5) == 0; /* of PEM: not secret */
        if (stop - line >= 8 && !label)
            add_secret(line, (size_t)(stop - line));
        line = stop + 1;
    }
    pthread_mutex_unlock(&lock);
}

static const struct secret *secret_at(const char *text, size_t length)
{
    for (const struct secret *s = secrets; s; s = s->next) {
        if (s->length <= length && s->text[0] == text[0] && memcmp(s->text, text, s->length) == 0)
            return s;
    }
    return NULL;
}

static void add_masked(struct vr_buf *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length;) {
        const struct secret *s = secret_at(text + i, length - i);
        if (s)
            vr_buf_puts(out, "(secret)");
        else
            vr_buf_add(out, text + i, 1);
        i += s ? s->length : 1;
    }
}

char *vr_log_masked(const char *text, size_t length)
{
    struct vr_buf out = {0};
    pthread_mutex_lock(&lock);
    add_masked(&out, text, length);
    pthread_mutex_unlock(&lock);
    return vr_buf_steal(&out);
}

static void add_prefix(struct vr_buf *out, enum vr_log_level level)
{
    static const char *const words[] = {"debug", "info", "warning", "error"};
    if (file >= 0) {
        struct timespec now;
        struct tm utc;
        char text[32];
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &utc);
        strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
        vr_buf_printf(out, "%s.%03ldZ ", text, now.tv_nsec / 1000000);
    }
    vr_buf_printf(out, "%s: ", words[level]);
}

static void add_line(struct vr_buf *out, const char *text, size_t length)
{
    for (size_t i = 0; i < length; i++) {
        if (text[i] == '\n')
            vr_buf_puts(out, "\\n");
        else if ((unsigned char)text[i] < ' ' && text[i] != '\t')
            vr_buf_printf(out, "\\x%02x", (unsigned char)text[i]);
        else
            vr_buf_add(out, text + i, 1);
    }
    vr_buf_add(out, "\n", 1);
}

void vr_log(enum vr_log_level level, const char *format, ...)
{
    if (level < threshold)
        return;
    va_list args;
    va_start(args, format);
    char *text = NULL;
    int length = vasprintf(&text, format, args);
    va_end(args);
    if (length < 0)
        return;
    struct vr_buf masked = {0}, line = {0};
    pthread_mutex_lock(&lock);
    add_masked(&masked, text, (size_t)length);
    add_prefix(&line, level);
    add_line(&line, masked.data ? masked.data : "", masked.length);
    ssize_t written = write(file >= 0 ? file : STDERR_FILENO, line.data, line.length);
    (void)written; /* nowhere to tell it */
    pthread_mutex_unlock(&lock);
    vr_buf_free(&masked);
    vr_buf_free(&line);
    free(text);
}
