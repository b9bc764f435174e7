# Takes the sources that are listed in the file EDGEWRIGHT_UNUSED_SOURCES, one path a line, out of
# every static library, once all of them are declared. See prune.py.
file(STRINGS "${EDGEWRIGHT_UNUSED_SOURCES}" EDGEWRIGHT_UNUSED)

function(edgewright_prune folder)
  get_property(libraries DIRECTORY "${folder}" PROPERTY BUILDSYSTEM_TARGETS)
  foreach(library IN LISTS libraries)
    get_target_property(type ${library} TYPE)
    if(type STREQUAL "STATIC_LIBRARY")
      edgewright_prune_library(${library})
    endif()
  endforeach()
  get_property(children DIRECTORY "${folder}" PROPERTY SUBDIRECTORIES)
  foreach(child IN LISTS children)
    edgewright_prune("${child}")
  endforeach()
endfunction()

function(edgewright_prune_library library)
  get_target_property(sources ${library} SOURCES)
  get_target_property(folder ${library} SOURCE_DIR)
  set(kept)
  foreach(source IN LISTS sources)
    cmake_path(ABSOLUTE_PATH source BASE_DIRECTORY "${folder}" NORMALIZE OUTPUT_VARIABLE path)
    if(NOT path IN_LIST EDGEWRIGHT_UNUSED)
      list(APPEND kept "${source}")
    endif()
  endforeach()
  # A library that has lost every source needs a file all the same, and a language.
  list(APPEND kept "${EDGEWRIGHT_UNUSED_SOURCES}")
  set_target_properties(${library} PROPERTIES SOURCES "${kept}" LINKER_LANGUAGE CXX)
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL edgewright_prune "${CMAKE_SOURCE_DIR}")
