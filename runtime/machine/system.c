#include "machine/system.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "machine/command.h"
#include "machine/report.h"

/* In the machine's own network namespace, so that one name does for all. */
static const char ready_socket[] = "vmrun-ready";

static void must_mkdir(int fd, const char *path, mode_t mode)
{
    if (mkdir(path, mode) != 0 && errno != EEXIST)
        vr_report_fail(fd, path);
}

static void must_mount(int fd, const char *what, const char *where, const char *type,
                       unsigned long flags, const char *options)
{
    if (mount(what, where, type, flags, options) != 0)
        vr_report_fail(fd, where);
}

static void must_bind(int fd, const char *from, const char *to)
{
    must_mount(fd, from, to, NULL, MS_BIND, NULL);
}

/* A mount point for a file. */
static void must_touch(int fd, const char *path)
{
    int file = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0)
        vr_report_fail(fd, path);
    close(file);
}

/* The mounts of this process alone, and the machine's folder as the working directory. */
static void enter_folder(int fd, const char *folder)
{
    static const char *const folders[] = {"upper", "work", "root", "base", "data"};
    must_mount(fd, NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL);
    must_mkdir(fd, folder, 0700);
    if (chdir(folder) != 0)
        vr_report_fail(fd, folder);
    for (size_t i = 0; i < sizeof(folders) / sizeof(*folders); i++)
        must_mkdir(fd, folders[i], 0755);
}

/* By names without a folder: overlayfs takes none with commas and colons in them. */
static void mount_overlay(int fd)
{
    must_mount(fd, "overlay", "root", "overlay", 0, "lowerdir=base,upperdir=upper,workdir=work");
}

static void mount_root(int fd, const char *base)
{
    must_bind(fd, base, "base");
    mount_overlay(fd);
    /* containerd's layers are overlays, which cannot lie on another; the others are much written.
     */
    static const char *const data[] = {"containerd", "kubelet", "etcd"};
    for (size_t i = 0; i < sizeof(data) / sizeof(*data); i++) {
        char inner[64], outer[64];
        snprintf(inner, sizeof(inner), "data/%s", data[i]);
        snprintf(outer, sizeof(outer), "root/var/lib/%s", data[i]);
        must_mkdir(fd, inner, 0755);
        must_mkdir(fd, outer, 0755);
        must_bind(fd, inner, outer);
    }
}

