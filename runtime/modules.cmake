# Writes OUT: the table TABLE of bindings, one a file mod_NAME.c with luaopen_vr_NAME in it; those of PLUGIN have no function here.
string(REPLACE "," ";" NAMES "${NAMES}")
string(REPLACE "," ";" PLUGIN "${PLUGIN}")
set(declarations "")
set(rows "")
foreach(name ${NAMES})
    string(APPEND declarations "int luaopen_vr_${name}(lua_State *L);\n")
    string(APPEND rows "    {\"${name}\", luaopen_vr_${name}},\n")
endforeach()
foreach(name ${PLUGIN})
    string(APPEND rows "    {\"${name}\", NULL},\n")
endforeach()
set(text "/* Made by modules.cmake. */
#include <lua.h>

#include \"script/value.h\"

${declarations}
extern const struct vr_module ${TABLE}[];
const struct vr_module ${TABLE}[] = {
${rows}    {NULL, NULL},
};
")
if(EXISTS ${OUT})
    file(READ ${OUT} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
    file(WRITE ${OUT} "${text}")
endif()
