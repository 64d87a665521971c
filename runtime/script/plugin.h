/* What talks over the libraries of the network and of cryptography (runtime/wire, runtime/keys) is
 * a few modules vmrun-NAME.so by the libraries they link, each loaded when it is first needed:
 * starting with all forty libraries takes longer than many a plan. They lie beside the program, or
 * where `cmake --install` puts them. */
#ifndef VR_SCRIPT_PLUGIN_H
#define VR_SCRIPT_PLUGIN_H

#include "base/error.h"

/* A function of the plugin of that name; NULL with an error (code "plugin"). */
void *vr_plugin_symbol(const char *plugin, const char *symbol, struct vr_error *err);

#endif
