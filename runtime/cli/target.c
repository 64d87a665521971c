#include "cli/target.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

bool vr_target_is(const json_t *target, const char *kind)
{
    const char *is = text_of(target, "kind");
    return is && strcmp(is, kind) == 0;
}

char *vr_target_text(const json_t *target)
{
    if (vr_target_is(target, "azure"))
        return vr_format("Azure subscription %s", text_of(target, "subscription"));
    return vr_strdup(vr_target_is(target, "emulator") ? "the emulator" : "this machine");
}

static json_t *azure(const char *subscription)
{
    const char *tenant = getenv("AZURE_TENANT_ID"), *cloud = getenv("AZURE_CLOUD");
    return json_pack("{s:s, s:s, s:s*, s:s*}", "kind", "azure", "subscription", subscription,
                     "tenant", tenant && *tenant ? tenant : NULL, "cloud",
                     cloud && *cloud ? cloud : NULL);
}

/* What the flags, else the environment, say; NULL and *from NULL when they say nothing. */
static json_t *asked(const struct vr_args *args, const json_t *emulator, const char **from,
                     struct vr_error *err)
{
    const char *variable = getenv("AZURE_SUBSCRIPTION_ID"),
               *own = text_of(emulator, "subscription");
    *from = NULL;
    if (args->emulator && args->subscription &&
        !(own && strcasecmp(args->subscription, own) == 0)) {
        vr_error_set(err, "usage", "--emulator and --subscription exclude each other");
        return NULL;
    }
    const char *subscription = args->subscription;
    if (args->emulator) {
        *from = "--emulator";
        return json_pack("{s:s}", "kind", "emulator");
    }
    if (subscription)
        *from = "--subscription";
    else if (variable && *variable) {
        subscription = variable;
        *from = "AZURE_SUBSCRIPTION_ID";
    }
    if (!subscription)
        return NULL;
    if (own && strcasecmp(subscription, own) == 0)
        return json_pack("{s:s}", "kind", "emulator");
    return azure(subscription);
}

static bool same(const json_t *a, const json_t *b)
{
    if (!vr_target_is(a, text_of(b, "kind")))
        return false;
    if (!vr_target_is(a, "azure"))
        return true;
    const char *x = text_of(a, "tenant"), *y = text_of(b, "tenant");
    return strcasecmp(text_of(a, "subscription"), text_of(b, "subscription")) == 0 &&
           (!x || !y || strcasecmp(x, y) == 0);
}

static bool contradicts(const json_t *wanted, const json_t *bound, const char *from,
                        struct vr_error *err)
{
    char *is = vr_target_text(bound), *other = vr_target_text(wanted);
    vr_error_set(err, "target", "this stack belongs to %s, and %s says %s", is, from, other);
    vr_error_hint(err, strcmp(from, "AZURE_SUBSCRIPTION_ID") == 0
                           ? "unset AZURE_SUBSCRIPTION_ID, or name another stack with --stack"
                           : "leave the option out, or name another stack with --stack");
    free(is);
    free(other);
    return true;
}

json_t *vr_target_choose(const struct vr_args *args, const json_t *bound, const json_t *emulator,
                         bool terminal, bool *chosen, struct vr_error *err)
{
    const char *from;
    struct vr_error problem = {0};
    json_t *wanted = asked(args, emulator, &from, &problem);
    *chosen = false;
    if (problem.message) {
        vr_error_move(err, &problem);
        return NULL;
    }
    if (bound) {
        bool wrong = wanted && !same(wanted, bound) && contradicts(wanted, bound, from, err);
        json_decref(wanted);
        return wrong ? NULL : json_incref((json_t *)bound);
    }
    if (wanted)
        return wanted;
    if (terminal) {
        *chosen = true;
        return json_pack("{s:s}", "kind", "emulator");
    }
    vr_error_set(err, "target", "this stack has no target yet");
    vr_error_hint(err, "pass --emulator for the built-in emulator, or --subscription ID for Azure");
    return NULL;
}
