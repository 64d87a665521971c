#include "machine/namespace.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "machine/report.h"

static void write_file(int fd, const char *path, const char *text)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0 || write(file, text, strlen(text)) < 0)
        vr_report_fail(fd, path);
    close(file);
}

/* Flags that a mount has from outside are locked in a user namespace and must be said again. */
static unsigned long locked_flags(const char *path)
{
    struct statvfs vfs;
    unsigned long flags = 0;
    if (statvfs(path, &vfs) != 0)
        return 0;
    flags |= vfs.f_flag & ST_NOSUID ? MS_NOSUID : 0;
    flags |= vfs.f_flag & ST_NODEV ? MS_NODEV : 0;
    flags |= vfs.f_flag & ST_NOEXEC ? MS_NOEXEC : 0;
    flags |= vfs.f_flag & ST_NOATIME ? MS_NOATIME : 0;
    flags |= vfs.f_flag & ST_RELATIME ? MS_RELATIME : 0;
    return flags;
}

static void bind_to(int fd, const char *from, const char *root, const char *path, bool read_only)
{
    char to[4200];
    snprintf(to, sizeof(to), "%s%s", root, path);
    if (mount(from, to, NULL, MS_BIND | MS_REC, NULL) != 0)
        vr_report_fail(fd, path);
    if (read_only &&
        mount(NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | locked_flags(to), NULL) != 0)
        vr_report_fail(fd, path);
}

/* A /dev with nothing in it that leads to hardware. */
static void make_devices(int fd, const char *root)
{
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty"};
    char path[4200], from[64];
    snprintf(path, sizeof(path), "%s/dev", root);
    if (mount("dev", path, "tmpfs", MS_NOSUID, "mode=755,size=1m") != 0)
        vr_report_fail(fd, "/dev");
    for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes); i++) {
        snprintf(path, sizeof(path), "%s/dev/%s", root, nodes[i]);
        snprintf(from, sizeof(from), "/dev/%s", nodes[i]);
        int node = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0666);
        if (node < 0 || mount(from, path, NULL, MS_BIND, NULL) != 0)
            vr_report_fail(fd, from);
        close(node);
    }
    snprintf(path, sizeof(path), "%s/dev/pts", root);
    if (mkdir(path, 0755) != 0 || mount("pts", path, "devpts", MS_NOSUID | MS_NOEXEC,
                                        "newinstance,ptmxmode=0666,mode=620") != 0)
        vr_report_fail(fd, "/dev/pts");
    static const char *const links[][2] = {{"pts/ptmx", "ptmx"},
                                           {"/proc/self/fd", "fd"},
                                           {"/proc/self/fd/0", "stdin"},
                                           {"/proc/self/fd/1", "stdout"},
                                           {"/proc/self/fd/2", "stderr"}};
    for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++) {
        snprintf(path, sizeof(path), "%s/dev/%s", root, links[i][1]);
        if (symlink(links[i][0], path) != 0)
            vr_report_fail(fd, path);
    }
    snprintf(path, sizeof(path), "%s/dev/shm", root);
    if (mkdir(path, 01777) != 0)
        vr_report_fail(fd, "/dev/shm");
}

/* A start of the machine is a boot of its own, whatever the kernel says: where its memory has a
 * boot id, that is it. */
static void show_boot(int fd, const char *root)
{
    char path[4200];
    snprintf(path, sizeof(path), "%s/run/machine-boot-id", root);
    if (access(path, F_OK) == 0)
        bind_to(fd, path, root, "/proc/sys/kernel/random/boot_id", true);
}

static void map_one_user(int fd, uid_t uid, gid_t gid)
{
    char line[64];
    write_file(fd, "/proc/self/setgroups", "deny");
    snprintf(line, sizeof(line), "0 %u 1", uid);
    write_file(fd, "/proc/self/uid_map", line);
    snprintf(line, sizeof(line), "0 %u 1", gid);
    write_file(fd, "/proc/self/gid_map", line);
}

/* Runs in a child: makes the namespaces, builds the root, and stays until the parent has taken hold
 * of them. */
