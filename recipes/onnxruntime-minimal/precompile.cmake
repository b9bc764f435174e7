# The three largest libraries read the headers that nearly all of their sources include from one
# precompiled file; their compile options are the same. op_kernel_type_control.h must not be
# among them: the providers have a reduced one of their own.
function(edgewright_precompile)
  target_precompile_headers(
    onnxruntime_framework
    PRIVATE
    <core/framework/op_kernel.h>
    <core/framework/tensorprotoutils.h>
    <core/graph/graph_viewer.h>)
  foreach(library IN ITEMS onnxruntime_providers onnxruntime_session)
    target_precompile_headers(${library} REUSE_FROM onnxruntime_framework)
  endforeach()
  # GCC no longer sees the pragmas that silence this warning in a precompiled Abseil.
  foreach(library IN ITEMS onnxruntime_framework onnxruntime_providers onnxruntime_session)
    target_compile_options(${library} PRIVATE -Wno-maybe-uninitialized)
  endforeach()
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL edgewright_precompile)
