# CMake toolchain for board 'tinker-board': ASUS Tinker Board, RK3288
set(CMAKE_SYSTEM_NAME Linux)
set(CMAKE_SYSTEM_PROCESSOR armv7l)

set(CMAKE_C_COMPILER arm-linux-gnueabihf-gcc)
set(CMAKE_CXX_COMPILER arm-linux-gnueabihf-g++)
set(CMAKE_ASM_COMPILER arm-linux-gnueabihf-gcc)
set(CMAKE_OBJCOPY arm-linux-gnueabihf-objcopy)
set(CMAKE_STRIP arm-linux-gnueabihf-strip)

# A project that asks for objects which boards with other cores can share adds the flags of this
# board's core where they count.
set(EDGEWRIGHT_CORE_FLAGS -mcpu=cortex-a12 -mfpu=neon-vfpv4)
if(EDGEWRIGHT_SHARED_OBJECTS)
  set(EDGEWRIGHT_FLAGS "-mfloat-abi=hard -mthumb -mcpu=cortex-a7 -mfpu=neon-vfpv4")
else()
  set(EDGEWRIGHT_FLAGS "-mfloat-abi=hard -mthumb -mcpu=cortex-a12 -mfpu=neon-vfpv4")
endif()
set(CMAKE_C_FLAGS_INIT "${EDGEWRIGHT_FLAGS}")
set(CMAKE_CXX_FLAGS_INIT "${EDGEWRIGHT_FLAGS}")
set(CMAKE_ASM_FLAGS_INIT "${EDGEWRIGHT_FLAGS}")
set(CMAKE_FIND_ROOT_PATH /usr/arm-linux-gnueabihf)
set(CMAKE_FIND_ROOT_PATH_MODE_PROGRAM NEVER)
set(CMAKE_FIND_ROOT_PATH_MODE_LIBRARY BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_INCLUDE BOTH)
set(CMAKE_FIND_ROOT_PATH_MODE_PACKAGE BOTH)
