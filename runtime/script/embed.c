/* embed FOLDER OUT: the Lua files of a folder, compiled, as a C file with the table
 * vr_stdlib_files. A part of the build: reading the standard library as text took a fifth of a
 * small plan. */
#include <dirent.h>
#include <lauxlib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/crypto.h"

struct output {
    FILE *out;
    lua_State *L;
    struct vr_buf rows, sources; /* of all files; sources are digested */
    size_t count;
};

static int add_code(lua_State *L, const void *data, size_t length, void *payload)
{
    (void)L;
    vr_buf_add(payload, data, length);
    return 0;
}

static void fail(const char *what, const char *path)
{
    fprintf(stderr, "embed: %s: %s\n", path, what);
    exit(1);
}

static void add_file(struct output *output, const char *path, const char *name)
{
    struct vr_buf text = {0}, code = {0};
    char chunk[4096];
    FILE *file = fopen(path, "r");
    if (!file)
        fail("cannot be read", path);
    for (size_t got; (got = fread(chunk, 1, sizeof(chunk), file)) > 0;)
        vr_buf_add(&text, chunk, got);
    fclose(file);
    char *where = vr_format("@stdlib/%s", name);
    if (luaL_loadbufferx(output->L, text.data, text.length, where, "t") != LUA_OK)
        fail(lua_tostring(output->L, -1), path);
    lua_dump(output->L, add_code, &code, 0);
    lua_pop(output->L, 1);
    fprintf(output->out, "static const unsigned char f%zu[] = {", output->count);
    for (size_t i = 0; i < code.length; i++)
        fprintf(output->out, "%u,", (unsigned char)code.data[i]);
    fputs("};\n", output->out);
    vr_buf_printf(&output->rows, "    {\"%s\", f%zu, %zu},\n", name, output->count++, code.length);
    vr_buf_add(&output->sources, text.data, text.length);
    free(where);
    vr_buf_free(&text);
    vr_buf_free(&code);
}

static void add_folder(struct output *output, const char *folder, const char *prefix)
{
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort);
    if (count < 0)
        fail("cannot be read", folder);
    for (int i = 0; i < count; i++) {
        const char *name = entries[i]->d_name, *dot = strrchr(name, '.');
        char *path = vr_format("%s/%s", folder, name), *full = vr_format("%s%s", prefix, name);
        struct stat st;
        if (name[0] != '.' && stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
            char *below = vr_format("%s/", full);
            add_folder(output, path, below);
            free(below);
        } else if (dot && strcmp(dot, ".lua") == 0) {
            add_file(output, path, full);
        }
        free(path);
        free(full);
        free(entries[i]);
    }
    free(entries);
}

int main(int argc, char **argv)
{
    if (argc != 3)
        fail("embed FOLDER OUT", "usage");
    struct output output = {.out = fopen(argv[2], "w"), .L = luaL_newstate()};
    if (!output.out || !output.L)
        fail("cannot be written", argv[2]);
    fputs("/* Made by embed.c. */\n#include <stddef.h>\nstruct vr_stdlib_file {\n"
          "    const char *path;\n    const unsigned char *data;\n    size_t length;\n};\n",
          output.out);
    add_folder(&output, argv[1], "");
    char digest[2 * VR_SHA256_SIZE + 1];
    vr_sha256_hex(output.sources.data, output.sources.length, digest);
    fprintf(output.out,
            "extern const char vr_stdlib_digest[];\n"
            "const char vr_stdlib_digest[] = \"%s\";\n"
            "extern const struct vr_stdlib_file vr_stdlib_files[];\n"
            "const struct vr_stdlib_file vr_stdlib_files[] = {\n%s    {NULL, NULL, 0},\n};\n",
            digest, output.rows.data);
    vr_buf_free(&output.rows);
    vr_buf_free(&output.sources);
    lua_close(output.L);
    return fclose(output.out) == 0 ? 0 : 1;
}
