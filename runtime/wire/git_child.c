/* Each operation works in a bare repository of its own in the request's temporary folder: no
 * working tree is needed to read files or to make a commit out of some. */
#include "wire/git.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"
#include "wire/git_access.h"

#define TRIES 5 /* of a commit, when others push to the branch meanwhile */
#define FETCHED "refs/vmrun/fetched"
#define MADE "refs/vmrun/made"

/* A branch as the server has it. */
struct branch {
    char *name;  /* without refs/heads/ */
    bool exists; /* on the server */
    bool based;  /* oid is set: the branch's commit, or the default branch's for a new one */
    git_oid oid;
};

struct job {
    json_t *request;
    struct git_access access;
    git_repository *repo;
    json_t *result;
};

static const char *text_of(const struct job *job, const char *name)
{
    return json_string_value(json_object_get(job->request, name));
}

static json_t *oid_json(const git_oid *oid)
{
    char text[GIT_OID_HEXSZ + 1];
    return json_string(git_oid_tostr(text, sizeof(text), oid));
}

/* --- paths --- */

static bool bad_component(const char *start, size_t length)
{
    return length == 0 || (length == 1 && start[0] == '.') ||
           (length == 2 && memcmp(start, "..", 2) == 0) ||
           (length == 4 && strncasecmp(start, ".git", 4) == 0) || memchr(start, '\\', length) ||
           (length == 5 && strncasecmp(start, "git~1", 5) == 0);
}

static bool check_path(const char *path, struct vr_error *err)
{
    const char *at = path;
    for (;;) {
        size_t length = strcspn(at, "/");
        if (bad_component(at, length))
            return vr_error_set(err, "path", "'%s' is not a path inside of the repository", path);
        if (!at[length])
            return true;
        at += length + 1;
    }
}

/* --- the server --- */

static const git_remote_head *find_head(const git_remote_head **heads, size_t count,
                                        const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(heads[i]->name, name) == 0)
            return heads[i];
    }
    return NULL;
}

static bool is_head(const struct git_remote_head *head)
{
    return strncmp(head->name, "refs/heads/", 11) == 0;
}

/* The branch that HEAD means: by its name, else by its commit; "main" when the server has none yet.
 */
static char *default_branch(const git_remote_head **heads, size_t count)
{
    const git_remote_head *head = find_head(heads, count, "HEAD");
    if (head && head->symref_target && strncmp(head->symref_target, "refs/heads/", 11) == 0)
        return vr_strdup(head->symref_target + 11);
    for (size_t i = 0; head && i < count; i++) {
        if (is_head(heads[i]) && git_oid_equal(&heads[i]->oid, &head->oid))
            return vr_strdup(heads[i]->name + 11);
    }
    return vr_strdup("main");
}

static bool open_repository(struct job *job, struct vr_error *err)
{
    char *path = vr_format("%s/repository", text_of(job, "tmp"));
    int rc = git_repository_init(&job->repo, path, 1);
    free(path);
    return rc == 0 || git_failed(NULL, rc, err);
}

/* Connects and lists. remote: the caller's to free, whatever is returned. */
static bool list_remote(struct job *job, git_remote **remote, const git_remote_head ***heads,
                        size_t *count, struct vr_error *err)
{
    git_remote_callbacks callbacks;
    git_remote_init_callbacks(&callbacks, GIT_REMOTE_CALLBACKS_VERSION);
    git_proxy_options proxy;
    git_proxy_options_init(&proxy, GIT_PROXY_OPTIONS_VERSION);
    git_access_callbacks(&job->access, &callbacks);
    git_access_proxy(&job->access, &proxy);
    int rc = git_remote_create_anonymous(remote, job->repo, job->access.dialled);
    if (rc == 0)
        rc = git_remote_connect(*remote, GIT_DIRECTION_FETCH, &callbacks, &proxy, NULL);
    if (rc == 0)
        rc = git_remote_ls(heads, count, *remote);
    return rc == 0 || git_failed(&job->access, rc, err);
}

