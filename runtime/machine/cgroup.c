#include "machine/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"

/* One hierarchy: where it is mounted, and where in it our children are. */
struct hierarchy {
    struct hierarchy *next;
    char *point;   /* /sys/fs/cgroup/memory */
    char *parent;  /* point and our own path in it */
    char *options; /* of a mount: memory, or none,name=systemd; NULL: version 2 */
};

/* The controllers that containers do not do without. */
static const char *const needed[] = {"cpu", "memory", "pids"};
enum { NEEDED = sizeof(needed) / sizeof(*needed) };

struct vr_cgroups {
    struct hierarchy *first;
    bool unified; /* version 2 alone, with the controllers */
};

/* Whether a list of words has all words of another, which has commas between them. */
static bool has_words(const char *list, const char *words, char between)
{
    char *copy = vr_strdup(words), *save = NULL;
    bool all = true;
    for (char *word = strtok_r(copy, ",", &save); word && all; word = strtok_r(NULL, ",", &save)) {
        size_t length = strlen(word);
        bool found = false;
        for (const char *at = list; (at = strstr(at, word)) != NULL; at += length)
            found = found || ((at == list || at[-1] == between) &&
                              (at[length] == between || at[length] == '\0' || at[length] == '\n'));
        all = found;
    }
    free(copy);
    return all;
}

/* Where a hierarchy is mounted, and from which folder of it. */
static char *find_mount(const char *words, char root[4096])
{
    FILE *file = fopen("/proc/self/mountinfo", "re");
    char *found = NULL, *line = NULL;
    size_t room = 0;
    while (file && !found && getline(&line, &room, file) > 0) {
        char point[4096], type[64], options[4096];
        const char *rest = strstr(line, " - ");
        if (!rest || sscanf(line, "%*d %*d %*s %4095s %4095s", root, point) != 2 ||
            sscanf(rest, " - %63s %*s %4095s", type, options) != 2)
            continue;
        if (words[0] == '\0' ? strcmp(type, "cgroup2") == 0
                             : strcmp(type, "cgroup") == 0 && has_words(options, words, ','))
            found = vr_strdup(point);
    }
    free(line);
    if (file)
        fclose(file);
    return found;
}

static void add(struct vr_cgroups *cgroups, const char *words, const char *own)
{
    char root[4096];
    char *point = find_mount(words, root);
    if (!point)
        return;
    size_t above = strlen(root);
    if (above > 1 && strncmp(own, root, above) == 0)
        own += above;
    struct hierarchy *added = vr_alloc(sizeof(*added));
    added->point = point;
    added->parent = vr_format("%s%s", point, strcmp(own, "/") == 0 ? "" : own);
    added->options = words[0] == '\0'                  ? NULL
                     : strncmp(words, "name=", 5) == 0 ? vr_format("none,%s", words)
                                                       : vr_strdup(words);
    added->next = cgroups->first;
    cgroups->first = added;
}

static bool write_at(const char *folder, const char *name, const char *text)
{
    char *path = vr_format("%s/%s", folder, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    bool ok = fd >= 0 && write(fd, text, strlen(text)) >= 0;
    int why = errno;
    if (fd >= 0)
        close(fd);
    free(path);
    errno = why;
    return ok;
}

static bool read_at(const char *folder, const char *name, char *text, size_t room)
{
    char *path = vr_format("%s/%s", folder, name);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, room - 1) : -1;
    if (fd >= 0)
        close(fd);
    free(path);
    text[got > 0 ? got : 0] = '\0';
    return got >= 0;
}

/* Hands every controller that there is on to the children; some may stay behind. */
static bool hand_on(const char *parent, struct vr_error *err)
{
    char list[512], copy[512], *save = NULL;
    if (!read_at(parent, "cgroup.controllers", list, sizeof(list)))
        return vr_error_system(err, errno, "the cgroup controllers of %s cannot be read", parent);
    memcpy(copy, list, sizeof(list));
    for (char *word = strtok_r(copy, " \n", &save); word; word = strtok_r(NULL, " \n", &save)) {
        char wanted[64];
        snprintf(wanted, sizeof(wanted), "+%s", word);
        write_at(parent, "cgroup.subtree_control", wanted);
    }
    bool read = read_at(parent, "cgroup.subtree_control", copy, sizeof(copy));
    for (size_t i = 0; i < NEEDED; i++) {
        if (read && has_words(copy, needed[i], ' '))
            continue;
        bool there = has_words(list, needed[i], ' ');
        vr_error_set(err, "cgroup", "the cgroup controller %s %s %s", needed[i],
                     there ? "cannot be handed on from" : "is not in", parent);
        vr_error_hint(err, there ? "start the emulator where the cgroups' root is the machine's "
                                   "own, not in a container"
                                 : "containers need it: mount the hierarchies of version 1, or "
                                   "let version 2 have it (cgroup_no_v1=all)");
        return false;
    }
    return true;
}

static void free_hierarchies(struct hierarchy *first)
{
    while (first) {
        struct hierarchy *gone = first;
        first = gone->next;
        free(gone->point);
        free(gone->parent);
        free(gone->options);
        free(gone);
    }
}

static bool has_version_1(const struct vr_cgroups *cgroups, const char *controller)
{
    for (const struct hierarchy *at = cgroups->first; at; at = at->next)
        if (at->options && has_words(at->options, controller, ','))
            return true;
    return false;
}

