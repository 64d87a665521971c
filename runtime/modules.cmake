# Writes OUT: the table vr_modules of bindings, one a file mod_NAME.c with luaopen_vr_NAME in it. Each of ROWS is NAME, or NAME:PLUGIN
# where a plugin has the function.
string(REPLACE "," ";" ROWS "${ROWS}")
set(declarations "")
set(rows "")
foreach(row ${ROWS})
    string(REPLACE ":" ";" pair ${row})
    list(GET pair 0 name)
    if(row MATCHES ":(.*)$")
        string(APPEND rows "    {\"${name}\", NULL, \"${CMAKE_MATCH_1}\"},\n")
    else()
        string(APPEND declarations "int luaopen_vr_${name}(lua_State *L);\n")
        string(APPEND rows "    {\"${name}\", luaopen_vr_${name}, NULL},\n")
    endif()
endforeach()
set(text "/* Made by modules.cmake. */
#include <lua.h>

#include \"script/value.h\"

${declarations}
const struct vr_module vr_modules[] = {
${rows}    {NULL, NULL, NULL},
};
")
if(EXISTS ${OUT})
    file(READ ${OUT} old)
endif()
if(NOT "${old}" STREQUAL "${text}")
    file(WRITE ${OUT} "${text}")
endif()