static bool fetch(struct job *job, git_remote *remote, const char *spec, struct vr_error *err)
{
    git_fetch_options options;
    git_fetch_options_init(&options, GIT_FETCH_OPTIONS_VERSION);
    git_access_callbacks(&job->access, &options.callbacks);
    git_access_proxy(&job->access, &options.proxy_opts);
    options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_NONE;
    char *copy = vr_strdup(spec);
    git_strarray specs = {.strings = &copy, .count = 1};
    int rc = git_remote_fetch(remote, &specs, &options, NULL);
    free(copy);
    return rc == 0 || git_failed(&job->access, rc, err);
}

/* What the server has under the branch's name (NULL: its default branch). Fetched too if download.
 */
static bool look_up(struct job *job, const char *name, bool download, struct branch *out,
                    struct vr_error *err)
{
    git_remote *remote = NULL;
    const git_remote_head **heads = NULL;
    size_t count = 0;
    *out = (struct branch){0};
    bool ok = list_remote(job, &remote, &heads, &count, err);
    if (ok) {
        char *standard = default_branch(heads, count);
        out->name = vr_strdup(name ? name : standard);
        char *ref = vr_format("refs/heads/%s", out->name),
             *base_ref = vr_format("refs/heads/%s", standard);
        const git_remote_head *head = find_head(heads, count, ref),
                              *base = head ? head : find_head(heads, count, base_ref);
        out->exists = head != NULL;
        out->based = base != NULL;
        if (base) {
            out->oid = base->oid;
            char *spec = vr_format("+%s:%s", head ? ref : base_ref, FETCHED);
            ok = !download || fetch(job, remote, spec, err);
            git_oid fetched; /* it may have moved since it was listed */
            if (ok && download && git_reference_name_to_id(&fetched, job->repo, FETCHED) == 0)
                out->oid = fetched;
            free(spec);
        }
        free(ref);
        free(base_ref);
        free(standard);
    }
    if (remote)
        git_remote_disconnect(remote);
    git_remote_free(remote);
    return ok;
}

static bool no_branch(const struct job *job, const struct branch *branch, struct vr_error *err)
{
    return vr_error_set(err, "notfound", "%s has no branch '%s'", job->access.url, branch->name);
}

/* --- head --- */

static bool do_head(struct job *job, struct vr_error *err)
{
    struct branch branch = {0};
    bool ok =
        open_repository(job, err) && look_up(job, text_of(job, "branch"), false, &branch, err);
    if (ok)
        job->result =
            json_pack("{so}", "commit", branch.exists ? oid_json(&branch.oid) : json_null());
    free(branch.name);
    return ok;
}

/* --- read --- */

static void add_blob(struct job *job, json_t *files, const char *path, const git_tree_entry *entry)
{
    git_filemode_t mode = git_tree_entry_filemode(entry);
    git_blob *blob = NULL;
    if (mode == GIT_FILEMODE_LINK || git_tree_entry_type(entry) != GIT_OBJECT_BLOB ||
        git_blob_lookup(&blob, job->repo, git_tree_entry_id(entry)) != 0)
        return;
    char *text = vr_base64(git_blob_rawcontent(blob), (size_t)git_blob_rawsize(blob));
    json_object_set_new(files, path, json_string(text));
    free(text);
    git_blob_free(blob);
}

struct walk {
    struct job *job;
    json_t *files;
    const char *prefix;
};

static int visit(const char *root, const git_tree_entry *entry, void *payload)
{
    struct walk *walk = payload;
    char *path = vr_format("%s%s", root, git_tree_entry_name(entry));
    if (strncmp(path, walk->prefix, strlen(walk->prefix)) == 0)
        add_blob(walk->job, walk->files, path, entry);
    free(path);
    return 0;
}

static void read_paths(struct job *job, git_tree *tree, json_t *paths, json_t *files)
{
    size_t i;
    json_t *item;
    json_array_foreach(paths, i, item)
    {
        const char *path = json_string_value(item);
        git_tree_entry *entry = NULL;
        if (path && git_tree_entry_bypath(&entry, tree, path) == 0)
            add_blob(job, files, path, entry);
        git_tree_entry_free(entry);
    }
}

static bool commit_tree(struct job *job, const git_oid *oid, git_commit **commit, git_tree **tree,
                        struct vr_error *err)
{
    int rc = git_commit_lookup(commit, job->repo, oid);
    if (rc == 0)
        rc = git_commit_tree(tree, *commit);
    return rc == 0 || git_failed(&job->access, rc, err);
}

