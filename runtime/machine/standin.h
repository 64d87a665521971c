/* The stand-in program: what a command of an emulated machine (apt-get, systemctl, kubeadm, ...)
 * is. It hands its arguments and input to the emulator, which answers as the real tool would. In a
 * machine, the command is a link to vmrun.
 *
 * The machine's file /etc/vmrun-machine says "ADDRESS PORT TOKEN". On the connection goes a line of
 * JSON
 * {"token", "argv", "cwd", "env", "uid"} and then the standard input, until its end; back come
 * frames of one byte ('o' output, 'e' errors, 'x' exit code), four bytes of length (most
 * significant first), and the bytes. */
#ifndef VR_MACHINE_STANDIN_H
#define VR_MACHINE_STANDIN_H

#include <stdbool.h>

/* True when this process was started under another name than vmrun, inside an emulated machine. */
bool vr_standin_is(const char *name);
int vr_standin_main(int argc, char **argv); /* the exit code */

#endif
