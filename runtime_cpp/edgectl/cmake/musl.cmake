# Link edgectl with musl: a static program is then a tenth of what glibc makes of it.
# The compiler's C++ headers are kept, their C library exchanged; libstdc++ itself is not linked,
# libc_only.cpp has the little that is used of it.
execute_process(COMMAND ${CMAKE_CXX_COMPILER} -print-file-name=include
  OUTPUT_VARIABLE compiler_headers OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
set(cxx_headers ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
list(FILTER cxx_headers INCLUDE REGEX "/c\\+\\+/")
set(musl_flags -nostdinc)
foreach(folder ${cxx_headers} "${EDGECTL_LIBC}/include" "${compiler_headers}")
  list(APPEND musl_flags "SHELL:-isystem ${folder}")
endforeach()
target_compile_options(edgectl_flags INTERFACE ${musl_flags})
# Names of glibc in libstdc++'s configuration.
target_compile_options(edgectl_flags INTERFACE
  "-D__GLIBC_PREREQ(major,minor)=0" -D__locale_t=locale_t)

set(musl_lib "${EDGECTL_LIBC}/lib")
target_sources(edgectl PRIVATE libc_only.cpp)
target_link_options(edgectl PRIVATE -nostdlib "${musl_lib}/crt1.o" "${musl_lib}/crti.o")
target_link_libraries(edgectl_core PUBLIC  # after the libraries that need it
  "${musl_lib}/libc.a" gcc "${musl_lib}/libc.a" "${musl_lib}/crtn.o")
if(CMAKE_SYSTEM_PROCESSOR MATCHES "^armv[67]")
  # Pages are 4 KiB there; the linker's default of 64 KiB pads the file by as much.
  target_link_options(edgectl PRIVATE -Wl,-z,max-page-size=4096)
endif()
