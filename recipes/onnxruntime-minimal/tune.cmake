# MLAS is compiled for the board's core, because inferences spend their time in it. The commands of
# all else are the same for boards with other cores, so that the compiler's cache serves them too:
# the recipe asks the toolchain file for shared objects.
function(edgewright_tune)
  target_compile_options(onnxruntime_mlas PRIVATE ${EDGEWRIGHT_CORE_FLAGS})
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL edgewright_tune)