static bool read_files(struct job *job, const git_oid *oid, struct vr_error *err)
{
    git_commit *commit = NULL;
    git_tree *tree = NULL;
    json_t *paths = json_object_get(job->request, "paths");
    const char *prefix = text_of(job, "prefix");
    bool ok = commit_tree(job, oid, &commit, &tree, err);
    if (ok) {
        json_t *files = json_object();
        if (json_is_array(paths))
            read_paths(job, tree, paths, files);
        else
            git_tree_walk(tree, GIT_TREEWALK_PRE, visit,
                          &(struct walk){job, files, prefix ? prefix : ""});
        job->result = json_pack("{soso}", "commit", oid_json(oid), "files", files);
    }
    git_tree_free(tree);
    git_commit_free(commit);
    return ok;
}

static bool do_read(struct job *job, struct vr_error *err)
{
    struct branch branch = {0};
    bool ok = open_repository(job, err) &&
              look_up(job, text_of(job, "branch"), true, &branch, err) &&
              (branch.exists || no_branch(job, &branch, err)) && read_files(job, &branch.oid, err);
    free(branch.name);
    return ok;
}

/* --- commit --- */

/* Puts one file into the index. An executable stays one. */
static int put_file(struct job *job, git_index *index, const char *path, const char *text)
{
    size_t length = 0;
    unsigned char *data = vr_unbase64(text, &length);
    const git_index_entry *old = git_index_get_bypath(index, path, 0);
    git_index_entry entry = {.path = path,
                             .mode = old && old->mode == GIT_FILEMODE_BLOB_EXECUTABLE
                                         ? GIT_FILEMODE_BLOB_EXECUTABLE
                                         : GIT_FILEMODE_BLOB};
    int rc = git_blob_create_from_buffer(&entry.id, job->repo, data ? (const char *)data : "",
                                         data ? length : 0);
    free(data);
    return rc == 0 ? git_index_add(index, &entry) : rc;
}

static int change_index(struct job *job, git_index *index)
{
    json_t *files = json_object_get(job->request, "files"),
           *keep = json_object_get(job->request, "keep");
    const char *path;
    json_t *value;
    int rc = 0;
    /* Removals first: a name may go from a file to a folder. */
    json_object_foreach(files, path, value)
    {
        if (!json_is_string(value) && git_index_get_bypath(index, path, 0))
            rc = rc ? rc : git_index_remove(index, path, 0);
    }
    json_object_foreach(files, path, value)
    {
        bool kept =
            json_is_true(json_object_get(keep, path)) && git_index_get_bypath(index, path, 0);
        if (json_is_string(value) && !kept)
            rc = rc ? rc : put_file(job, index, path, json_string_value(value));
    }
    return rc;
}

/* The tree that the commit is to have, made out of base (NULL: nothing). */
static bool make_tree(struct job *job, git_tree *base, git_oid *out, struct vr_error *err)
{
    git_index *index = NULL;
    int rc = git_index_new(&index);
    if (rc == 0 && base)
        rc = git_index_read_tree(index, base);
    if (rc == 0)
        rc = change_index(job, index);
    if (rc == 0)
        rc = git_index_write_tree_to(out, index, job->repo);
    git_index_free(index);
    return rc == 0 || git_failed(NULL, rc, err);
}

static bool make_commit(struct job *job, git_commit *parent, const git_oid *tree_id, git_oid *out,
                        struct vr_error *err)
{
    const char *name = text_of(job, "name"), *email = text_of(job, "email"),
               *message = text_of(job, "message");
    git_signature *who = NULL;
    git_tree *tree = NULL;
    const git_commit *parents[] = {parent};
    int rc = git_signature_now(&who, name ? name : "vmrun", email ? email : "vmrun@localhost");
    if (rc == 0)
        rc = git_tree_lookup(&tree, job->repo, tree_id);
    if (rc == 0)
        rc = git_commit_create(out, job->repo, NULL, who, who, "UTF-8", message ? message : "",
                               tree, parent ? 1 : 0, parents);
    git_tree_free(tree);
    git_signature_free(who);
    return rc == 0 || git_failed(NULL, rc, err);
}

