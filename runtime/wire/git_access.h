/* How a repository is reached: where its URL goes, who logs in, whose host key is right; and what
 * failed on the way. */
#ifndef VR_WIRE_GIT_ACCESS_H
#define VR_WIRE_GIT_ACCESS_H

#include <git2.h>
#include <jansson.h>
#include <stdbool.h>

#include "base/error.h"
#include "wire/known_hosts.h"
#include "wire/ssh_key.h"

struct git_access {
    const char *url; /* as declared: for messages */
    char *dialled;   /* what libgit2 is given */
    char *host;      /* of the declared URL; NULL: a path */
    int port;
    bool ssh;
    char *user; /* in the URL, or the request's */
    const char *password;
    struct vr_ssh_key *key;
    struct vr_known_hosts *known;
    bool direct;            /* connect_to was given: no proxy */
    int asked;              /* how often libgit2 wanted credentials */
    struct vr_error reason; /* what a callback refused, and why */
};

/* Reads the request; access is to be freed whether this is true or not. */
bool git_access_open(struct git_access *access, json_t *request, struct vr_error *err);
void git_access_free(struct git_access *access);

void git_access_callbacks(struct git_access *access, git_remote_callbacks *callbacks);
void git_access_proxy(const struct git_access *access, git_proxy_options *proxy);

/* The failure of a libgit2 call that has returned rc. access may be NULL. Always false. */
bool git_failed(struct git_access *access, int rc, struct vr_error *err);

#endif
