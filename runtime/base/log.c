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
#include "base/file.h"
#include "base/mask.h"

enum { COLLECTED = 64 << 10 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static enum vr_log_level threshold = VR_LOG_WARN;
static int file = -1;
static struct vr_buf collected; /* lines for the file */

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

static void write_collected(void)
{
    if (collected.length > 0 && file >= 0)
        vr_file_write_all(file, collected.data, collected.length); /* nowhere to tell a failure */
    collected.length = 0;
}

void vr_log_flush(void)
{
    pthread_mutex_lock(&lock);
    write_collected();
    pthread_mutex_unlock(&lock);
}

bool vr_log_to(const char *path, struct vr_error *err)
{
    int fd = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (path && fd < 0)
        return vr_error_system(err, errno, "cannot write the log %s", path);
    static bool registered;
    pthread_mutex_lock(&lock);
    if (!registered)
        registered = atexit(vr_log_flush) == 0;
    write_collected();
    int old = file;
    file = fd;
    pthread_mutex_unlock(&lock);
    if (old >= 0)
        close(old);
    return true;
}

static void add_prefix(struct vr_buf *out, enum vr_log_level level)
{
    static const char *const words[] = {"debug", "info", "warning", "error"};
    if (file >= 0) {
        static time_t second = -1; /* many lines are of one */
        static char text[32];
        struct timespec now;
        struct tm utc;
        clock_gettime(CLOCK_REALTIME, &now);
        if (now.tv_sec != second) {
            second = now.tv_sec;
            gmtime_r(&second, &utc);
            strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%S", &utc);
        }
        vr_buf_printf(out, "%s.%03ldZ ", text, now.tv_nsec / 1000000);
    }
    vr_buf_printf(out, "%s: ", words[level]);
}

static void add_line(struct vr_buf *out, const char *text, size_t length)
{
    size_t clear = 0; /* from here on to i all can stand as it is */
    for (size_t i = 0; i < length; i++) {
        if ((unsigned char)text[i] >= ' ' || text[i] == '\t')
            continue;
        vr_buf_add(out, text + clear, i - clear);
        if (text[i] == '\n')
            vr_buf_puts(out, "\\n");
        else
            vr_buf_printf(out, "\\x%02x", (unsigned char)text[i]);
        clear = i + 1;
    }
    vr_buf_add(out, text + clear, length - clear);
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
    vr_mask(&text);
    struct vr_buf line = {0};
    pthread_mutex_lock(&lock);
    if (file >= 0) {
        add_prefix(&collected, level);
        add_line(&collected, text, strlen(text));
        if (level >= VR_LOG_WARN || collected.length >= COLLECTED)
            write_collected();
        pthread_mutex_unlock(&lock);
        free(text);
        return;
    }
    add_prefix(&line, level);
    add_line(&line, text, strlen(text));
    ssize_t written = write(STDERR_FILENO, line.data, line.length);
    (void)written; /* nowhere to tell it */
    pthread_mutex_unlock(&lock);
    vr_buf_free(&line);
    free(text);
}
