/* Git, by libgit2, whose calls block and cannot be cancelled: so they run in a short-lived child,
 * `vmrun git-child`, which reads one request and ends. stdlib/git.lua starts it and kills it when
 * the time is over.
 *
 * A request is a JSON object on stdin: "op" and, by op (* = must be there),
 *   head      url*, branch                        -> {"commit": sha or null}
 *   read      url*, branch, paths or prefix       -> {"commit": sha, "files": {path: base64}}
 *   commit    url*, branch, files* {path: base64 or false}, keep {path: true}, message*, name,
 * email
 *                                                 -> {"commit": sha, "changed": bool}
 *   checkout  url*, ref, dir*                     -> {"commit": sha}
 *   init      path*, bare, branch                 -> {"created": bool}
 * and for those with url: tmp* (an empty folder that the caller removes), key, passphrase,
 * known_hosts (lines), username, password, connect_to ("addr:port"), ca (PEM text). The answer is
 * {"result": {...}} or {"error": {"message", "code", "hint"}} on stdout. Codes: unreachable,
 * hostkey, auth, tls, notfound, conflict (the branch moves too often), rejected (by a hook of the
 * server), path, git. */
#ifndef VR_WIRE_GIT_H
#define VR_WIRE_GIT_H

/* The child's main: returns its exit code. */
int vr_git_child(void);

#endif
