# Stands in for ONNX Runtime's external/xnnpack.cmake: XNNPACK as its own recipe has built it.
foreach(library IN ITEMS XNNPACK microkernels-prod pthreadpool)
  add_library(${library} STATIC IMPORTED GLOBAL)
  set_target_properties(${library} PROPERTIES
    IMPORTED_LOCATION "${EDGEWRIGHT_XNNPACK}/lib/lib${library}.a"
    INTERFACE_INCLUDE_DIRECTORIES "${EDGEWRIGHT_XNNPACK}/include")
endforeach()
set(onnxruntime_EXTERNAL_LIBRARIES_XNNPACK XNNPACK microkernels-prod pthreadpool)
