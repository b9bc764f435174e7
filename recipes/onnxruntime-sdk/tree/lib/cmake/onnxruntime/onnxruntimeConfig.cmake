# find_package(onnxruntime): the targets onnxruntime::onnxruntime, the shared library, and
# onnxruntime::onnxruntime_static, the archive. Both have ONNX Runtime's C and C++ API.
get_filename_component(ONNXRUNTIME_PREFIX "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)
find_package(Threads REQUIRED)

if(NOT TARGET onnxruntime::onnxruntime)
  add_library(onnxruntime::onnxruntime SHARED IMPORTED)
  set_target_properties(onnxruntime::onnxruntime PROPERTIES
    IMPORTED_LOCATION "${ONNXRUNTIME_PREFIX}/lib/libonnxruntime.so.@VERSION@"
    IMPORTED_SONAME libonnxruntime.so.1
    INTERFACE_INCLUDE_DIRECTORIES "${ONNXRUNTIME_PREFIX}/include/onnxruntime")

  add_library(onnxruntime::onnxruntime_static STATIC IMPORTED)
  set_target_properties(onnxruntime::onnxruntime_static PROPERTIES
    IMPORTED_LOCATION "${ONNXRUNTIME_PREFIX}/lib/libonnxruntime.a"
    INTERFACE_INCLUDE_DIRECTORIES "${ONNXRUNTIME_PREFIX}/include/onnxruntime"
    INTERFACE_LINK_OPTIONS "@LINK_FLAGS@"
    INTERFACE_LINK_LIBRARIES "Threads::Threads;dl;m")
endif()
