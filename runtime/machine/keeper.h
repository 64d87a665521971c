/* The keeper: a small single-threaded child of the emulator that owns its machines' namespaces and
 * listeners, forks an sshd for each connection and runs commands inside. The emulator itself has
 * threads and must not fork.
 *
 * It speaks JSON, a line a message, on its standard streams; it ends, with everything in its
 * machines, when its input ends.
 *
 *   {"id": 1, "op": "up", "machine": "m1", "root": DIR, "commands": DIR, "hostname": "x",
 * "address": "127.9.16.4", "port": 20022}
 *   {"id": 2, "op": "down", "machine": "m1"}           listeners close, processes inside are
 * killed, namespaces go
 *   {"id": 3, "op": "run", "machine": "m1", "argv": [...], "stdin": "..."}
 *   -> {"id": 1, "ok": true} or {"id": 1, "error": "...", "hint": "..."}; run: {"id": 3, "code": 0,
 * "stdout": "", "stderr": ""}
 */
#ifndef VR_MACHINE_KEEPER_H
#define VR_MACHINE_KEEPER_H

int vr_keeper_main(void); /* the process's exit code */

#endif