/* Version 1 where it has what containers need, else version 2 alone, whatever else is mounted. */
static bool choose(struct vr_cgroups *cgroups, struct vr_error *err)
{
    bool legacy = true;
    for (size_t i = 0; i < NEEDED; i++)
        legacy = legacy && has_version_1(cgroups, needed[i]);
    if (legacy)
        return true;
    struct hierarchy **at = &cgroups->first;
    while (*at && (*at)->options)
        at = &(*at)->next;
    struct hierarchy *unified = *at;
    if (!unified)
        return vr_error_set(err, "cgroup", "no cgroups are mounted that containers can use");
    *at = unified->next;
    unified->next = NULL;
    free_hierarchies(cgroups->first);
    cgroups->first = unified;
    cgroups->unified = true;
    free(unified->parent);
    unified->parent = vr_strdup(unified->point);
    return hand_on(unified->parent, err);
}

struct vr_cgroups *vr_cgroups_find(struct vr_error *err)
{
    struct vr_cgroups *cgroups = vr_alloc(sizeof(*cgroups));
    FILE *file = fopen("/proc/self/cgroup", "re");
    char *line = NULL;
    size_t room = 0;
    while (file && getline(&line, &room, file) > 0) {
        char *words = strchr(line, ':'), *own = words ? strchr(words + 1, ':') : NULL;
        if (!own)
            continue;
        *own++ = '\0';
        own[strcspn(own, "\n")] = '\0';
        add(cgroups, words + 1, own);
    }
    free(line);
    if (file)
        fclose(file);
    if (choose(cgroups, err))
        return cgroups;
    vr_cgroups_free(cgroups);
    return NULL;
}

void vr_cgroups_free(struct vr_cgroups *cgroups)
{
    if (cgroups)
        free_hierarchies(cgroups->first);
    free(cgroups);
}

bool vr_cgroup_make(const struct vr_cgroups *cgroups, const char *name, struct vr_error *err)
{
    if (cgroups->unified && !hand_on(cgroups->first->parent, err))
        return false;
    for (const struct hierarchy *at = cgroups->first; at; at = at->next) {
        char *folder = vr_format("%s/%s", at->parent, name);
        bool ok = mkdir(folder, 0755) == 0 || errno == EEXIST;
        if (!ok)
            vr_error_system(err, errno, "the cgroup %s cannot be made", folder);
        /* Nobody may enter a cpuset that says neither which processors nor which memory. */
        static const char *const copied[] = {"cpuset.cpus", "cpuset.mems"};
        char text[512];
        for (size_t i = 0; ok && at->options && strstr(at->options, "cpuset") && i < 2; i++)
            if (read_at(at->parent, copied[i], text, sizeof(text)))
                write_at(folder, copied[i], text);
        if (ok && at->options && strstr(at->options, "cpuset"))
            write_at(folder, "cgroup.clone_children", "1");
        free(folder);
        if (!ok)
            return false;
    }
    return true;
}

bool vr_cgroup_enter(const struct vr_cgroups *cgroups, const char *name, const char *scope)
{
    for (const struct hierarchy *at = cgroups->first; at; at = at->next) {
        char *folder = vr_format("%s/%s", at->parent, name);
        char *inner = vr_format("%s/%s", folder, scope ? scope : "");
        bool ok = (scope && write_at(inner, "cgroup.procs", "0")) ||
                  write_at(folder, "cgroup.procs", "0");
        free(folder);
        free(inner);
        if (!ok)
            return false;
    }
    return true;
}

bool vr_cgroup_mount(const struct vr_cgroups *cgroups, const char *folder)
{
    if (cgroups->unified)
        return mount("cgroup2", folder, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) == 0;
    if (mount("cgroup", folder, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755") != 0)
        return false;
    for (const struct hierarchy *at = cgroups->first; at; at = at->next) {
        char *path = vr_format("%s%s", folder, strrchr(at->point, '/'));
        bool ok =
            mkdir(path, 0755) == 0 && mount("cgroup", path, at->options ? "cgroup" : "cgroup2",
                                            MS_NOSUID | MS_NODEV | MS_NOEXEC, at->options) == 0;
        free(path);
        if (!ok)
            return false;
    }
    return true;
}

static bool is_folder(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* From the leaves up; true when nothing is left of it. */
static bool remove_tree(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder)
        return errno == ENOENT;
    for (struct dirent *entry; (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        char *inner = vr_format("%s/%s", path, entry->d_name);
        if (is_folder(inner))
            remove_tree(inner);
        free(inner);
    }
    closedir(folder);
    return rmdir(path) == 0 || errno == ENOENT;
}

bool vr_cgroup_remove(const struct vr_cgroups *cgroups, const char *name)
{
    bool gone = true;
    for (const struct hierarchy *at = cgroups->first; at; at = at->next) {
        char *folder = vr_format("%s/%s", at->parent, name);
        gone = remove_tree(folder) && gone;
        free(folder);
    }
    return gone;
}

static void sweep(const char *path, const char *prefix)
{
    DIR *folder = opendir(path);
    for (struct dirent *entry; folder && (entry = readdir(folder));) {
        if (entry->d_name[0] == '.')
            continue;
        char *inner = vr_format("%s/%s", path, entry->d_name);
        if (is_folder(inner) && strncmp(entry->d_name, prefix, strlen(prefix)) == 0)
            remove_tree(inner);
        else if (is_folder(inner))
            sweep(inner, prefix);
        free(inner);
    }
    if (folder)
        closedir(folder);
}

void vr_cgroup_sweep(const struct vr_cgroups *cgroups, const char *prefix)
{
    for (const struct hierarchy *at = cgroups->first; at; at = at->next)
        sweep(at->point, prefix);
}
