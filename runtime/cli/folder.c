#include "cli/folder.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/file.h"
#include "base/log.h"

enum { KEPT_LOGS = 20 };

static bool make(const char *path, struct vr_error *err)
{
    if (mkdir(path, 0700) == 0 || errno == EEXIST)
        return true;
    return vr_error_system(err, errno, "cannot make the folder %s", path);
}

/* Parents are ordinary folders of the person; what is made here is private. */
static bool make_all(const char *path, struct vr_error *err)
{
    char *copy = vr_strdup(path);
    bool ok = true;
    for (char *at = copy + 1; ok && *at; at++) {
        if (*at != '/')
            continue;
        *at = '\0';
        ok = make(copy, err);
        *at = '/';
    }
    ok = ok && make(copy, err);
    free(copy);
    return ok;
}

bool vr_folder_make(const char *folder, struct vr_error *err)
{
    if (!make_all(folder, err))
        return false;
    char *path = vr_format("%s/.gitignore", folder);
    bool ok = access(path, F_OK) == 0 || vr_file_replace(path, "*\n", 2, 0600, false);
    if (!ok)
        vr_error_system(err, errno, "cannot write %s", path);
    free(path);
    return ok;
}

static int is_log(const struct dirent *entry)
{
    size_t length = strlen(entry->d_name);
    return length > 4 && strcmp(entry->d_name + length - 4, ".log") == 0;
}

/* Names begin with the time, so their order is that of the runs. */
static void drop_old(const char *folder)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, is_log, alphasort);
    for (int i = 0; i < count; i++) {
        if (i <= count - KEPT_LOGS) {
            char *path = vr_format("%s/%s", folder, entries[i]->d_name);
            unlink(path);
            free(path);
        }
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

bool vr_folder_log(const char *stack_folder, const char *level, struct vr_error *err)
{
    char *folder = vr_format("%s/logs", stack_folder);
    bool ok = make_all(folder, err);
    if (ok) {
        drop_old(folder);
        struct timespec now;
        struct tm parts;
        char stamp[64];
        clock_gettime(CLOCK_REALTIME, &now);
        gmtime_r(&now.tv_sec, &parts);
        strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H-%M-%S", &parts);
        char *path =
            vr_format("%s/%s.%03ld-%d.log", folder, stamp, now.tv_nsec / 1000000, (int)getpid());
        ok = vr_log_to(path, err);
        if (ok && !level && vr_log_get_level() > VR_LOG_INFO)
            vr_log_set_level("info");
        free(path);
    }
    free(folder);
    return ok;
}

char *vr_folder_absolute(const char *path)
{
    char real[PATH_MAX];
    if (realpath(path, real))
        return vr_strdup(real);
    if (path[0] == '/')
        return vr_strdup(path);
    if (!getcwd(real, sizeof(real)))
        return vr_strdup(path);
    return vr_format("%s/%s", real, path);
}

static char *read_line(void)
{
    char *line = NULL;
    size_t room = 0;
    ssize_t length = getline(&line, &room, stdin);
    if (length < 0) {
        free(line);
        return NULL;
    }
    line[strcspn(line, "\r\n")] = '\0';
    return line;
}

char *vr_folder_ask_secret(const char *name, const char *help)
{
    struct termios before, silent;
    if (tcgetattr(STDIN_FILENO, &before) != 0)
        return NULL;
    silent = before;
    silent.c_lflag &= (tcflag_t)~ECHO;
    tcsetattr(STDIN_FILENO, TCSAFLUSH, &silent); /* first: an answer may come at once */
    fprintf(stderr, "%s%s%s%s: ", name, help && *help ? " (" : "", help ? help : "",
            help && *help ? ")" : "");
    fflush(stderr);
    char *line = read_line();
    tcsetattr(STDIN_FILENO, TCSADRAIN, &before);
    fputc('\n', stderr);
    if (line && !*line) {
        free(line);
        return NULL;
    }
    return line;
}

char *vr_folder_ask(const char *question)
{
    fprintf(stderr, "%s ", question);
    fflush(stderr);
    return read_line();
}