static _Noreturn void build(int fd, int hold, const char *root, const char *commands,
                            const char *hostname)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (unshare(CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWUTS) != 0)
        vr_report_fail(fd, "user namespaces");
    map_one_user(fd, uid, gid);
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        vr_report_fail(fd, "making / private");
    if (mount(root, root, NULL, MS_BIND, NULL) != 0)
        vr_report_fail(fd, root);
    bind_to(fd, "/usr", root, "/usr", true);
    bind_to(fd, commands, root, "/usr/local/sbin", false);
    bind_to(fd, "/proc", root, "/proc", false);
    char path[4200];
    snprintf(path, sizeof(path), "%s/proc/sys", root);
    bind_to(fd, path, root, "/proc/sys", true);
    show_boot(fd, root);
    bind_to(fd, "/sys", root, "/sys", false);
    make_devices(fd, root);
    if (chdir(root) != 0 || syscall(SYS_pivot_root, ".", ".") != 0 ||
        umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
        vr_report_fail(fd, "pivot_root");
    if (sethostname(hostname, strlen(hostname)) != 0)
        vr_report_fail(fd, "sethostname");
    char byte;
    if (!vr_report_done(fd) || read(hold, &byte, 1) < 0)
        _exit(1);
    _exit(0);
}

static int open_namespace(pid_t pid, const char *name)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/%s", (int)pid, name);
    return open(path, O_RDONLY | O_CLOEXEC);
}

bool vr_namespace_new(struct vr_namespace *space, const char *root, const char *commands,
                      const char *hostname, struct vr_error *err)
{
    *space = (struct vr_namespace){-1, -1, -1, 0};
    int told[2], hold[2];
    if (pipe2(told, O_CLOEXEC) != 0)
        return vr_error_set(err, "namespace", "pipe: %s", strerror(errno));
    if (pipe2(hold, O_CLOEXEC) != 0) {
        close(told[0]), close(told[1]);
        return vr_error_set(err, "namespace", "pipe: %s", strerror(errno));
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(told[0]), close(hold[1]);
        build(told[1], hold[0], root, commands, hostname);
    }
    close(told[1]), close(hold[0]);
    struct vr_report report = {.error = errno, .what = "fork"};
    bool ok = pid > 0 && vr_report_read(told[0], &report);
    if (ok) {
        space->user = open_namespace(pid, "user");
        space->mounts = open_namespace(pid, "mnt");
        space->names = open_namespace(pid, "uts");
        struct stat st;
        ok = space->user >= 0 && space->mounts >= 0 && space->names >= 0 &&
             fstat(space->mounts, &st) == 0;
        space->inode = ok ? st.st_ino : 0;
        report.error = errno;
    }
    close(told[0]), close(hold[1]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    if (ok)
        return true;
    vr_error_set(err, "namespace", "a machine's root cannot be made (%s): %s", report.what,
                 strerror(report.error));
    if (report.error == EPERM || report.error == ENOSPC)
        vr_error_hint(err,
                      "this system may forbid unprivileged user namespaces: see "
                      "kernel.unprivileged_userns_clone, "
                      "kernel.apparmor_restrict_unprivileged_userns and user.max_user_namespaces");
    vr_namespace_free(space);
    return false;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

void vr_namespace_free(struct vr_namespace *space)
{
    close_fd(&space->user);
    close_fd(&space->mounts);
    close_fd(&space->names);
}

static bool pretend_setgroups(void)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_setgroups, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 0),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof(code) / sizeof(*code), code};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

bool vr_namespace_enter(const struct vr_namespace *space)
{
    return setns(space->user, CLONE_NEWUSER) == 0 && setns(space->names, CLONE_NEWUTS) == 0 &&
           setns(space->mounts, CLONE_NEWNS) == 0 && chdir("/") == 0 && pretend_setgroups();
}

static bool is_inside(const struct vr_namespace *space, const char *pid)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof(path), "/proc/%s/ns/mnt", pid);
    return stat(path, &st) == 0 && st.st_ino == space->inode;
}

int vr_namespace_kill(const struct vr_namespace *space, int signal)
{
    int count = 0;
    DIR *processes = opendir("/proc");
    for (struct dirent *entry; processes && (entry = readdir(processes));) {
        if (entry->d_name[0] < '1' || entry->d_name[0] > '9' || !is_inside(space, entry->d_name))
            continue;
        kill((pid_t)atoi(entry->d_name), signal);
        count++;
    }
    if (processes)
        closedir(processes);
    return count;
}
