/* The part of vmrun that talks over the network's libraries (runtime/wire): a module of its own
 * that is loaded when it is first needed, since starting with its forty libraries takes longer than
 * many a plan. It lies beside the program, or where `cmake --install` puts it. */
#ifndef VR_SCRIPT_PLUGIN_H
#define VR_SCRIPT_PLUGIN_H

#include "base/error.h"

/* A function or a table of it; NULL with an error (code "plugin"). */
void *vr_plugin_symbol(const char *name, struct vr_error *err);

#endif
