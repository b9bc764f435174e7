# MLAS and the quantized operators are compiled for the board's core, because inferences spend their
# time there: without ARMv8's instruction, for one, each float that is rounded is a call of libm. The
# commands of all else are the same for boards with other cores, so that the compiler's cache serves
# them too: the recipe asks the toolchain file for shared objects.
function(edgewright_tune)
  target_compile_options(onnxruntime_mlas PRIVATE ${EDGEWRIGHT_CORE_FLAGS})
  get_target_property(operators onnxruntime_providers SOURCES)
  list(FILTER operators INCLUDE REGEX "/quantization/")
  set_property(
    SOURCE ${operators} TARGET_DIRECTORY onnxruntime_providers
    APPEND PROPERTY COMPILE_OPTIONS ${EDGEWRIGHT_CORE_FLAGS})
  # The precompiled header is for the shared flags.
  set_source_files_properties(
    ${operators} TARGET_DIRECTORY onnxruntime_providers
    PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL edgewright_tune)
