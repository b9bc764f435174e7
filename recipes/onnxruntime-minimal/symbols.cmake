# ONNX Runtime links its library without symbols in a minimal build. Ours keeps them: the audit of
# instructions goes by function names, and the recipe of the program splits them off for debuggers.
function(edgewright_keep_symbols)
  set_target_properties(onnxruntime PROPERTIES LINK_FLAGS_RELEASE "" LINK_FLAGS_MINSIZEREL "")
endfunction()

cmake_language(DEFER DIRECTORY "${CMAKE_SOURCE_DIR}" CALL edgewright_keep_symbols)
