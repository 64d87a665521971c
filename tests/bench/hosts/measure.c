/* measure LOG COMMAND...: runs a command and prints its wall seconds, the user + sys seconds
 * of it and of all that it started, also of what it left in the background, and its own peak memory
 * in MiB. What is left behind is ended once the clock has stopped, so the next run begins anew. The
 * command's output is in LOG. */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double seconds(struct timeval t)
{
    return (double)t.tv_sec + (double)t.tv_usec / 1e6;
}

/* Orphans of the command have become ours. */
static void end_orphans(void)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/task/%d/children", (int)getpid());
    int pid, status;
    do {
        FILE *children = fopen(path, "r");
        while (children && fscanf(children, "%d", &pid) == 1)
            kill(pid, SIGTERM);
        if (children)
            fclose(children);
    } while (wait(&status) > 0);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return fprintf(stderr, "usage: measure LOG COMMAND...\n"), 2;
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    double began = now();
    pid_t pid = fork();
    if (pid == 0) {
        int log = open(argv[1], O_WRONLY | O_CREAT | O_TRUNC, 0600),
            null = open("/dev/null", O_RDONLY);
        if (log < 0 || dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
            _exit(126);
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int status = 0;
    struct rusage own, all;
    wait4(pid, &status, 0, &own);
    double wall = now() - began;
    end_orphans();
    getrusage(RUSAGE_CHILDREN, &all);
    if (status != 0) {
        fprintf(stderr, "failed: %s (see %s)\n", argv[2], argv[1]);
        return 1;
    }
    printf("%.4f %.4f %.1f\n", wall, seconds(all.ru_utime) + seconds(all.ru_stime),
           (double)own.ru_maxrss / 1024);
    return 0;
}
