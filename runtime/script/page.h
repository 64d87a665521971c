/* What provider.c (kinds) and runner.c (their verbs) share. */
#ifndef VR_SCRIPT_PAGE_H
#define VR_SCRIPT_PAGE_H

#include <jansson.h>
#include <lua.h>
#include <stdbool.h>
#include <stddef.h>

struct vr_kind;
struct vr_provider;

/* The payload of a kind: its page of Lua. */
struct vr_page {
    struct vr_provider *provider;
    struct vr_kind *kind;
    int ref;           /* the page's table */
    json_t *described; /* kind.describe(page) */
    struct vr_page *next;
    bool stale; /* another page has its name now; declarations of before still use it */
};

struct vr_provider {
    lua_State *L;
    struct vr_page *pages;
    int target_ref;
    char *stack;
    size_t running;
    json_t *notes; /* see vr_provider_notes */
};

#endif
