# Conan host profile for board 'a53-som-xnnpack'
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
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/a53-som-xnnpack/toolchain.cmake"]
tools.build:compiler_executables={"c": "arm-linux-gnueabihf-gcc", "cpp": "arm-linux-gnueabihf-g++", "asm": "arm-linux-gnueabihf-gcc"}
tools.gnu:host_triplet=arm-linux-gnueabihf
user.edgewright:toolchain=440f0b00bb32b43e140bdd1ffeccdb6150c55d4c92d376bda400cc5d010314fd
tools.info.package_id:confs=["user.edgewright:toolchain"]
