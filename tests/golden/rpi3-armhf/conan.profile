# Conan host profile for board 'rpi3-armhf'
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
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/rpi3-armhf/toolchain.cmake"]
tools.build:compiler_executables={"c": "arm-linux-gnueabihf-gcc", "cpp": "arm-linux-gnueabihf-g++", "asm": "arm-linux-gnueabihf-gcc"}
tools.gnu:host_triplet=arm-linux-gnueabihf
user.edgewright:toolchain=abb143668949174a4fd8b119c3191f7ce2cb6c88aa573bcde1a97e4dfbda1fd8
tools.info.package_id:confs=["user.edgewright:toolchain"]
