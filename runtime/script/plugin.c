#include "script/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

#define FILE_NAME "vmrun-wire.so"

static void *handle;

/* %s: the folder of the program. */
static void *open_at(const char *format)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (length <= 0)
        return NULL;
    program[length] = '\0';
    *strrchr(program, '/') = '\0';
    char *path = vr_format(format, program);
    void *opened = access(path, R_OK) == 0 ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    free(path);
    return opened;
}

void *vr_plugin_symbol(const char *name, struct vr_error *err)
{
    if (!handle)
        handle = open_at("%s/" FILE_NAME);
    if (!handle)
        handle = open_at("%s/../" VMRUN_LIBDIR "/vmrun/" FILE_NAME);
    const char *problem = handle ? NULL : dlerror();
    void *symbol = handle ? dlsym(handle, name) : NULL;
    if (!symbol) {
        vr_error_set(err, "plugin", "%s: %s", FILE_NAME,
                     problem  ? problem
                     : handle ? dlerror()
                              : "it is neither beside the program nor installed");
        vr_error_hint(err, "install vmrun as a whole: cmake --install");
    }
    return symbol;
}
