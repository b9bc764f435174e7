# Conan host profile for board 'rpi5-armhf'
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
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/rpi5-armhf/toolchain.cmake"]
tools.build:compiler_executables={"c": "arm-linux-gnueabihf-gcc", "cpp": "arm-linux-gnueabihf-g++", "asm": "arm-linux-gnueabihf-gcc"}
tools.gnu:host_triplet=arm-linux-gnueabihf
user.edgewright:toolchain=bb7f8d56703548610ea29eb6f27cdb80e5ed4d32923c95d141170e6495380e03
tools.info.package_id:confs=["user.edgewright:toolchain"]