/* What the server said against the push; NULL: nothing. Not in the callbacks' payload: that is the
 * access, for all. */
static char *refusal;

static int hear_verdict(const char *ref, const char *status, void *payload)
{
    (void)ref;
    (void)payload;
    if (status && !refusal)
        refusal = vr_strdup(status);
    return 0;
}

static bool is_race(int rc, const char *text)
{
    static const char *const signs[] = {"non-fast-forward",     "fetch first",
                                        "failed to update ref", "cannot lock ref",
                                        "failed to lock",       "reference already exists",
                                        "stale info",           "is at ",
                                        "not present locally",  "non-fastforward"};
    if (rc == GIT_ENONFASTFORWARD || rc == GIT_ELOCKED || rc == GIT_EMODIFIED)
        return true;
    for (size_t i = 0; text && i < sizeof(signs) / sizeof(*signs); i++) {
        if (strstr(text, signs[i]))
            return true;
    }
    return false;
}

enum pushed { PUSHED, RACED, REFUSED };

static enum pushed push(struct job *job, const git_oid *oid, const char *branch,
                        struct vr_error *err)
{
    git_remote *remote = NULL;
    git_reference *ref = NULL;
    git_push_options options;
    git_push_options_init(&options, GIT_PUSH_OPTIONS_VERSION);
    git_access_callbacks(&job->access, &options.callbacks);
    git_access_proxy(&job->access, &options.proxy_opts);
    options.callbacks.push_update_reference = hear_verdict;
    free(refusal);
    refusal = NULL;
    char *spec = vr_format("%s:refs/heads/%s", MADE, branch);
    git_strarray specs = {.strings = &spec, .count = 1};
    int rc = git_reference_create(&ref, job->repo, MADE, oid, 1, NULL);
    if (rc == 0)
        rc = git_remote_create_anonymous(&remote, job->repo, job->access.dialled);
    if (rc == 0)
        rc = git_remote_push(remote, &specs, &options);
    const git_error *last = rc < 0 ? git_error_last() : NULL;
    const char *text = refusal ? refusal : last ? last->message : NULL;
    enum pushed outcome = rc == 0 && !refusal ? PUSHED : is_race(rc, text) ? RACED : REFUSED;
    if (outcome != PUSHED && refusal)
        vr_error_set(err, outcome == RACED ? "conflict" : "rejected",
                     "%s refused the push to '%s': %s", job->access.url, branch, refusal);
    else if (outcome != PUSHED)
        git_failed(&job->access, rc, err);
    free(spec);
    git_reference_free(ref);
    git_remote_free(remote);
    return outcome;
}

static void set_committed(struct job *job, const git_oid *oid, bool changed)
{
    job->result = json_pack("{sosb}", "commit", oid_json(oid), "changed", changed);
}

/* Fetches, makes the commit and pushes it, once. */
static enum pushed try_commit(struct job *job, struct vr_error *err)
{
    struct branch branch = {0};
    git_commit *parent = NULL;
    git_tree *base = NULL;
    git_oid tree, made;
    enum pushed outcome = REFUSED;
    if (!look_up(job, text_of(job, "branch"), true, &branch, err) ||
        (branch.based && !commit_tree(job, &branch.oid, &parent, &base, err)) ||
        !make_tree(job, base, &tree, err))
        goto out;
    bool same = base && git_oid_equal(git_tree_id(base), &tree);
    if (same && branch.exists) {
        set_committed(job, &branch.oid, false);
        outcome = PUSHED;
        goto out;
    }
    if (same)
        made = branch.oid;
    else if (!make_commit(job, parent, &tree, &made, err))
        goto out;
    outcome = push(job, &made, branch.name, err);
    if (outcome == PUSHED)
        set_committed(job, &made, true);
out:
    free(branch.name);
    git_tree_free(base);
    git_commit_free(parent);
    return outcome;
}

static bool check_files(struct job *job, struct vr_error *err)
{
    const char *path;
    json_t *value, *files = json_object_get(job->request, "files");
    if (!json_is_object(files))
        return vr_error_set(err, "git", "the request has no 'files'");
    json_object_foreach(files, path, value)
    {
        if (!check_path(path, err))
            return false;
    }
    const char *branch = text_of(job, "branch");
    int valid = 1;
    char *name = vr_format("refs/heads/%s", branch ? branch : "main");
    git_reference_name_is_valid(&valid, name);
    free(name);
    return valid || vr_error_set(err, "git", "'%s' cannot be the name of a branch", branch);
}

