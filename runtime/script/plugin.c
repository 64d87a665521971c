#include "script/plugin.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"

static const char *const folders[] = {"", "/../" VMRUN_LIBDIR "/vmrun"}; /* from the program's */

/* The loader itself knows a file that is already open. */
static void *open_plugin(const char *file, struct vr_error *err)
{
    char program[PATH_MAX];
    ssize_t length = readlink("/proc/self/exe", program, sizeof(program) - 1);
    program[length > 0 ? length : 0] = '\0';
    char *end = strrchr(program, '/');
    for (size_t i = 0; end && i < sizeof(folders) / sizeof(*folders); i++) {
        *end = '\0';
        char *path = vr_format("%s%s/%s", program, folders[i], file);
        bool there = access(path, F_OK) == 0;
        void *opened = there ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
        free(path);
        if (opened)
            return opened;
        if (there) {
            vr_error_set(err, "plugin", "%s: %s", file, dlerror());
            return NULL;
        }
    }
    vr_error_set(err, "plugin",
                 "%s: it is neither beside the program nor installed; install vmrun as a whole: "
                 "cmake --install",
                 file);
    return NULL;
}

void *vr_plugin_symbol(const char *plugin, const char *symbol, struct vr_error *err)
{
    char *file = vr_format("vmrun-%s.so", plugin);
    void *handle = open_plugin(file, err), *found = handle ? dlsym(handle, symbol) : NULL;
    if (handle && !found)
        vr_error_set(err, "plugin", "%s: %s", file, dlerror());
    free(file);
    return found;
}
