/* The Lua state: module paths, embedded standard library, tracebacks. */
#ifndef VR_SCRIPT_HOST_H
#define VR_SCRIPT_HOST_H

#include <stddef.h>

/* The standard library, as bytes in the binary; ends with a NULL path. Paths are below stdlib/: "azure/subnet.lua". */
struct vr_stdlib_file {
    const char *path;
    const unsigned char *data;
    size_t length;
};
extern const struct vr_stdlib_file vr_stdlib_files[];

#endif