static bool do_commit(struct job *job, struct vr_error *err)
{
    if (!check_files(job, err) || !open_repository(job, err))
        return false;
    for (int i = 0; i < TRIES; i++) {
        vr_error_clear(err);
        enum pushed outcome = try_commit(job, err);
        if (outcome != RACED)
            return outcome == PUSHED;
    }
    return vr_error_set(err, "conflict", "%s: others pushed to the branch during each of %d tries",
                        job->access.url, TRIES);
}

/* --- checkout --- */

/* Finds the commit of a branch, a tag or a hash among what was fetched. */
static int resolve(struct job *job, const char *ref, git_object **commit)
{
    static const char *const places[] = {"refs/remotes/origin/%s", "refs/tags/%s", "%s^{commit}"};
    int rc = GIT_ENOTFOUND;
    for (size_t i = 0; i < sizeof(places) / sizeof(*places) && rc != 0; i++) {
        struct vr_buf name = {0};
        const char *place = strstr(places[i], "%s");
        vr_buf_add(&name, places[i], (size_t)(place - places[i]));
        vr_buf_puts(&name, ref);
        vr_buf_puts(&name, place + 2);
        git_object *found = NULL;
        rc = git_revparse_single(&found, job->repo, name.data);
        if (rc == 0)
            rc = git_object_peel(commit, found, GIT_OBJECT_COMMIT);
        git_object_free(found);
        vr_buf_free(&name);
    }
    return rc;
}

static bool fetch_all(struct job *job, char **standard, struct vr_error *err)
{
    git_remote *remote = NULL;
    const git_remote_head **heads = NULL;
    size_t count = 0;
    bool ok = list_remote(job, &remote, &heads, &count, err);
    if (ok) {
        *standard = default_branch(heads, count);
        git_fetch_options options;
        git_fetch_options_init(&options, GIT_FETCH_OPTIONS_VERSION);
        git_access_callbacks(&job->access, &options.callbacks);
        git_access_proxy(&job->access, &options.proxy_opts);
        options.download_tags = GIT_REMOTE_DOWNLOAD_TAGS_ALL;
        char branches[] = "+refs/heads/*:refs/remotes/origin/*";
        char *list[] = {branches};
        git_strarray specs = {.strings = list, .count = 1};
        int rc = count ? git_remote_fetch(remote, &specs, &options, NULL) : 0;
        ok = rc == 0 || git_failed(&job->access, rc, err);
    }
    git_remote_free(remote);
    return ok;
}

static bool do_checkout(struct job *job, struct vr_error *err)
{
    const char *dir = text_of(job, "dir"), *ref = text_of(job, "ref");
    if (!dir)
        return vr_error_set(err, "git", "the request has no 'dir'");
    int rc = git_repository_open_ext(&job->repo, dir, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL);
    if (rc == GIT_ENOTFOUND)
        rc = git_repository_init(&job->repo, dir, 0);
    if (rc != 0)
        return git_failed(NULL, rc, err);
    char *standard = NULL;
    git_object *commit = NULL;
    git_checkout_options options;
    git_checkout_options_init(&options, GIT_CHECKOUT_OPTIONS_VERSION);
    options.checkout_strategy = GIT_CHECKOUT_FORCE;
    bool ok = fetch_all(job, &standard, err);
    if (ok && (rc = resolve(job, ref ? ref : standard, &commit)) != 0)
        ok = vr_error_set(err, "notfound", "%s has no branch, tag or commit '%s'", job->access.url,
                          ref ? ref : standard);
    if (ok) {
        rc = git_checkout_tree(job->repo, commit, &options);
        if (rc == 0)
            rc = git_repository_set_head_detached(job->repo, git_object_id(commit));
        ok = rc == 0 || git_failed(NULL, rc, err);
    }
    if (ok)
        job->result = json_pack("{so}", "commit", oid_json(git_object_id(commit)));
    git_object_free(commit);
    free(standard);
    return ok;
}

/* --- init --- */

