# find_package(edge): the targets edge::edge, the shared library, and edge::edge_static, the archive.
# Both have <edge/edge.h>, and <edge/edge.hpp> for C++.
get_filename_component(EDGE_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
find_package(Threads REQUIRED)

if(NOT TARGET edge::edge)
  add_library(edge::edge SHARED IMPORTED)
  set_target_properties(edge::edge PROPERTIES
    IMPORTED_LOCATION "${EDGE_PREFIX}/lib/libedge.so.@VERSION@"
    IMPORTED_SONAME libedge.so.0
    INTERFACE_INCLUDE_DIRECTORIES "${EDGE_PREFIX}/include")

  add_library(edge::edge_static STATIC IMPORTED)
  set_target_properties(edge::edge_static PROPERTIES
    IMPORTED_LOCATION "${EDGE_PREFIX}/lib/libedge.a"
    INTERFACE_INCLUDE_DIRECTORIES "${EDGE_PREFIX}/include"
    INTERFACE_LINK_OPTIONS "@LINK_FLAGS@"
    INTERFACE_LINK_LIBRARIES "Threads::Threads;dl;m")
endif()
