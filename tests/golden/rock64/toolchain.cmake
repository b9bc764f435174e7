# CMake toolchain for board 'rock64': Pine64 Rock64, RK3328
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR aarch64)

set(CMAKE_C_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_CXX_COMPILER aarch64-linux-gnu-g++)
set(CMAKE_ASM_COMPILER aarch64-linux-gnu-gcc)
set(CMAKE_OBJCOPY aarch64-linux-gnu-objcopy)
set(CMAKE_STRIP aarch64-linux-gnu-strip)

# A project that asks for objects which boards with other cores can share adds the flags of this
# board's core where they count.
set(EDGEWRIGHT_CORE_FLAGS -mtune=cortex-a53)
if(EDGEWRIGHT_SHARED_OBJECTS)
  set(EDGEWRIGHT_FLAGS "-march=armv8-a")
else()
  set(EDGEWRIGHT_FLAGS "-march=armv8-a -mtune=cortex-a53")
endif()
set(CMAKE_C_FLAGS_INIT "${EDGEWRIGHT_FLAGS}")
set(CMAKE_CXX_FLAGS_INIT "${EDGEWRIGHT_FLAGS}")
set(CMAKE_ASM_FLAGS_INIT "${EDGEWRIGHT_FLAGS}")
set(CMAKE_FIND_ROOT_PATH /usr/aarch64-linux-gnu)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
