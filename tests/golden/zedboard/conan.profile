# Conan host profile for board 'zedboard'
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
tools.cmake.cmaketoolchain:user_toolchain=["/edgewright/build/zedboard/toolchain.cmake"]
tools.build:compiler_executables={"c": "arm-linux-gnueabihf-gcc", "cpp": "arm-linux-gnueabihf-g++", "asm": "arm-linux-gnueabihf-gcc"}
tools.gnu:host_triplet=arm-linux-gnueabihf
user.edgewright:toolchain=1565e723dd62c060fccf967db485978bda14f86de825f30c38b5eb332768fac4
tools.info.package_id:confs=["user.edgewright:toolchain"]