static bool do_init(struct job *job, struct vr_error *err)
{
    const char *path = text_of(job, "path"), *branch = text_of(job, "branch");
    if (!path)
        return vr_error_set(err, "git", "the request has no 'path'");
    git_repository_init_options options;
    git_repository_init_options_init(&options, GIT_REPOSITORY_INIT_OPTIONS_VERSION);
    options.flags = GIT_REPOSITORY_INIT_MKPATH | GIT_REPOSITORY_INIT_MKDIR;
    if (!json_is_false(json_object_get(job->request, "bare")))
        options.flags |= GIT_REPOSITORY_INIT_BARE;
    options.initial_head = branch ? branch : "main";
    int rc = git_repository_open_ext(&job->repo, path, GIT_REPOSITORY_OPEN_NO_SEARCH, NULL);
    bool created = rc == GIT_ENOTFOUND;
    if (created)
        rc = git_repository_init_ext(&job->repo, path, &options);
    if (rc != 0)
        return git_failed(NULL, rc, err);
    job->result = json_pack("{sb}", "created", created);
    return true;
}

/* --- the child --- */

static const struct op {
    const char *name;
    bool (*run)(struct job *job, struct vr_error *err);
    bool local; /* no url */
} ops[] = {
    {"head", do_head, false},         {"read", do_read, false}, {"commit", do_commit, false},
    {"checkout", do_checkout, false}, {"init", do_init, true},
};

static json_t *read_request(struct vr_error *err)
{
    struct vr_buf text = {0};
    char bytes[65536];
    ssize_t size;
    while ((size = read(0, bytes, sizeof(bytes))) > 0 || (size < 0 && errno == EINTR))
        vr_buf_add(&text, bytes, size > 0 ? (size_t)size : 0);
    json_error_t problem;
    json_t *request = json_loadb(text.data ? text.data : "", text.length, 0, &problem);
    if (text.data)
        explicit_bzero(text.data, text.length);
    vr_buf_free(&text);
    if (!request)
        vr_error_set(err, "git", "the request is not JSON: %s", problem.text);
    return request;
}

static bool run(struct job *job, struct vr_error *err)
{
    const char *name = text_of(job, "op");
    for (size_t i = 0; i < sizeof(ops) / sizeof(*ops); i++) {
        if (name && strcmp(name, ops[i].name) == 0)
            return (ops[i].local || git_access_open(&job->access, job->request, err)) &&
                   ops[i].run(job, err);
    }
    return vr_error_set(err, "git", "the request has no known 'op'");
}

/* Nothing of the machine's or the user's configuration is read. */
static void set_up(void)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    prctl(PR_SET_DUMPABLE, 0); /* keys are in memory */
    git_libgit2_init();
    int levels[] = {GIT_CONFIG_LEVEL_PROGRAMDATA, GIT_CONFIG_LEVEL_SYSTEM, GIT_CONFIG_LEVEL_XDG,
                    GIT_CONFIG_LEVEL_GLOBAL};
    for (size_t i = 0; i < sizeof(levels) / sizeof(*levels); i++)
        git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, levels[i], "");
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
}

/* A server's words may be in any encoding. */
static json_t *error_json(const struct vr_error *err)
{
    json_t *message = json_string(err->message), *out = json_object();
    json_object_set_new(out, "message",
                        message ? message : json_string("failed, in words that are not UTF-8"));
    json_object_set_new(out, "code", json_string(err->code ? err->code : "git"));
    if (err->hint)
        json_object_set_new(out, "hint", json_string(err->hint));
    return json_pack("{so}", "error", out);
}

static bool answer(json_t *reply)
{
    bool ok = reply && json_dumpf(reply, stdout, JSON_COMPACT) == 0 && fflush(stdout) == 0;
    json_decref(reply);
    return ok;
}

int vr_git_child(void)
{
    struct vr_error err = {0};
    struct job job = {0};
    set_up();
    job.request = read_request(&err);
    bool ok = job.request && run(&job, &err);
    bool told = answer(ok ? json_pack("{so}", "result", job.result) : error_json(&err));
    git_repository_free(job.repo);
    git_access_free(&job.access);
    json_decref(job.request);
    vr_error_clear(&err);
    free(refusal);
    git_libgit2_shutdown();
    return told ? 0 : 1;
}
