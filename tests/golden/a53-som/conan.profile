# Conan host profile for board 'a53-som'
[settings]
os=Linux
arch=armv7hf
compiler=gcc
compiler.version=14
compiler.libcxx=libstdc++11
compiler.cppstd=17
build_type=MinSizeRel

[conf]
tools.cmake.cmaketoolchain:generator=Ninja
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/a53-som/toolchain.cmake"]
tools.build:compiler_executables={"c": "arm-linux-gnueabihf-gcc", "cpp": "arm-linux-gnueabihf-g++", "asm": "arm-linux-gnueabihf-gcc"}
tools.gnu:host_triplet=arm-linux-gnueabihf
user.edgewright:board_flags=["-mcpu=cortex-a53", "-mfpu=neon-fp-armv8", "-mfloat-abi=hard", "-mthumb"]
tools.info.package_id:confs=["user.edgewright:board_flags"]