static void make_devices(int fd)
{
    static const char *const nodes[] = {"null", "zero", "full", "random", "urandom", "tty", "kmsg"};
    must_mount(fd, "dev", "dev", "tmpfs", MS_NOSUID, "mode=755");
    for (size_t i = 0; i < sizeof(nodes) / sizeof(*nodes); i++) {
        char from[32], to[32];
        snprintf(from, sizeof(from), "/dev/%s", nodes[i]);
        snprintf(to, sizeof(to), "dev/%s", nodes[i]);
        if (access(from, F_OK) != 0)
            continue;
        must_touch(fd, to);
        must_bind(fd, from, to);
    }
    must_mkdir(fd, "dev/pts", 0755);
    must_mkdir(fd, "dev/shm", 01777);
    must_mount(fd, "pts", "dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
               "newinstance,ptmxmode=0666,mode=620");
    must_mount(fd, "shm", "dev/shm", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    static const char *const links[][2] = {{"pts/ptmx", "dev/ptmx"},
                                           {"/proc/self/fd", "dev/fd"},
                                           {"/proc/self/fd/0", "dev/stdin"},
                                           {"/proc/self/fd/1", "dev/stdout"},
                                           {"/proc/self/fd/2", "dev/stderr"}};
    for (size_t i = 0; i < sizeof(links) / sizeof(*links); i++)
        if (symlink(links[i][0], links[i][1]) != 0)
            vr_report_fail(fd, links[i][1]);
}

/* A setting that is the whole system's: the machine gets a file with its value, to write what it
 * wants to. */
static void shadow_setting(int fd, const char *name)
{
    char from[128], to[128], text[256];
    snprintf(from, sizeof(from), "proc/sys/%s", name);
    int file = open(from, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return;
    ssize_t got = read(file, text, sizeof(text));
    close(file);
    snprintf(to, sizeof(to), "run/settings/%s", name);
    for (char *at = to + strlen("run/settings/"); (at = strchr(at, '/'));)
        *at = '.';
    file = open(to, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    if (file < 0 || (got > 0 && write(file, text, (size_t)got) < 0))
        vr_report_fail(fd, to);
    close(file);
    must_bind(fd, to, from);
}

/* A boot of the machine is none of the kernel's. */
static void own_boot(int fd)
{
    char text[64];
    int file = open("proc/sys/kernel/random/uuid", O_RDONLY | O_CLOEXEC);
    ssize_t got = file < 0 ? -1 : read(file, text, sizeof(text));
    if (file >= 0)
        close(file);
    file = open("run/settings/boot_id", O_WRONLY | O_CREAT | O_CLOEXEC, 0444);
    if (file < 0 || got < 0 || write(file, text, (size_t)got) != got)
        vr_report_fail(fd, "boot_id");
    close(file);
    must_bind(fd, "run/settings/boot_id", "proc/sys/kernel/random/boot_id");
}

/* The kernel is everybody's: of its settings only the network's, which are the machine's own, can
 * be written. The bind of proc/sys/net stays writable when that of proc/sys above it does not. */
static void guard_kernel(int fd)
{
    static const char *const shadowed[] = {"vm/overcommit_memory",
                                           "vm/panic_on_oom",
                                           "vm/swappiness",
                                           "vm/max_map_count",
                                           "kernel/panic",
                                           "kernel/panic_on_oops",
                                           "kernel/keys/root_maxkeys",
                                           "kernel/keys/root_maxbytes",
                                           "fs/inotify/max_user_instances",
                                           "fs/inotify/max_user_watches",
                                           "fs/file-max"};
    must_bind(fd, "proc/sys", "proc/sys");
    must_bind(fd, "proc/sys/net", "proc/sys/net");
    must_mount(fd, NULL, "proc/sys", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
    must_mkdir(fd, "run/settings", 0755);
    for (size_t i = 0; i < sizeof(shadowed) / sizeof(*shadowed); i++)
        shadow_setting(fd, shadowed[i]);
    own_boot(fd);
    if (access("proc/sysrq-trigger", F_OK) == 0) {
        must_bind(fd, "proc/sysrq-trigger", "proc/sysrq-trigger");
        must_mount(fd, NULL, "proc/sysrq-trigger", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
    }
}

/* modprobe looks here for what it is asked to load; a kernel that has everything built in has no
 * such folder. */
static void show_modules(int fd)
{
    struct utsname kernel;
    char from[sizeof(kernel.release) + 16], to[sizeof(kernel.release) + 16];
    uname(&kernel);
    snprintf(from, sizeof(from), "/lib/modules/%s", kernel.release);
    if (access(from, F_OK) != 0)
        return;
    snprintf(to, sizeof(to), "lib/modules/%s", kernel.release);
    must_mkdir(fd, "lib/modules", 0755);
    must_mkdir(fd, to, 0755);
    must_bind(fd, from, to);
    must_mount(fd, NULL, to, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL);
}

static void build_root(int fd, const struct vr_system_plan *plan, const struct vr_cgroups *cgroups)
{
    enter_folder(fd, plan->folder);
    mount_root(fd, plan->base);
    if (chdir("root") != 0)
        vr_report_fail(fd, "root");
    show_modules(fd);
    must_mount(fd, "proc", "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    must_mount(fd, "sysfs", "sys", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (!vr_cgroup_mount(cgroups, "sys/fs/cgroup"))
        vr_report_fail(fd, "/sys/fs/cgroup");
    make_devices(fd);
    must_mount(fd, "run", "run", "tmpfs", MS_NOSUID | MS_NODEV, "mode=755");
    must_mount(fd, "tmp", "tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=1777");
    guard_kernel(fd);
    if (syscall(SYS_pivot_root, ".", ".") != 0 || umount2(".", MNT_DETACH) != 0 || chdir("/") != 0)
        vr_report_fail(fd, "pivot_root");
    /* As on any machine: a driver of volumes hands on what it mounts below /var/lib/kubelet. */
    must_mount(fd, NULL, "/", NULL, MS_REC | MS_SHARED, NULL);
    if (sethostname(plan->hostname, strlen(plan->hostname)) != 0)
        vr_report_fail(fd, "sethostname");
}

/* What this process has of the keeper's, but for two: a copy would keep open what the keeper
 * closes. */
static void close_all_but(int one, int other)
{
    unsigned low = (unsigned)(one < other ? one : other),
             high = (unsigned)(one < other ? other : one);
    if (low > STDERR_FILENO + 1)
        close_range(STDERR_FILENO + 1, low - 1, 0);
    if (high > low + 1)
        close_range(low + 1, high - 1, 0);
    close_range(high + 1, ~0U, 0);
}

/* Runs as PID 1 of the new namespaces. */
static _Noreturn void become(struct vr_system *system, const struct vr_system_plan *plan, int told,
                             int hold)
{
    vr_command_child();
    char *path = vr_format("%s/console.log", plan->folder);
    must_mkdir(told, plan->folder, 0700);
    int console = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (console < 0)
        vr_report_fail(told, path);
    if (!vr_cgroup_enter(system->cgroups, system->cgroup, NULL) || unshare(CLONE_NEWCGROUP) != 0)
        vr_report_fail(told, "cgroups");
    build_root(told, plan, system->cgroups);
    char byte;
    if (!vr_report_done(told))
        _exit(1);
    close_all_but(hold, console);
    if (read(hold, &byte, 1) != 1)
        _exit(1); /* nobody wants it any more */
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (dup2(null, 0) < 0 || dup2(console, 1) < 0 || dup2(console, 2) < 0)
        _exit(1);
    char notify[64];
    snprintf(notify, sizeof(notify), "NOTIFY_SOCKET=@%s", ready_socket);
    char *environment[] = {"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
                           "container=vmrun", "TERM=linux", notify, NULL};
    execle("/sbin/init", "/sbin/init", (char *)NULL, environment);
    fprintf(stderr, "/sbin/init: %s\n", strerror(errno));
    _exit(1);
}

/* What a machine's first process does that a kernel or a container may refuse. */
static _Noreturn void try_out(const struct vr_cgroups *cgroups, const char *cgroup,
                              const char *folder, int told)
{
    if (!vr_cgroup_enter(cgroups, cgroup, NULL) || unshare(CLONE_NEWCGROUP) != 0)
        vr_report_fail(told, "cgroups");
    enter_folder(told, folder);
    mount_overlay(told);
    must_mount(told, "proc", "data", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    must_mount(told, "sysfs", "data", "sysfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL);
    if (!vr_cgroup_mount(cgroups, "data"))
        vr_report_fail(told, "/sys/fs/cgroup");
    _exit(vr_report_done(told) ? 0 : 2);
}

static bool read_report(int fd, struct vr_error *err)
{
    struct vr_report report;
    if (vr_report_read(fd, &report))
        return true;
    vr_error_system(err, report.error, "a machine's root cannot be made (%s)", report.what);
    if (report.error == EINVAL && strcmp(report.what, "root") == 0)
        vr_error_hint(err, "the state folder lies on a file system that overlayfs cannot write to; "
                           "choose another with --state-dir");
    return false;
}

enum {
    NAMESPACES = CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET,
};

/* As fork, in namespaces of its own. */
static pid_t fork_apart(struct vr_error *err)
{
    pid_t pid = (pid_t)syscall(SYS_clone, (long)(NAMESPACES | SIGCHLD), NULL, NULL, NULL, NULL);
    if (pid < 0)
        vr_error_system(err, errno, "the namespaces of a machine cannot be made");
    return pid;
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

bool vr_system_try(const struct vr_cgroups *cgroups, const char *cgroup, const char *folder,
                   struct vr_error *err)
{
    int told[2];
    if (pipe2(told, O_CLOEXEC) != 0)
        return vr_error_system(err, errno, "pipe");
    bool ok = vr_cgroup_make(cgroups, cgroup, err);
    pid_t pid = ok ? fork_apart(err) : -1;
    if (pid == 0)
        try_out(cgroups, cgroup, folder, told[1]);
    close(told[1]);
    ok = pid > 0 && read_report(told[0], err);
    close(told[0]);
    if (pid > 0)
        waitpid(pid, NULL, 0);
    vr_cgroup_remove(cgroups, cgroup);
    return ok;
}

/* A socket belongs to the network namespace that it was made in. */
static int notify_socket(pid_t pid)
{
    struct sockaddr_un where = {.sun_family = AF_UNIX};
    memcpy(where.sun_path + 1, ready_socket, sizeof(ready_socket) - 1);
    socklen_t length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + sizeof(ready_socket));
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    int own = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC),
        theirs = open(path, O_RDONLY | O_CLOEXEC), fd = -1;
    if (own >= 0 && theirs >= 0 && setns(theirs, CLONE_NEWNET) == 0) {
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd >= 0 && bind(fd, (struct sockaddr *)&where, length) != 0)
            close_fd(&fd);
        if (setns(own, CLONE_NEWNET) != 0)
            abort(); /* everything after it would be in the wrong network */
    }
    if (own >= 0)
        close(own);
    if (theirs >= 0)
        close(theirs);
    return fd;
}

static bool start(struct vr_system *system, const struct vr_system_plan *plan, struct vr_error *err)
{
    int told[2], hold[2];
    if (!vr_cgroup_make(system->cgroups, system->cgroup, err))
        return false;
    if (pipe2(told, O_CLOEXEC) != 0)
        return vr_error_system(err, errno, "pipe");
    system->prepared = told[0];
    if (pipe2(hold, O_CLOEXEC) != 0) {
        close(told[1]);
        return vr_error_system(err, errno, "pipe");
    }
    system->hold = hold[1];
    pid_t pid = fork_apart(err);
    if (pid == 0) {
        close(told[0]), close(hold[1]);
        become(system, plan, told[1], hold[0]);
    }
    close(told[1]), close(hold[0]);
    if (pid < 0)
        return false;
    system->pid = pid;
    system->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    system->notify = system->pidfd < 0 ? -1 : notify_socket(pid);
    if (system->notify < 0)
        return vr_error_system(err, errno, "a machine's first process cannot be held");
    return true;
}

bool vr_system_start(struct vr_system *system, const struct vr_cgroups *cgroups, const char *cgroup,
                     const struct vr_system_plan *plan, struct vr_error *err)
{
    *system = (struct vr_system){cgroups, vr_strdup(cgroup), 0, -1, -1, -1, -1};
    if (start(system, plan, err))
        return true;
    close_fd(&system->prepared);
    close_fd(&system->notify);
    return false;
}

bool vr_system_prepared(struct vr_system *system, struct vr_error *err)
{
    return read_report(system->prepared, err);
}

void vr_system_go(struct vr_system *system)
{
    if (system->hold >= 0 && write(system->hold, "", 1) == 1) {
        close(system->hold);
        system->hold = -1;
    }
}

/* Only the children of who enters a PID namespace are in it. */
bool vr_system_enter(const struct vr_system *system)
{
    if (!vr_cgroup_enter(system->cgroups, system->cgroup, "init.scope") ||
        setns(system->pidfd, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC |
                                 CLONE_NEWNET | CLONE_NEWCGROUP) != 0 ||
        chdir("/") != 0)
        return false;
    pid_t pid = fork();
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        return true;
    }
    close_range(0, ~0U, 0); /* it waits as long as the command runs */
    int status;
    if (pid < 0 || waitpid(pid, &status, 0) != pid)
        _exit(126);
    _exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

bool vr_system_enter_network(const struct vr_system *system)
{
    return setns(system->pidfd, CLONE_NEWNET) == 0;
}

void vr_system_power_off(const struct vr_system *system)
{
    if (system->pid > 0)
        kill(system->pid, SIGRTMIN + 4); /* systemd's own signal for it */
}

void vr_system_kill(const struct vr_system *system)
{
    if (system->pid > 0)
        kill(system->pid, SIGKILL);
}

bool vr_system_gone(struct vr_system *system)
{
    system->pid = 0;
    close_fd(&system->pidfd);
    close_fd(&system->hold);
    return vr_cgroup_remove(system->cgroups, system->cgroup);
}

void vr_system_free(struct vr_system *system)
{
    vr_system_gone(system);
    free(system->cgroup);
}
